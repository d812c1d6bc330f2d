"""What is exported answers the same under TensorFlow 2.20 and tf-text 2.20, which TF Serving 2.20 embeds."""

import importlib
import subprocess
from pathlib import Path

import pytest

from tfllm.export import replay
from tfllm.export.requests import read_warm_up

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ENVIRONMENT = BENCHMARKS / ".venv-tensorflow-2.20"


@pytest.fixture(scope="module")
def other():
    """The Python of an environment that has TensorFlow 2.20 and tf-text, and no Keras of ours."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        name = ENVIRONMENT.relative_to(BENCHMARKS.parent)
        pytest.skip(f"needs {name}, which `make {name}/installed` makes")
    versions = "import importlib.metadata as m; print(m.version('tensorflow'), m.version('tensorflow-text'))"
    found = subprocess.check_output([python, "-c", versions], text=True).split()
    assert [version.rpartition(".")[0] for version in found] == ["2.20", "2.20"]
    return python


@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_a_model_of_strings_answers_as_it_did_where_it_was_exported(other, kind, tiny_tokenizer, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    proof = importlib.import_module("serving_proof")
    found = proof.prove(kind, tiny_tokenizer, tmp_path / kind, other)
    assert found["requests"] >= 3
    assert found["problems"] == {"loaded": "", "session": "", "c api": ""}


def test_another_answer_there_would_be_told(other, exported):
    good, *_ = read_warm_up(exported / "1")
    wrong = good._replace(outputs=dict.fromkeys(good.outputs, good.inputs["text"]))
    problems = replay.find_problems(exported / "1", [wrong], str(other))
    assert problems.keys() == set(replay.WAYS)
    assert all("was expected" in problem for problem in problems.values())
