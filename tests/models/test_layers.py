"""The small layers against values worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.models.layers import (
    GatherPositions,
    MeanOfTokens,
    SameText,
    SumNormDropout,
    TextPositionEmbedding,
    VocabularyBias,
)


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_tokens_see_their_own_text_only():
    seen = SameText()(np.array([[1, 1, 2, 0]], "int32"))
    assert keras.backend.standardize_dtype(seen.dtype) == "int32"
    np.testing.assert_array_equal(seen, [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])


def test_positions_begin_again_with_every_text():
    layer = TextPositionEmbedding(6, 1)
    same_text = SameText()(np.array([[1, 1, 2, 2, 2, 0]], "int32"))
    layer.build((None, None, None))
    layer.set_weights([np.array([[10.0], [11.0], [12.0], [13.0], [14.0], [15.0]])])
    np.testing.assert_array_equal(numbers(layer(same_text))[0, :, 0], [10, 11, 10, 11, 12, 10])


def test_rows_longer_than_the_positions_are_refused():
    layer = TextPositionEmbedding(4, 1)
    with pytest.raises(InputError, match="rows of 6 tokens, max_sequence_length=4"):
        layer(SameText()(np.array([[1, 1, 1, 1, 1, 0]], "int32")))


def test_gathered_states_are_those_at_the_positions():
    hidden = np.arange(12, dtype="float32").reshape(2, 3, 2)
    found = GatherPositions()(hidden, np.array([[2, 0], [1, 1]], "int32"))
    np.testing.assert_array_equal(numbers(found), [[[4, 5], [0, 1]], [[8, 9], [8, 9]]])


def test_the_vocabulary_bias_is_added_in_float32():
    layer = VocabularyBias(dtype="mixed_bfloat16")
    layer.build((None, None, 2))
    layer.set_weights([np.array([1.0, -1.0])])
    logits = layer(np.zeros((1, 1, 2), "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_array_equal(numbers(logits), [[[1, -1]]])


def test_the_sum_is_normalised_alike_in_training_and_outside_with_the_same_gradients():
    parts = [tf.constant(np.random.default_rng(seed).normal(size=(2, 3, 8)), tf.float32) for seed in range(3)]
    layer = SumNormDropout(0, epsilon=1e-6)
    layer.build([(2, 3, 8)] * 3)
    layer.set_weights([np.linspace(0.5, 1.5, 8), np.linspace(-1, 1, 8)])
    found = {}
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            outputs = layer(parts, training=training)
            loss = tf.reduce_sum(outputs**3)
        found[training] = [outputs, *tape.gradient(loss, [*parts, layer.gamma.value, layer.beta.value])]
    for expected, value in zip(found[False], found[True], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_the_sums_dropout_acts_in_training_only():
    layer, parts = SumNormDropout(0.5), [np.random.default_rng(1).normal(size=(4, 8, 32))] * 2
    assert 0.4 < (numbers(layer(parts, training=True)) == 0).mean() < 0.6
    assert (numbers(layer(parts)) == 0).mean() == 0


def test_the_mean_is_over_real_tokens_of_every_text_and_zero_for_padding():
    hidden = np.array([[[2.0], [4.0], [9.0], [7.0]], [[5.0], [5.0], [5.0], [5.0]]], "float32")
    found = MeanOfTokens()(hidden, np.array([[1, 1, 2, 0], [0, 0, 0, 0]], "int32"))
    np.testing.assert_allclose(numbers(found), [[5.0], [0.0]])


def test_the_mean_of_many_tokens_is_right_in_bfloat16():
    # 500 is beyond the integers that bfloat16 holds exactly: counting in steps of one would stop at 256.
    found = MeanOfTokens(dtype="mixed_bfloat16")(np.ones((1, 500, 3), "float32"), np.ones((1, 500), "int32"))
    np.testing.assert_allclose(numbers(keras.ops.cast(found, "float32")), 1.0, rtol=1e-2)


@pytest.mark.parametrize(
    "layer",
    [SameText(), TextPositionEmbedding(4, 2), GatherPositions(), VocabularyBias(), MeanOfTokens(), SumNormDropout(0.1)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_rebuilt_from_their_configuration(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer), safe_mode=True)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
