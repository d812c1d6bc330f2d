"""What may not be read any more stays served; what never could be is left out, and said."""

import contextlib
import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.serving.test_models import put
from tfllm.checks import InputError
from tfllm.cli.serve import _has_versions
from tfllm.serving import ServingError, find_models
from tfllm.serving.chat import list_models
from tfllm.serving.config import ModelConfig
from tfllm.serving.docker import write_docker
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Models
from tfllm.serving.server import load
from tfllm.serving.spec import ModelSpec

_NOBODY = 65534


@contextlib.contextmanager
def nobody():
    """Without root's right to read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def open_path(saved_models):
    """A base path with the model `numbers`, under directories that everybody may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "numbers").mkdir()
    put(saved_models / "numbers" / "1", folder / "numbers" / "1")
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("closed", [".", "numbers", "numbers/1"])
def test_what_may_not_be_read_any_more_stays_served(open_path, caplog, closed):
    models = Models(partial(find_models, open_path), load, Metrics(), 0)
    models.look()
    (open_path / closed).chmod(0)
    with nobody():
        for _ in range(2):
            with contextlib.suppress(PermissionError):  # of the base path itself: the watching thread tells
                models.look()
        assert [one["id"] for one in json.loads(list_models(models))["data"]] == ["numbers"]  # what the page asks for
    with models.acquire(ModelSpec("numbers")) as version:
        assert version.number == 1
    told = [record.message for record in caplog.records if "stays as it is" in record.message]
    assert len(told) == (closed == "numbers")
    assert all("numbers may not be read" in line and "Permission denied" in line for line in told)
    (open_path / closed).chmod(0o755)
    shutil.rmtree(open_path / "numbers" / "1")
    with nobody():
        models.look()
    with pytest.raises(ServingError, match="not found"), models.acquire(ModelSpec("numbers")):
        pass
    models.stop()


def test_a_version_that_may_not_be_read_keeps_no_other_from_being_served(open_path, saved_models, caplog):
    put(saved_models / "numbers" / "1", open_path / "numbers" / "2")
    models = Models(partial(find_models, open_path), load, Metrics(), 0)
    (open_path / "numbers" / "1").chmod(0)
    with nobody():
        models.look()
    put(saved_models / "numbers" / "1", open_path / "numbers" / "3")
    (open_path / "numbers" / "3").chmod(0)
    with nobody():
        models.look()
    with models.acquire(ModelSpec("numbers")) as version:
        assert version.number == 2
    assert "version 3 is not served" in caplog.text and "ermission denied" in caplog.text
    models.stop()


def test_a_reload_that_names_a_closed_base_path_is_refused_and_changes_nothing(open_path):
    models = Models(partial(find_models, open_path), load, Metrics(), 0)
    models.look()
    (open_path / "private").mkdir(mode=0)
    with nobody(), pytest.raises(InputError, match="may not be read"):
        models.replace([ModelConfig("numbers", open_path / "private")])
    with models.acquire(ModelSpec("numbers")) as version:
        assert version.directory == open_path / "numbers" / "1"
    models.stop()


def test_a_directory_that_never_could_be_read_keeps_no_other_from_being_served(open_path, caplog):
    (open_path / "lost+found").mkdir(mode=0)
    models = Models(partial(find_models, open_path), load, Metrics(), 0)
    with nobody():
        assert [config.name for config in find_models(open_path) if _has_versions(config)] == ["numbers"]
        models.look()
    with models.acquire(ModelSpec("numbers")) as version:
        assert version.number == 1
    with pytest.raises(ServingError, match="Could not find"):
        models.status(ModelSpec("lost+found"))
    models.stop()
    with nobody(), tempfile.TemporaryDirectory() as folder:
        write_docker(open_path, Path(folder, "production"))
        assert "lost+found" not in Path(folder, "production", "config", "models.config").read_text("utf-8")
    assert "lost+found is left out" in caplog.text
