"""The schedule's exact values; what is decayed; clipping by the global norm."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.models import add_pretraining_heads
from tfllm.training import WarmupDecay, adamw

KEPT = ("bias", "gamma", "beta")


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1.0, 2, 4, "linear"), [0.5, 1, 1, 0.5, 0, 0]),
        ((1.0, 2, 6, "cosine"), [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4, 0, 0]),
        ((3.0, 3, 3, "constant"), [1, 2, 3, 3, 3]),
        ((2.0, 0, 4, "linear"), [2, 1.5, 1, 0.5, 0]),
        ((2.0, 4, 4, "linear"), [0.5, 1, 1.5, 2, 2]),
    ],
)
def test_rates_are_those_worked_out_by_hand(arguments, expected):
    np.testing.assert_allclose(rates(WarmupDecay(*arguments), range(len(expected))), expected, atol=1e-6)


def test_a_schedule_is_rebuilt_from_its_configuration():
    schedule = WarmupDecay(3e-4, 5, 50, "cosine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule), safe_mode=True)
    assert rates(again, range(0, 60, 7)) == rates(schedule, range(0, 60, 7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, -1, 4), "`warmup_steps` must be at least 0"),
        ((1.0, 5, 4), "`total_steps` must be at least 5"),
        ((1.0, 0, 0), "`total_steps` must be at least 1"),
        ((1.0, 0, 4, "linaer"), "`decay` must be one of linear, cosine, constant.*did you mean 'linear'"),
    ],
)
def test_bad_arguments_are_input_errors(arguments, message):
    with pytest.raises(InputError, match=message):
        WarmupDecay(*arguments)


def test_with_zero_gradients_only_kernels_and_embeddings_shrink(make_encoder):
    model = add_pretraining_heads(make_encoder())
    for weight in model.trainable_variables:
        weight.assign(np.ones(weight.shape))
    optimizer = adamw(0.1, total_steps=10, decay="constant", weight_decay=0.5)
    optimizer.apply([keras.ops.zeros(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    shrunk = {weight.path for weight in model.trainable_variables if weight.numpy().max() < 1}
    assert shrunk == {weight.path for weight in model.trainable_variables if weight.name not in KEPT}
    assert {weight.name for weight in model.trainable_variables} == {"embeddings", "kernel", *KEPT}
    for weight in model.trainable_variables:  # decoupled: rate times decay of the weight, whatever the gradients
        np.testing.assert_allclose(weight.numpy(), 1 if weight.name in KEPT else 0.95, rtol=1e-6)


def first_moments(gradients, clip_norm):
    """Adam's first moments after one step: a tenth of the gradients as they came out of clipping."""
    weights = [keras.Variable(np.zeros(2), name=f"kernel_{number}") for number in range(len(gradients))]
    optimizer = adamw(0.1, total_steps=10, clip_norm=clip_norm)
    optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32") for gradient in gradients], weights)
    moments = [variable.numpy() for variable in optimizer.variables if "momentum" in variable.path]
    assert len(moments) == len(gradients)
    return np.array(moments) * 10


def test_gradients_are_scaled_down_together_to_the_norm():
    gradients = [np.array([3.0, 0.0]), np.array([0.0, 4.0])]  # their common norm is 5
    np.testing.assert_allclose(first_moments(gradients, 1.0), np.array(gradients) / 5, rtol=1e-5)


@pytest.mark.parametrize("clip_norm", [0, 6.0])
def test_small_gradients_and_unclipped_ones_stay_as_they_are(clip_norm):
    gradients = [np.array([3.0, 0.0]), np.array([0.0, 4.0])]
    np.testing.assert_allclose(first_moments(gradients, clip_norm), gradients, rtol=1e-5)


def test_it_is_adamw_with_berts_constants():
    optimizer = adamw(0.1, total_steps=10)
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.epsilon) == (0.9, 0.999, 1e-6)
    assert (optimizer.weight_decay, optimizer.global_clipnorm) == (0.01, 1.0)


def test_a_negative_rate_is_refused():
    with pytest.raises(InputError, match="`learning_rate` must be at least 0"):
        adamw(-1, total_steps=10)


def paths_of_descent(make, steps=20):
    """Weights, and the optimizer's state, after some steps on the same random gradients."""
    random = np.random.default_rng(5)
    shapes = {"kernel": (6, 4), "bias": (4,), "embeddings": (9, 3)}
    weights = [keras.Variable(random.normal(size=shape), name=name) for name, shape in shapes.items()]
    optimizer = make()
    for _ in range(steps):
        gradients = [random.normal(size=weight.shape).astype("float32") for weight in weights]
        optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], weights)
    state = {variable.path.split("/", 1)[1]: variable.numpy() for variable in optimizer.variables}
    return {**state, **{weight.name: weight.numpy() for weight in weights}}


@pytest.mark.parametrize("clip_norm", [0, 1.0])
def test_twenty_steps_are_those_of_keras_adamw(clip_norm):
    def stock():
        optimizer = keras.optimizers.AdamW(
            WarmupDecay(0.01, 3, 30), weight_decay=0.1, epsilon=1e-6, global_clipnorm=clip_norm or None
        )
        optimizer.exclude_from_weight_decay(var_names=list(KEPT))
        return optimizer

    expected = paths_of_descent(stock)
    found = paths_of_descent(lambda: adamw(0.01, total_steps=30, warmup_steps=3, weight_decay=0.1, clip_norm=clip_norm))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # TensorFlow's operation rounds 1 - beta_2 to float32, Keras keeps double: 5e-5 of the velocity.
        tolerance = {"rtol": 1e-4} if "velocity" in name else {"atol": 1e-6}
        np.testing.assert_allclose(found[name], value, err_msg=name, **tolerance)


def test_a_sparse_gradient_counts_a_repeated_row_as_their_sum():
    def after_one_step(gradient):
        weight = keras.Variable(np.ones((3, 2)), name="embeddings")
        adamw(0.1, total_steps=10, clip_norm=0).apply([gradient], [weight])
        return weight.numpy()

    sparse = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, -2.0]]), tf.constant([1, 1]), tf.constant([3, 2]))
    np.testing.assert_array_equal(after_one_step(sparse), after_one_step(tf.convert_to_tensor(sparse)))


def test_the_optimizer_is_rebuilt_from_its_configuration():
    optimizer = adamw(0.1, total_steps=10)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer), safe_mode=True)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


def test_keras_still_sums_gradients_across_replicas_where_we_expect_it():
    # A private hook of Keras: the train step has summed already, before clipping, so here nothing may be added.
    assert hasattr(keras.optimizers.AdamW, "_all_reduce_sum_gradients")
    assert "_all_reduce_sum_gradients" in inspect.getsource(keras.optimizers.AdamW._backend_update_step)
    assert hasattr(keras.optimizers.AdamW, "_apply_weight_decay")
    pairs = [(object(), object())]
    assert adamw(0.1, total_steps=10)._all_reduce_sum_gradients(pairs) is pairs
