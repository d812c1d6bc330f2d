"""Fixtures shared by all tests: where the real data is, when it is there."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

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
