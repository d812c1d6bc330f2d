"""Our Transformer layer against KerasHub's: the same numbers, gradients and state; dropout; replicas."""

import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfllm import islands
from tfllm.models.encoder import gelu
from tfllm.models.transformer import TransformerEncoder


def make_layer(kind, **arguments):
    arguments = {"intermediate_dim": 64, "num_heads": 2, "activation": gelu, "layer_norm_epsilon": 1e-12, **arguments}
    layer = kind(**arguments)
    layer.build((None, None, 32))
    random = np.random.default_rng(3)
    layer.set_weights([random.normal(0, 0.2, weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.fixture
def rows():
    """Hidden states of three rows of 7 tokens, and which tokens see each other."""
    random = np.random.default_rng(4)
    text = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 2, 2, 0, 0], [1, 2, 3, 0, 0, 0, 0]])
    return random.normal(size=(3, 7, 32)).astype("float32"), (text[:, :, None] == text[:, None]).astype("int32")


def trained(layer, rows):
    """The outputs in training, and the gradients of the inputs and of each weight."""
    inputs, mask = map(tf.convert_to_tensor, rows)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, attention_mask=mask, training=True)
        loss = tf.reduce_sum(outputs**3)
    weights = {weight.path.split("/", 1)[1]: weight.value for weight in layer.trainable_variables}
    return {"outputs": outputs, **tape.gradient(loss, {"inputs": inputs, **weights})}


@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize("activation", [gelu, "gelu", "relu"])
def test_outputs_and_gradients_are_keras_hubs(rows, normalize_first, activation):
    arguments = {"normalize_first": normalize_first, "activation": activation}
    expected = trained(make_layer(keras_hub.layers.TransformerEncoder, **arguments), rows)
    found = trained(make_layer(TransformerEncoder, **arguments), rows)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        scale = max(1, np.abs(value).max())
        np.testing.assert_allclose(found[name] / scale, value / scale, atol=1e-5, err_msg=name)


def test_rows_and_lengths_may_be_unknown_before_the_step(rows):
    layer, stock = make_layer(TransformerEncoder), make_layer(keras_hub.layers.TransformerEncoder)
    specs = [tf.TensorSpec((None, None, 32)), tf.TensorSpec((None, None, None), tf.int32)]
    step = tf.function(lambda *rows: trained(layer, rows), autograph=False, input_signature=specs)
    assert step.get_concrete_function().structured_outputs["outputs"].shape.as_list() == [None, None, 32]
    for length in (7, 2):
        part = rows[0][:, :length], rows[1][:, :length, :length]
        expected = trained(stock, part)
        for name, value in step(*part).items():
            scale = max(1, np.abs(expected[name]).max())
            np.testing.assert_allclose(value / scale, expected[name] / scale, atol=1e-5, err_msg=name)


def test_outside_training_the_layer_is_keras_hubs(rows):
    ours, theirs = make_layer(TransformerEncoder, dropout=0.5), make_layer(keras_hub.layers.TransformerEncoder)
    for arguments in ({"attention_mask": rows[1]}, {"padding_mask": rows[1][:, 0]}, {}):
        np.testing.assert_array_equal(ours(rows[0], **arguments), theirs(rows[0], **arguments))


def test_variables_and_seeds_are_keras_hubs():
    ours = make_layer(TransformerEncoder, dropout=0.5, name="layer")
    theirs = make_layer(keras_hub.layers.TransformerEncoder, dropout=0.5, name="layer")
    assert [weight.path for weight in ours.weights] == [weight.path for weight in theirs.weights]
    assert [(weight.name, weight.shape) for weight in ours.variables] == [
        (weight.name, weight.shape) for weight in theirs.variables
    ]


def test_the_layer_is_rebuilt_from_its_configuration():
    layer = make_layer(TransformerEncoder, dropout=0.25)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer), safe_mode=True)
    assert type(again) is TransformerEncoder
    assert again.get_config() == layer.get_config()


