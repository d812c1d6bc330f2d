"""Attention with a bias by distance: its buckets, and that training computes what the plain layer computes."""

import importlib

import numpy as np
import pytest
import tensorflow as tf

from tfllm.models.encoder import gelu
from tfllm.models.relative import FARTHEST, RelativePositionBias, RelativeTransformerEncoder, bucket_of_distance


@pytest.fixture
def layer():
    layer = RelativeTransformerEncoder(64, 2, activation=gelu, layer_norm_epsilon=1e-12)
    layer.build((None, None, 32))
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(0, 0.2, weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.fixture
def rows():
    """Hidden states of two rows of 7 tokens, and the biases of two texts in the one, one text in the other."""
    random = np.random.default_rng(4)
    text = np.array([[1, 1, 1, 2, 2, 2, 2], [1, 1, 1, 1, 1, 0, 0]])
    bias = RelativePositionBias(8, 2)
    bias.build((None, None, None))
    bias.set_weights([random.normal(size=(8, 2))])
    same_text = (text[:, :, None] == text[:, None]).astype("int32")
    return tf.constant(random.normal(size=(2, 7, 32)), tf.float32), bias(same_text)


def differentiated(layer, rows, call):
    with tf.GradientTape() as tape:
        tape.watch(rows)
        outputs = call(*rows)
        loss = tf.reduce_sum(outputs**3)
    return [outputs, *tape.gradient(loss, [*rows, *(weight.value for weight in layer.trainable_variables)])]


def test_training_computes_what_the_plain_layer_computes(layer, rows):
    expected = differentiated(layer, rows, lambda x, bias: layer(x, bias))
    for recomputes in (False, True):
        layer.recomputes = recomputes
        found = differentiated(layer, rows, lambda x, bias: layer(x, bias, training=True))
        for value, other in zip(expected, found, strict=True):
            scale = max(1, np.abs(value).max())
            np.testing.assert_allclose(other / scale, value / scale, atol=1e-5)


def test_the_bias_counts_from_the_query_and_forbids_other_texts(rows):
    bias = rows[1].numpy()
    assert (bias[0, :, :3, 3:] < -1e29).all()
    np.testing.assert_array_equal(bias[0, :, 0, 1], bias[0, :, 4, 5])
    assert (bias[0, :, 0, 1] != bias[0, :, 1, 0]).all(), "before and after are told apart"


def test_buckets_are_those_of_transformers():
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    encoder = importlib.import_module("transformers.models.mpnet.modeling_mpnet").MPNetEncoder
    distances = np.arange(-3 * FARTHEST, 3 * FARTHEST)
    found = bucket_of_distance(16)[np.minimum(np.abs(distances), FARTHEST)] + 16 * (distances > 0)
    np.testing.assert_array_equal(found, encoder.relative_position_bucket(torch.tensor(distances), num_buckets=32))


@pytest.mark.parametrize("num_buckets", [8, 32, 48])
def test_buckets_are_t5s_in_both_directions_and_in_one(num_buckets):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("transformers.models.t5.modeling_t5").T5Attention._relative_position_bucket
    visible = np.ones((1, 400, 400), "int32")
    places = torch.arange(400)
    distances = places[None] - places[:, None]
    for both in (True, False):
        layer = RelativePositionBias(num_buckets, 1, both_directions=both)
        layer.build(visible.shape)
        layer.set_weights([np.arange(num_buckets, dtype="float32")[:, None]])
        expected = theirs(distances, bidirectional=both, num_buckets=num_buckets).numpy()
        np.testing.assert_array_equal(layer(visible)[0, 0], expected)
        np.testing.assert_array_equal(layer(visible[:, :1], first=250)[0, 0, 0], expected[250])
