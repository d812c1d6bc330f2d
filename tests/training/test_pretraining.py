"""Masked-language-model training on an endless data set."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.models import add_masked_lm_head, add_pretraining_heads
from tfllm.training import adamw, train_masked_lm


@pytest.fixture
def masked():
    """One batch for ever: predict 5 + k in row k."""
    token_ids = np.tile(np.arange(5, 9, dtype="int32")[:, None], (1, 8))
    inputs = {
        "token_ids": np.where(np.arange(8) == 3, 4, token_ids).astype("int32"),
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
        "mask_positions": np.array([[3, 0]] * 4, "int32"),
    }
    mask_ids = np.stack([token_ids[:, 3], np.zeros(4, "int32")], axis=1)
    return tf.data.Dataset.from_tensors((inputs, mask_ids, np.array([[1.0, 0.0]] * 4, "float32"))).repeat()


def test_the_loss_falls_and_accuracy_counts_real_masks_only(make_encoder, masked):
    model = add_masked_lm_head(make_encoder(dropout=0.0))
    first = train_masked_lm(model, masked, adamw(1e-2, total_steps=100), steps=1)
    assert set(first) == {"loss", "accuracy"}
    assert first["loss"] == pytest.approx(np.log(12), rel=0.05)
    train_masked_lm(model, masked, adamw(1e-2, total_steps=60), steps=60)
    last = train_masked_lm(model, masked, adamw(0.0, total_steps=1), steps=1)
    assert last["loss"] < 0.5
    assert last["accuracy"] == 1.0  # the unused slots, whose target is 0, do not count


def test_exactly_the_given_number_of_steps_is_taken(make_encoder, masked):
    optimizer = adamw(1e-3, total_steps=7)
    train_masked_lm(add_masked_lm_head(make_encoder()), masked, optimizer, steps=7)
    assert int(optimizer.iterations) == 7


def test_both_tasks_are_trained_together(make_encoder, masked):
    def with_pairs(inputs, mask_ids, mask_weights):
        targets = {"masked_lm": mask_ids, "next_sentence": tf.constant([0, 1, 0, 1])}
        return inputs, targets, {"masked_lm": mask_weights, "next_sentence": tf.ones(4)}

    model = add_pretraining_heads(make_encoder())
    scores = train_masked_lm(model, masked.map(with_pairs), adamw(1e-3, total_steps=2), steps=2)
    assert {"loss", "masked_lm_accuracy", "next_sentence_accuracy"} <= set(scores)
    assert scores["loss"] == pytest.approx(np.log(12) + np.log(2), rel=0.05)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(make_encoder, masked):
    def trained(seed):
        model = add_masked_lm_head(make_encoder(seed=seed))
        train_masked_lm(model, masked, adamw(1e-2, total_steps=3), steps=3)
        return model.get_weights()

    keras.tree.map_structure(np.testing.assert_array_equal, trained(1), trained(1))
    assert any((one != other).any() for one, other in zip(trained(1), trained(2), strict=True))
