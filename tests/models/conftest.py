"""Tiny encoders, and batches for them. V = 50, D = 32, rows of up to 16 tokens."""

import keras
import keras_hub
import numpy as np
import pytest

from tfllm.models import (
    add_classifier_head,
    add_embedding_head,
    add_masked_lm_head,
    add_multilabel_head,
    add_next_sentence_head,
    add_pretraining_heads,
    add_regression_head,
    build_encoder,
)

SIZE = {
    "vocabulary_size": 50,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 64,
    "max_sequence_length": 16,
}
ADD_HEAD = {
    "masked_lm": add_masked_lm_head,
    "next_sentence": add_next_sentence_head,
    "pretraining": add_pretraining_heads,
    "classifier_mean": lambda encoder: add_classifier_head(encoder, ["a", "b", "c"], pooling="mean"),
    "classifier_cls": lambda encoder: add_classifier_head(encoder, ["a", "b", "c"], pooling="cls"),
    "classifier_compare": lambda encoder: add_classifier_head(encoder, ["a", "b", "c"], pooling="compare", pairs=True),
    "multilabel": lambda encoder: add_multilabel_head(encoder, ["a", "b", "c"]),
    "regression": lambda encoder: add_regression_head(encoder, mean=2.0, deviation=0.5),
    "regression_in_a_range": lambda encoder: add_regression_head(encoder, output_range=(1, 5), pooling="cls"),
    "embedding": add_embedding_head,
    "embedding_cls": lambda encoder: add_embedding_head(encoder, pooling="cls"),
}


@pytest.fixture(autouse=True)
def seeded():
    """The same initial weights in every test."""
    keras.utils.set_random_seed(1)


@pytest.fixture
def make_encoder():
    """Build a tiny encoder; arguments replace those of SIZE."""
    return lambda **arguments: build_encoder(**{**SIZE, **arguments})


@pytest.fixture
def make_backbone():
    """Build KerasHub's BERT of the same size, with random weights."""
    return lambda **arguments: keras_hub.models.BertBackbone(**{**SIZE, **arguments})


@pytest.fixture
def make_batch():
    """Random token ids in rows of the given lengths; (B, T), and `mask_positions` (B, 2) if asked for."""

    def make(lengths=(8, 8, 5, 3), width=8, masked=False):
        random = np.random.default_rng(1)
        shape = (len(lengths), width)
        padding_mask = (np.arange(width) < np.array(lengths)[:, None]).astype("int32")
        batch = {
            "token_ids": random.integers(5, SIZE["vocabulary_size"], shape).astype("int32") * padding_mask,
            "segment_ids": (np.arange(width) >= 2).astype("int32") * padding_mask,
            "padding_mask": padding_mask,
        }
        positions = np.tile(np.array([[1, 2]], "int32"), (len(lengths), 1))
        return {**batch, "mask_positions": positions} if masked else batch

    return make


@pytest.fixture(params=ADD_HEAD)
def head(request):
    """The name of each kind of head."""
    return request.param


@pytest.fixture
def add_head(head):
    """The function that puts this head on an encoder."""
    return ADD_HEAD[head]


@pytest.fixture
def head_batch(head, make_batch):
    """A batch with the inputs this head needs."""
    return make_batch(masked=head in ("masked_lm", "pretraining"))
