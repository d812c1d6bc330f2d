"""A tiny classifier with large random weights, so that different texts get clearly different scores; exported once."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tfllm.export import export_savedmodel
from tfllm.models import add_classifier_head, build_encoder
from tfllm.tokenizers import WordPieceTokenizer

_VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] the film was good bad ##ly dull , . ! a b c 你 好 世 界 😀"


@pytest.fixture(scope="session")
def labels():
    return ["negativ", "positiv", "中性"]


@pytest.fixture(scope="session")
def sequence_length():
    return 16


@pytest.fixture(scope="session")
def tokenizer():
    return WordPieceTokenizer(_VOCABULARY.split(" "))


@pytest.fixture(scope="session")
def make_encoder(tokenizer):
    def make(**arguments):
        size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 32}
        return randomize(build_encoder(tokenizer.vocabulary_size, **{**size, **arguments}))

    return make


@pytest.fixture(scope="session")
def classifier(make_encoder, labels):
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


def randomize(model: keras.Model) -> keras.Model:
    """Give the matrices of a model weights of deviation 1, the same in every run."""
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 1, weight.shape))
    return model
