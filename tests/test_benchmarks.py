"""tfllm's side of every contest takes a turn: the benchmarks call the package as it is."""

import importlib
import json
import sys
from pathlib import Path

import keras
import pytest

from tfllm.data import read_table
from tfllm.data.samples import sample_path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


class Done(BaseException):
    """A worker's endless training has taken its turn."""


@pytest.fixture
def counted(monkeypatch, tiny_tokenizer, tmp_path):
    """`counted(script, worker, **asked)`: what one turn of `worker`, a name in the script, counts."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    contest = importlib.import_module("contest")
    turns, policy = [], keras.config.dtype_policy()

    class OneTurn:
        def begin(self):
            pass

        def end(self, **found):
            turns.append(found)
            raise Done

    monkeypatch.setattr(contest, "serve", lambda turn: turns.append(turn()))
    monkeypatch.setattr(contest, "Turns", OneTurn)
    table = read_table(sample_path("reviews_en_test.csv"))
    (tmp_path / "vocab.txt").write_text("\n".join(tiny_tokenizer.vocabulary) + "\n", "utf-8")
    (tmp_path / "rows.json").write_text(json.dumps(list(zip(table.texts, table.labels, strict=True))), "utf-8")
    (tmp_path / "texts.json").write_text(json.dumps(table.texts), "utf-8")

    def count(script, worker, **asked):
        common = {"vocabulary": str(tmp_path / "vocab.txt"), "folder": str(tmp_path), "size": SIZE}
        before = set(sys.modules)
        try:
            getattr(importlib.import_module(script), worker)(common | asked)
        except Done:
            pass
        finally:
            for name in set(sys.modules) - before:
                if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
                    del sys.modules[name]
        return turns.pop()

    yield count
    keras.config.set_dtype_policy(policy)


def test_fine_tuning(counted, tmp_path):
    found = counted("keras_contenders", "finetuning", file=str(tmp_path / "rows.json"), examples=64)
    assert found["examples"] == pytest.approx(64, rel=0.2) and found["tokens"] > 64


def test_pretraining(counted):
    asked = {"file": str(sample_path("text_en.txt")), "batch_size": 4, "batches": 2}
    found = counted("keras_contenders", "pretraining", **asked)
    assert found["batches"] == 2 and 0 < found["tokens"] <= 2 * 4 * 128


def test_tokenizing_and_training_a_vocabulary(counted):
    file = str(sample_path("text_en.txt"))
    assert counted("tokenizing_contenders", "encode", file=file, contender="tfllm")["tokens"] > 1000
    assert counted("tokenizing_contenders", "train", file=file, contender="tfllm", vocabulary_size=300)["tokens"] == 300


@pytest.mark.slow
def test_serving(counted, tmp_path):
    asked = {"weights": "bfloat16", "file": str(tmp_path / "texts.json"), "examples": 8, "batch_size": 4}
    found = counted("serving_contenders", "label_texts", work="tfllm", **asked)
    assert found["examples"] == 8 and found["tokens"] > 8
    asked |= {"server": "tfllm", "engine": "tensorflow", "clients": 2}
    found = counted("http_contenders", "ask_server", **asked)
    assert found["examples"] == 8 and 0 < found["cpu_seconds"] < 60 and found["peak_bytes"] > 10**8


@pytest.mark.parametrize("work", ["tfllm", "savedmodel"])
def test_generation(counted, work):
    asked = {"kind": "llama", "vocabulary_size": 50, "prompt_tokens": 4, "new_tokens": 3, "rows": 2}
    size = SIZE | {"num_key_value_heads": 1}
    assert counted("generation_contenders", work, size=size, **asked)["tokens"] == 6
