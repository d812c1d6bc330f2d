"""Adapters: nothing changes until they are trained, only they and the head are, and merged they give the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tests.models.outputs import outputs_of
from tfllm.checks import InputError
from tfllm.losses import ClassificationLoss
from tfllm.models import add_classifier_head, load_encoder, save_model
from tfllm.models.adapters import TARGETS, add_adapters, load_adapters, merge_adapters, save_adapters


def classify(encoder):
    return add_classifier_head(encoder, ["a", "b", "c"], pooling="cls", dropout=0.0)


def train(model, batch, steps=3):
    model.compile(keras.optimizers.Adam(1e-2), loss=ClassificationLoss())
    targets = np.array([0, 1, 2, 1], "int32")
    model.fit(tf.data.Dataset.from_tensors((batch, targets)).repeat(steps), shuffle=False, verbose=0)


@pytest.mark.parametrize("targets", [TARGETS, *slow(("query", "value"))])
def test_only_adapters_and_head_are_trained_and_merging_changes_nothing(make_encoder, make_batch, targets):
    model, batch = classify(make_encoder()), make_batch()
    before, untrained = outputs_of(model, batch), {weight.path: np.array(weight) for weight in model.weights}
    add_adapters(model, 2, targets)
    np.testing.assert_array_equal(outputs_of(model, batch), before)
    names = {weight.path.split("/")[-1] for weight in model.trainable_variables if "transformer" in weight.path}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    assert len(model.trainable_variables) == 2 * 2 * len(targets) + 4  # two layers; pooler and logits
    train(model, batch)
    after = outputs_of(model, batch)
    assert np.abs(after - before).max() > 0.1
    for weight in model.weights:
        if "lora" not in weight.path and weight.path.split("/")[0] not in ("pooled_dense", "logits"):
            np.testing.assert_array_equal(weight, untrained[weight.path], err_msg=weight.path)
    merge_adapters(model)
    np.testing.assert_allclose(outputs_of(model, batch), after, atol=1e-5)
    assert [weight.path for weight in model.weights] == list(untrained)
    assert len(model.trainable_variables) == len(model.weights)


def test_the_fast_step_trains_adapters_as_the_plain_one_does(make_encoder, make_batch):
    model, batch = classify(make_encoder(dropout=0.0)), make_batch()
    add_adapters(model, 2)
    random = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign(random.normal(0, 0.2, weight.shape))
    gradients = []
    for training in (False, True):  # KerasHub's layer, and ours
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(batch, training=training) ** 2)
        gradients.append(tape.gradient(loss, [weight.value for weight in model.trainable_variables]))
    for plain, fast in zip(*gradients, strict=True):
        np.testing.assert_allclose(fast, plain, atol=1e-4)


def test_adapters_are_saved_alone_and_found_again(make_encoder, make_batch, tiny_tokenizer, tmp_path):
    save_model(make_encoder(), tmp_path / "base", tiny_tokenizer)
    model, batch = classify(load_encoder(tmp_path / "base")), make_batch()
    add_adapters(model, 2)
    train(model, batch)
    save_adapters(model, tmp_path / "adapters", tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "moved")
    again = load_adapters(tmp_path / "adapters", tmp_path / "moved")
    np.testing.assert_allclose(outputs_of(again, batch), outputs_of(model, batch), atol=1e-6)
    merge_adapters(model)
    save_model(model, tmp_path / "other", tiny_tokenizer)
    with pytest.raises(InputError, match="has other weights than those the adapters"):
        load_adapters(tmp_path / "adapters", tmp_path / "other")
    with pytest.raises(InputError, match="has no adapters"):
        save_adapters(model, tmp_path / "none", tmp_path / "moved")


def test_adapters_are_refused_where_they_cannot_be(make_encoder, make_backbone):
    model = classify(make_encoder())
    with pytest.raises(InputError, match="`rank` must be at least 1"):
        add_adapters(model, 0)
    with pytest.raises(InputError, match=r"`targets` must be one of query.*did you mean 'query'"):
        add_adapters(model, 2, ["qery"])
    with pytest.raises(InputError, match="Only layers of tfllm's own encoders and decoders can have adapters"):
        add_adapters(classify(make_backbone()), 2)
    add_adapters(model, 2)
    with pytest.raises(InputError, match="has adapters already"):
        add_adapters(model, 2)


def test_merging_keeps_float32_under_a_mixed_policy(make_encoder, make_batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = classify(make_encoder())
    finally:
        keras.config.set_dtype_policy("float32")
    before = [np.array(weight) for weight in model.weights]
    add_adapters(model, 2)
    merge_adapters(model)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
