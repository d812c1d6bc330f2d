"""Fixtures shared by all tests: real data where it is there, and one tiny tokenizer."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # two test processes share two cores

import pytest

from tfllm.data.samples import sample_path

ROOT = Path(__file__).resolve().parent.parent


def _shared(name: str) -> Path:
    path = ROOT.parent / "shared" / name
    if not path.is_dir():
        pytest.skip(f"needs ../shared/{name}, which is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the checkout; skips the test when they are not there."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Published vocabularies and checkpoints beside the checkout; skips the test when they are not there."""
    return _shared("models")


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A WordPiece tokenizer of about 300 tokens, trained on the sample text."""
    from tfllm.tokenizers import train_wordpiece

    lines = sample_path("text_en.txt").read_text("utf-8").split("\n")
    return train_wordpiece(lines, vocabulary_size=300)


@pytest.fixture(scope="session")
def torture_rounds():
    """`torture_rounds(short, long)`: how often to hurt something; the long form runs under `make torture`."""
    return lambda short, long: long if os.environ.get("TFLLM_TORTURE") else short
