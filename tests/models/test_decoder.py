"""The decoder: shapes, what a token sees, the fast training path, the cached step, precision, JAX."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.outputs import outputs_of
from tfllm.checks import InputError
from tfllm.models import DECODER_SIZES, add_causal_lm_head, build_decoder, recompute_activations
from tfllm.models.decoder import decode_cached

SIZE = {
    "vocabulary_size": 50,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 16,
}
SCALING = {"factor": 8.0, "low_frequency_factor": 1.0, "high_frequency_factor": 4.0, "original_length": 12}
KINDS = {
    "llama": {"num_key_value_heads": 2},
    "gpt2": {"positions": "learned", "norm": "layer", "activation": "gelu_tanh", "biases": "all"},
    "post_norm": {"normalize_first": False, "activation": "relu", "biases": "qkv"},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 10, "norm_queries_and_keys": True},
    "llama31": {"rotary_scaling": SCALING},
    "untied": {"tie_embeddings": False, "head_dim": 10, "num_key_value_heads": 1, "activation": "geglu"},
}
MASK = np.array([[1] * 8, [1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 1, 0, 0, 0, 0, 0]], "int32")


@pytest.fixture(params=KINDS)
def decoder(request, make_decoder):
    return make_decoder(**KINDS[request.param])


@pytest.fixture
def make_decoder():
    """A tiny decoder with weights large enough that everything a token sees counts."""

    def make(**arguments):
        model = build_decoder(**{**SIZE, **arguments})
        random = np.random.default_rng(0)
        for weight in model.trainable_weights:
            weight.assign(weight + random.normal(0, 0.15, weight.shape))
        return model

    return make


@pytest.fixture
def batch():
    ids = np.random.default_rng(1).integers(5, 50, MASK.shape).astype("int32")
    return {"token_ids": ids * (MASK > 0), "padding_mask": MASK}


def test_outputs_have_the_promised_shapes_and_dtypes(decoder, batch):
    assert {name: (spec.shape, spec.dtype) for name, spec in decoder.input.items()} == dict.fromkeys(
        ("token_ids", "padding_mask"), ((None, None), "int32")
    )
    hidden, logits = (model.predict(batch, verbose=0) for model in (decoder, add_causal_lm_head(decoder)))
    assert (hidden.shape, hidden.dtype) == ((3, 8, 32), np.float32)
    assert (logits.shape, logits.dtype) == ((3, 8, 50), np.float32)


@pytest.mark.parametrize("name", [*SIZE, "num_key_value_heads", "head_dim"])
def test_a_size_that_is_not_positive_is_refused_by_name(name):
    with pytest.raises(InputError, match=rf"`{name}` must be at least 1\. Received: 0"):
        build_decoder(**{**SIZE, name: 0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 3}, "`hidden_dim` must be divisible by `num_heads`"),
        ({"num_key_value_heads": 3}, "`num_heads` must be divisible by `num_key_value_heads`"),
        ({"dropout": 1.5}, "`dropout` must be between 0 and 1"),
        ({"positions": "rotory"}, "did you mean 'rotary'"),
        ({"norm": "batch"}, "`norm` must be one of layer, rms"),
        ({"biases": "some"}, "`biases` must be one of none, qkv, all"),
        ({"activation": "swish"}, "`activation` must be one of swiglu, geglu, gelu_tanh"),
        ({"head_dim": 5}, "even width. Received: 5"),
        ({"rotary_scaling": {**SCALING, "factor": 0.5}}, "at least 1"),
        ({"rotary_scaling": {**SCALING, "low_frequency_factor": 4.0}}, "below the `high_frequency_factor`"),
        ({"rotary_scaling": {"factor": 8.0}}, "numbers for factor, low_frequency_factor, high_frequency_factor"),
        ({"rotary_scaling": {**SCALING, "factor": "8"}}, "numbers for factor"),
        ({"rotary_scaling": 8.0}, "numbers for factor"),
        ({"rotary_scaling": SCALING, "positions": "learned"}, "is for rotary positions"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(arguments, message):
    with pytest.raises(InputError, match=message):
        build_decoder(**{**SIZE, **arguments})


def test_rows_longer_than_the_model_are_refused(make_decoder):
    with pytest.raises(InputError, match=r"rows of 17 tokens, max_sequence_length=16"):
        make_decoder()({"token_ids": np.ones((1, 17), "int32"), "padding_mask": np.ones((1, 17), "int32")})


def test_no_token_feels_a_later_one_and_every_token_feels_all_earlier_ones(decoder, batch):
    before = outputs_of(decoder, batch)[0]
    for place in (0, 3, 7):
        changed = {**batch, "token_ids": batch["token_ids"] + (np.arange(8) == place).astype("int32")}
        moved = np.abs(outputs_of(decoder, changed)[0] - before).max(axis=-1)
        assert (moved[:place] < 1e-6).all()
        assert (moved[place:] > 1e-5).all()


def test_positions_count(decoder, batch):
    turned = {**batch, "token_ids": batch["token_ids"][:, [1, 0, 2, 3, 4, 5, 6, 7]]}
    assert np.abs(outputs_of(decoder, turned)[0, 7] - outputs_of(decoder, batch)[0, 7]).max() > 1e-4


def test_packed_texts_give_the_outputs_they_give_alone_whatever_the_padding(decoder, batch):
    together = outputs_of(decoder, batch)[1]
    for part in (slice(0, 3), slice(3, 7)):
        ids = np.pad(batch["token_ids"][1:2, part], [(0, 0), (0, 5)], constant_values=33)
        mask = np.pad(np.ones((1, part.stop - part.start), "int32"), [(0, 0), (0, 5)])
        alone = outputs_of(decoder, {"token_ids": ids, "padding_mask": mask})[0]
        np.testing.assert_allclose(together[part], alone[: part.stop - part.start], atol=1e-5)


def test_training_gives_the_outputs_and_gradients_of_the_same_parts_uncompiled(decoder, batch):
    model, found = add_causal_lm_head(decoder), []
    inputs = {name: tf.constant(value) for name, value in batch.items()}
    for training in (True, False):
        with tf.GradientTape() as tape:
            logits = model(inputs, training=training)
            loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 7])
        found.append([logits, *tape.gradient(loss, [weight.value for weight in model.trainable_weights])])
    for fast, plain in zip(*(map(tf.convert_to_tensor, values) for values in found), strict=True):
        scale = max(1, np.abs(plain).max())
        np.testing.assert_allclose(fast / scale, plain / scale, atol=1e-5)


def test_the_cached_step_gives_what_the_full_pass_gives(decoder, batch):
    ids, rows = batch["token_ids"][:1], 1
    visible, places = np.tril(np.ones((rows, 8, 8), "int32")), np.arange(8, dtype="int32")[None]
    hidden, cache = decode_cached(decoder, ids[:, :3], places[:, :3], visible[:, :3, :3])
    parts = [hidden]
    cache = [tuple(tf.pad(part, [[0, 0], [0, 0], [0, 5], [0, 0]]) for part in pair) for pair in cache]
    for place in range(3, 8):
        here = slice(place, place + 1)
        hidden, cache = decode_cached(decoder, ids[:, here], places[:, here], visible[:, here], cache, place)
        parts.append(hidden)
    full = outputs_of(decoder, {"token_ids": ids, "padding_mask": np.ones_like(ids)})
    np.testing.assert_allclose(tf.concat(parts, axis=1), full, atol=1e-5)


def test_a_whole_pass_compiles_for_static_shapes(decoder, batch):
    inputs = {name: tf.constant(value) for name, value in batch.items()}
    compiled = tf.function(lambda inputs: decoder(inputs, training=True), jit_compile=True, autograph=False)(inputs)
    np.testing.assert_allclose(compiled, outputs_of(decoder, batch), atol=1e-5)


def test_dropout_acts_in_training_only_and_leaves_the_mean(make_decoder, batch):
    model = make_decoder(dropout=0.5)
    inputs = {name: tf.constant(value) for name, value in batch.items()}
    first, second = model(inputs, training=True), model(inputs, training=True)
    assert np.abs(first - second).max() > 0.1
    np.testing.assert_array_equal(outputs_of(model, batch), outputs_of(model, batch))


def test_bfloat16_stays_near_float32_and_logits_stay_float32(make_decoder, batch):
    model = make_decoder()
    exact, weights = outputs_of(model, batch), model.get_weights()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = make_decoder()
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(weights)
    inputs = {name: tf.constant(value) for name, value in batch.items()}
    rounded = [model(inputs, training=training) for training in (True, False)]
    assert all(one.dtype == tf.bfloat16 for one in rounded)
    for one in rounded:
        assert np.linalg.norm(tf.cast(one, tf.float32) - exact) / np.linalg.norm(exact) < 0.05
    assert add_causal_lm_head(model)(inputs).dtype == tf.float32


def test_recomputed_activations_give_the_same_gradients_with_dropout(make_decoder, batch):
    found = []
    for recomputes in (False, True):
        keras.utils.set_random_seed(1)
        model = make_decoder(dropout=0.3)
        if recomputes:
            recompute_activations(model)

        @tf.function(autograph=False)
        def gradients(inputs, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(inputs, training=True) ** 2)
            return [tf.convert_to_tensor(each) for each in tape.gradient(loss, model.trainable_variables)]

        found.append(gradients({name: tf.constant(value) for name, value in batch.items()}))
    for plain, recomputed in zip(*found, strict=True):
        np.testing.assert_allclose(plain, recomputed, rtol=1e-5, atol=1e-5)


def test_a_model_file_of_keras_loads_with_the_same_outputs(make_decoder, batch, tmp_path):
    model = make_decoder(**KINDS["gpt2"])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        outputs_of(keras.saving.load_model(tmp_path / "model.keras"), batch), outputs_of(model, batch)
    )


@pytest.mark.parametrize("size", ["tiny", "mini", "small"])
def test_blocks_of_decoder_sizes_have_the_weights_of_ungated_ones(size):
    width, layers = DECODER_SIZES[size]["hidden_dim"], DECODER_SIZES[size]["num_layers"]
    blocks = build_decoder(10, **DECODER_SIZES[size]).count_params() - 10 * width
    assert blocks == pytest.approx(12 * width**2 * layers, rel=0.03)


ON_JAX = """
import sys, keras, numpy as np
from tfllm.models import add_causal_lm_head, build_decoder
arguments, file = eval(sys.argv[1]), sys.argv[2]
saved = np.load(file)
model = add_causal_lm_head(build_decoder(**arguments))
model.set_weights([saved[f"w{n}"] for n in range(len(model.weights))])
found = model.predict({"token_ids": saved["token_ids"], "padding_mask": saved["padding_mask"]}, verbose=0)
np.testing.assert_allclose(found, saved["logits"], atol=1e-5)
from tfllm.losses import causal_lm_loss
model.compile("sgd", loss=causal_lm_loss())
ids, mask = saved["token_ids"], saved["padding_mask"]
loss = model.train_on_batch({"token_ids": ids, "padding_mask": mask}, ids, mask.astype("float32"))
assert np.isfinite(loss)
"""


@pytest.mark.slow
def test_jax_gives_the_same_numbers_and_trains(make_decoder, batch, tmp_path):
    pytest.importorskip("jax")
    kind = {**KINDS["qwen3"], **KINDS["llama31"]}
    model = add_causal_lm_head(make_decoder(**kind))
    weights = {f"w{number}": weight for number, weight in enumerate(model.get_weights())}
    np.savez(tmp_path / "saved.npz", **weights, **batch, logits=outputs_of(model, batch))
    command = [sys.executable, "-c", ON_JAX, repr({**SIZE, **kind}), str(tmp_path / "saved.npz")]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
