"""A tiny classifier with large random weights, so that different texts get clearly different scores; exported once."""

import shutil
from pathlib import Path

import pytest

from tfllm.export import export_savedmodel
from tfllm.models import add_classifier_head


@pytest.fixture(scope="session")
def labels():
    return ["negativ", "positiv", "中性"]


@pytest.fixture(scope="session")
def sequence_length():
    return 16


@pytest.fixture(scope="session")
def classifier(make_encoder, labels, randomize):
    return randomize(add_classifier_head(make_encoder(), labels))


@pytest.fixture(scope="session")
def exported(classifier, tokenizer, sequence_length, tmp_path_factory):
    """`savedmodels/NAME` with version 1. Tests read it; those that change it take a copy."""
    directory = tmp_path_factory.mktemp("savedmodels") / "reviews"
    assert export_savedmodel(classifier, tokenizer, directory, sequence_length=sequence_length) == directory / "1"
    return directory


@pytest.fixture
def copy(exported, tmp_path):
    """Version 1 in a place of its own, to be changed."""
    return Path(shutil.copytree(exported / "1", tmp_path / "reviews" / "1"))
