"""The encoder-decoder: what a token sees, packed rows, the fast training path, the cached step, saving, JAX."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tests.models.outputs import outputs_of
from tfllm.checks import InputError
from tfllm.models import (
    SEQ2SEQ_SIZES,
    add_seq2seq_head,
    build_encoder_decoder,
    load_model,
    recompute_activations,
    save_model,
)
from tfllm.models.encoder_decoder import decode_after_source, encode_source

SIZE = {
    "vocabulary_size": 50,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 16,
}
KINDS = {
    "shared keys": {"num_key_value_heads": 2},
    "as in 2017": {"positions": "learned", "norm": "layer", "activation": "relu", "biases": "all"}
    | {"normalize_first": False, "tie_embeddings": False, "scale_embeddings": True}
    | {"normalize_embeddings": True, "logits_bias": True},
    "distances": {"positions": "relative", "relative_buckets": 8, "activation": "silu", "head_dim": 12},
}
SOURCE_MASK = np.array([[1] * 9, [1, 1, 2, 2, 2, 2, 2, 0, 0]], "int32")
MASK = np.array([[1] * 6, [1, 1, 1, 2, 2, 0]], "int32")


@pytest.fixture(params=KINDS)
def model(request, make_model):
    return make_model(**KINDS[request.param])


@pytest.fixture
def make_model():
    """A tiny model with weights large enough that everything a token sees counts."""

    def make(**arguments):
        model = add_seq2seq_head(build_encoder_decoder(**{**SIZE, **arguments}))
        random = np.random.default_rng(0)
        for weight in model.trainable_weights:
            weight.assign(weight + random.normal(0, 0.15, weight.shape))
        return model

    return make


@pytest.fixture
def batch():
    random = np.random.default_rng(1)
    ids = (random.integers(5, 50, mask.shape).astype("int32") * (mask > 0) for mask in (SOURCE_MASK, MASK))
    return dict(zip(("source_ids", "token_ids"), ids, strict=True)) | {"source_mask": SOURCE_MASK, "padding_mask": MASK}


def as_tensors(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def test_outputs_have_the_promised_shapes_and_dtypes(model, batch):
    names = ("source_ids", "source_mask", "token_ids", "padding_mask")
    assert {name: (spec.shape, spec.dtype) for name, spec in model.input.items()} == dict.fromkeys(
        names, ((None, None), "int32")
    )
    logits = model.predict(batch, verbose=0)
    assert (logits.shape, logits.dtype) == ((2, 6, 50), np.float32)


def test_a_token_feels_all_of_its_source_and_no_later_token(model, batch):
    before = outputs_of(model, batch)[0]
    for place in (0, 4, 8):
        moved = {**batch, "source_ids": batch["source_ids"] + (np.arange(9) == place).astype("int32")}
        assert (np.abs(outputs_of(model, moved)[0] - before).max(axis=-1) > 1e-5).all()
    for place in (0, 3, 5):
        moved = {**batch, "token_ids": batch["token_ids"] + (np.arange(6) == place).astype("int32")}
        felt = np.abs(outputs_of(model, moved)[0] - before).max(axis=-1)
        assert (felt[:place] < 1e-6).all() and (felt[place:] > 1e-5).all()


def test_the_order_of_the_source_counts(model, batch):
    turned = {**batch, "source_ids": batch["source_ids"][:, [1, 0, 2, 3, 4, 5, 6, 7, 8]]}
    assert np.abs(outputs_of(model, turned)[0] - outputs_of(model, batch)[0]).max() > 1e-4


def test_packed_pairs_give_the_outputs_they_give_alone_whatever_the_padding(model, batch):
    together = outputs_of(model, batch)[1]
    for number in (1, 2):
        parts = {"source": SOURCE_MASK[1] == number, "target": MASK[1] == number}
        alone = {
            "source_ids": np.pad(batch["source_ids"][1:, parts["source"]], [(0, 0), (0, 3)], constant_values=33),
            "source_mask": np.pad(np.ones((1, parts["source"].sum()), "int32"), [(0, 0), (0, 3)]),
            "token_ids": np.pad(batch["token_ids"][1:, parts["target"]], [(0, 0), (0, 2)], constant_values=33),
            "padding_mask": np.pad(np.ones((1, parts["target"].sum()), "int32"), [(0, 0), (0, 2)]),
        }
        found = outputs_of(model, alone)[0][: parts["target"].sum()]
        np.testing.assert_allclose(together[parts["target"]], found, atol=1e-5)


def test_training_gives_the_outputs_and_gradients_of_the_same_parts_uncompiled(model, batch):
    inputs, found = as_tensors(batch), []
    for training in (True, False):
        with tf.GradientTape() as tape:
            logits = model(inputs, training=training)
            loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 7])
        found.append([logits, *tape.gradient(loss, [weight.value for weight in model.trainable_weights])])
    for fast, plain in zip(*(map(tf.convert_to_tensor, values) for values in found), strict=True):
        scale = max(1, np.abs(plain).max())
        np.testing.assert_allclose(fast / scale, plain / scale, atol=1e-5)


def test_the_cached_step_gives_what_the_full_pass_gives(model, batch):
    inner = model._tfllm_encoder()
    ids, mask = batch["token_ids"][:1], batch["source_mask"][:1]
    source = encode_source(inner, batch["source_ids"][:1], mask)
    visible, places = np.tril(np.ones((1, 6, 6), "int32")), np.arange(6, dtype="int32")[None]
    first = slice(0, 2)
    hidden, cache = decode_after_source(inner, ids[:, first], places[:, first], visible[:, first, first], source, mask)
    parts = [hidden]
    cache = [tuple(tf.pad(part, [[0, 0], [0, 0], [0, 4], [0, 0]]) for part in pair) for pair in cache]
    for place in range(2, 6):
        here = slice(place, place + 1)
        hidden, cache = decode_after_source(
            inner, ids[:, here], places[:, here], visible[:, here], source, mask, cache, place
        )
        parts.append(hidden)
    full = outputs_of(inner, {name: value[:1] for name, value in batch.items()})
    np.testing.assert_allclose(tf.concat(parts, axis=1), full, atol=1e-5)


def test_dropout_acts_in_training_only(make_model, batch):
    model = make_model(dropout=0.5)
    inputs = as_tensors(batch)
    assert np.abs(model(inputs, training=True) - model(inputs, training=True)).max() > 0.1
    np.testing.assert_array_equal(outputs_of(model, batch), outputs_of(model, batch))


@pytest.mark.slow
def test_recomputed_activations_give_the_same_gradients_with_dropout(make_model, batch):
    found = []
    for recomputes in (False, True):
        keras.utils.set_random_seed(1)
        model = make_model(dropout=0.3)
        if recomputes:
            recompute_activations(model)

        @tf.function(autograph=False)
        def gradients(inputs, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.nn.log_softmax(model(inputs, training=True))[..., 7])
            return [tf.convert_to_tensor(each) for each in tape.gradient(loss, model.trainable_variables)]

        found.append(gradients(as_tensors(batch)))
    for plain, recomputed in zip(*found, strict=True):
        np.testing.assert_allclose(plain, recomputed, rtol=1e-5, atol=1e-4)


def test_a_saved_model_comes_back_with_the_same_outputs(model, batch, tokenizer, tmp_path):
    save_model(model, tmp_path / "model", tokenizer)
    np.testing.assert_array_equal(outputs_of(load_model(tmp_path / "model"), batch), outputs_of(model, batch))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(outputs_of(again, batch), outputs_of(model, batch))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_decoder_layers": 0}, r"`num_decoder_layers` must be at least 1\. Received: 0"),
        ({"num_layers": 0}, "`num_layers` must be at least 1"),
        ({"num_heads": 3}, "`hidden_dim` must be divisible by `num_heads`"),
        ({"positions": "rotory"}, "did you mean 'rotary'"),
        ({"relative_buckets": 7}, "`relative_buckets` must be divisible"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_reason(arguments, message):
    with pytest.raises(InputError, match=message):
        build_encoder_decoder(**{**SIZE, **arguments})


def test_a_target_begins_with_a_special_token_that_there_is(make_model):
    with pytest.raises(InputError, match="`start` must be one of cls, sep, pad"):
        add_seq2seq_head(make_model()._tfllm_encoder(), start="bos")


def test_sizes_can_be_built():
    assert all(size["hidden_dim"] % size["num_heads"] == 0 for size in SEQ2SEQ_SIZES.values())
    model = build_encoder_decoder(10, **SEQ2SEQ_SIZES["tiny"])
    assert sum(layer.name.startswith("decoder_block_") for layer in model.layers) == 4


ON_JAX = """
import sys, keras, numpy as np
from tfllm.losses import causal_lm_loss
from tfllm.models import add_seq2seq_head, build_encoder_decoder
arguments, saved = eval(sys.argv[1]), np.load(sys.argv[2])
model = add_seq2seq_head(build_encoder_decoder(**arguments))
model.set_weights([saved[f"w{n}"] for n in range(len(model.weights))])
inputs = {name: saved[name] for name in model.input}
np.testing.assert_allclose(model.predict(inputs, verbose=0), saved["logits"], atol=1e-5)
model.compile("sgd", loss=causal_lm_loss(0.1))
weights = (saved["padding_mask"] > 0).astype("float32")
assert np.isfinite(model.train_on_batch(inputs, saved["token_ids"], weights))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shared keys", *slow("distances")])
def test_jax_gives_the_same_numbers_and_trains(make_model, batch, tmp_path, kind):
    pytest.importorskip("jax")
    arguments = KINDS[kind]
    model = make_model(**arguments)
    weights = {f"w{number}": weight for number, weight in enumerate(model.get_weights())}
    np.savez(tmp_path / "saved.npz", **weights, **batch, logits=outputs_of(model, batch))
    command = [sys.executable, "-c", ON_JAX, repr({**SIZE, **arguments}), str(tmp_path / "saved.npz")]
    done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
