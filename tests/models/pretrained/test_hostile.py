"""Broken and hostile directories: each a clear error at once, with little memory, and nothing outside is opened."""

import importlib.util
import json
import re
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from tfllm.checks import InputError
from tfllm.models import build_encoder
from tfllm.models.pretrained import describe, load_checkpoint, open_folder

_specification = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
_hostile = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_hostile)
HOSTILE = _hostile.HOSTILE

MOST_SECONDS = 2.0  # of the processor: others may use it too
MOST_BYTES = 512_000_000
_opened: list[str] = []
_listening = False


def _listen(event, arguments):
    if _listening and event == "open" and isinstance(arguments[0], str):
        _opened.append(arguments[0])


sys.addaudithook(_listen)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A directory that is well: a BERT of two layers, V = 60, D = 32."""
    folder = tmp_path_factory.mktemp("checkpoint") / "whole"
    folder.mkdir()
    encoder = build_encoder(
        60, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=48, max_sequence_length=24, activation="gelu"
    )
    description = describe(encoder, 0)
    (folder / "config.json").write_text(json.dumps(description.config), "utf-8")
    save_file(description.tensors, folder / "model.safetensors")
    return folder


def test_the_whole_directory_is_read(whole):
    assert load_checkpoint(open_folder(whole)).class_name == "BertModel"


def test_there_are_at_least_60(whole):
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(whole, tmp_path, name):
    global _listening
    spoil, message = HOSTILE[name]
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    spoil(folder)
    before = sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(folder))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _opened.clear()
    _listening, start = True, time.thread_time()
    try:
        with pytest.raises(InputError) as error:
            load_checkpoint(open_folder(folder))
    finally:
        _listening, seconds = False, time.thread_time() - start
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)
    assert len(str(error.value)) < 3_000
    assert seconds < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MOST_BYTES
    outside = [file for file in _opened if Path(file).is_absolute() and not Path(file).resolve().is_relative_to(folder)]
    assert not [file for file in outside if not file.endswith((".py", ".pyc"))]
    assert sorted(path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)) == before