def test_bfloat16_stays_near_float32(rows):
    exact = trained(make_layer(TransformerEncoder), rows)
    rounded = trained(make_layer(TransformerEncoder, dtype="mixed_bfloat16"), rows)
    assert rounded["outputs"].dtype == tf.bfloat16
    for name in set(exact) - {"self_attention_layer/key/bias"}:  # the softmax does not feel it: its gradient is 0
        error = np.linalg.norm(tf.cast(rounded[name], "float32") - exact[name]) / np.linalg.norm(exact[name])
        assert error < 0.05, name


def test_dropout_is_drawn_anew_and_resumes_with_the_seeds(rows):
    layer = make_layer(TransformerEncoder, dropout=0.5)
    seeds = [variable for variable in layer.variables if "seed" in variable.path]
    before = [np.array(seed) for seed in seeds]
    first, second = trained(layer, rows), trained(layer, rows)
    assert np.abs(first["outputs"] - second["outputs"]).max() > 0.1
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value)
    again = trained(layer, rows)
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_dropout_has_its_rate_and_keeps_the_mean(rate):
    dropped = islands.dropout(tf.ones((1000, 1000)), tf.constant(7, tf.uint32), rate).numpy()
    assert abs((dropped == 0).mean() - rate) < 2e-3
    if rate < 1:
        np.testing.assert_allclose(dropped[dropped != 0], 1 / (1 - rate), rtol=1e-6)
        for axis in (0, 1):  # no row or column fares better: five standard deviations
            shares = (dropped == 0).mean(axis)
            assert np.abs(shares - rate).max() < 5 * (rate * (1 - rate) / 1000) ** 0.5


def test_masks_of_different_seeds_have_nothing_in_common():
    masks = [islands.dropout(tf.ones((500, 500)), tf.constant(seed, tf.uint32), 0.5) > 0 for seed in (1, 2)]
    assert abs(np.mean(masks[0] == masks[1]) - 0.5) < 0.01


REPLICAS = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import tfllm
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    keras.utils.set_random_seed(1)
    encoder = tfllm.build_encoder(
        50, num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=64, max_sequence_length=8, dropout=0.5
    )
    model = tfllm.add_masked_lm_head(encoder)
    model.compile(tfllm.adamw(1e-2, total_steps=40), loss=tfllm.masked_lm_loss())
ones = np.ones((4, 8), "int32")
batch = {"token_ids": 7 * ones, "segment_ids": 0 * ones, "padding_mask": ones}
targets, weights = 7 * ones[:, :2], np.ones((4, 2), "float32")
rows = tf.data.Dataset.from_tensors(({**batch, "mask_positions": ones[:, :2]}, targets, weights)).repeat()
losses = model.fit(rows, steps_per_epoch=10, epochs=3, verbose=0, shuffle=False).history["loss"]
assert losses[-1] < losses[0] / 2, losses

@tf.function(autograph=False)
def forward(batch):
    return strategy.run(lambda: encoder(batch, training=True)["sequence_output"])

one, other = strategy.experimental_local_results(forward({name: tf.constant(value) for name, value in batch.items()}))
assert np.abs(one - other).max() > 0.1  # the same rows, another dropout
"""


@pytest.mark.slow
def test_two_replicas_train_and_drop_differently():
    subprocess.run([sys.executable, "-c", REPLICAS], check=True)


@pytest.mark.parametrize("rows", [1, 7, 8, 21])
def test_gradients_of_vectors_are_sums_over_rows_however_many_there_are(rows):
    @islands.island
    def scaled(x, factor, addend):
        return islands.plus_vector(islands.times_vector(x, factor), addend)

    random = np.random.default_rng(0)
    x, upstream = (tf.constant(random.normal(size=(1, rows, 5)).astype("float32")) for _ in range(2))
    factor, addend = tf.ones(5), tf.zeros(5)
    with tf.GradientTape() as tape:
        tape.watch([factor, addend])
        y = scaled(x, factor, addend)
    by_factor, by_addend = tape.gradient(y, [factor, addend], upstream)
    np.testing.assert_allclose(by_factor, tf.reduce_sum(x * upstream, (0, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_addend, tf.reduce_sum(upstream, (0, 1)), rtol=1e-5, atol=1e-6)
