"""The train step gives the same update however a batch is divided; the numbers it reports are the batch's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tfllm import (
    adamw,
    add_classifier_head,
    add_masked_lm_head,
    add_multilabel_head,
    add_pretraining_heads,
    add_regression_head,
    build_encoder,
)
from tfllm.checks import InputError
from tfllm.losses import ClassificationLoss, MultilabelLoss, masked_lm_loss, next_sentence_loss

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.0}
ROWS, TOKENS, MASKED, VOCABULARY = 8, 12, 4, 40


def masked_batch(seed: int = 0) -> tuple:
    """A batch whose rows hold very different numbers of masked tokens."""
    random = np.random.default_rng(seed)
    inputs = {
        "token_ids": random.integers(5, VOCABULARY, (ROWS, TOKENS)),
        "segment_ids": np.zeros((ROWS, TOKENS)),
        "padding_mask": np.arange(TOKENS) < random.integers(4, TOKENS + 1, (ROWS, 1)),
        "mask_positions": np.tile(np.arange(MASKED), (ROWS, 1)),
    }
    inputs = {name: tf.constant(value, tf.int32) for name, value in inputs.items()}
    mask_ids = tf.constant(random.integers(5, VOCABULARY, (ROWS, MASKED)), tf.int32)
    mask_weights = tf.constant(np.arange(MASKED) < random.integers(1, MASKED + 1, (ROWS, 1)), tf.float32)
    return inputs, mask_ids, mask_weights


def masked_lm(optimizer=None, seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = add_masked_lm_head(build_encoder(VOCABULARY, **SIZE))
    model.compile(
        optimizer or adamw(1e-2, total_steps=10, clip_norm=0.1),
        loss=masked_lm_loss(),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model


def weights_after(model: keras.Model, batch: tuple, steps: int = 3) -> list[np.ndarray]:
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(steps), epochs=1, verbose=0, shuffle=False)
    return model.get_weights()


def assert_close(left: list[np.ndarray], right: list[np.ndarray], tolerance: float = 1e-6) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("optimizer", ["adamw", None], ids=["keras's", "tfllm's"])
def test_a_step_is_traced_once(optimizer):
    class CountedLoss(keras.losses.Loss):
        traces = 0

        def call(self, targets, outputs):
            CountedLoss.traces += 1
            return keras.losses.sparse_categorical_crossentropy(targets, outputs, from_logits=True)

    model = masked_lm(optimizer)
    loss = CountedLoss(reduction="mean_with_sample_weight")
    model.compile(model.optimizer, loss=loss, weighted_metrics=["accuracy"], metrics=["accuracy"])
    weights_after(model, masked_batch())
    assert CountedLoss.traces == 1


def test_an_evaluation_is_traced_once():
    traces = []

    class Traced(type(masked_lm())):
        def test_step(self, data):
            traces.append(data)
            return super().test_step(data)

    model = masked_lm()
    model = Traced(model.inputs, model.outputs)
    model.compile(loss=masked_lm_loss(), weighted_metrics=["accuracy"])
    model.evaluate(tf.data.Dataset.from_tensors(masked_batch()), verbose=0)
    assert len(traces) == 1


def test_an_evaluation_creates_nothing_for_training():
    model = masked_lm()
    model.evaluate(tf.data.Dataset.from_tensors(masked_batch()), verbose=0)
    assert not model.optimizer.built


@pytest.mark.parametrize("parts", [3, *slow(8)])
def test_micro_batches_update_as_the_whole_batch_does(parts):
    whole, divided = masked_lm(keras.optimizers.SGD(1.0)), masked_lm(keras.optimizers.SGD(1.0))
    divided.micro_batches = parts
    assert_close(weights_after(whole, masked_batch()), weights_after(divided, masked_batch()))


def test_micro_batches_report_the_loss_and_accuracy_of_the_whole_batch():
    whole, divided = masked_lm(), masked_lm()
    divided.micro_batches = 4
    data = tf.data.Dataset.from_tensors(masked_batch())
    reported = [model.fit(data, verbose=0, shuffle=False).history for model in (whole, divided)]
    assert set(reported[0]) == {"loss", "accuracy", "gradient_norm"}
    for name, values in reported[0].items():
        np.testing.assert_allclose(reported[1][name], values, atol=1e-5)


def test_the_step_is_keras_own_step_where_that_is_right():
    """On one device, in one batch, without clipping, and with an optimizer that adds up a token's gradients.

    Keras 3.15 squares the gradients of a token that occurs twice before it adds them up, so its Adam is not Adam there.
    """
    ours = masked_lm(keras.optimizers.SGD(0.1, momentum=0.9))
    stock = keras.Model(ours.input, ours.output)
    stock.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=masked_lm_loss())
    before = ours.get_weights()
    first = weights_after(ours, masked_batch())
    ours.set_weights(before)
    assert_close(first, weights_after(stock, masked_batch()))


def test_the_reported_loss_weighs_every_masked_token_the_same():
    model = masked_lm(keras.optimizers.SGD(0.0))
    batches = [masked_batch(0), masked_batch(1)]
    losses = [
        model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0, return_dict=True)["loss"] for batch in batches
    ]
    tokens = [float(tf.reduce_sum(batch[2])) for batch in batches]
    data = tf.data.Dataset.from_tensors(batches[0]).concatenate(tf.data.Dataset.from_tensors(batches[1]))
    expected = np.average(losses, weights=tokens)
    assert tokens[0] != tokens[1]
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, abs=1e-5)
    assert model.fit(data, verbose=0, shuffle=False).history["loss"][0] == pytest.approx(expected, abs=1e-5)


def test_two_losses_are_each_divided_by_their_own_count():
    keras.utils.set_random_seed(1)
    inputs, mask_ids, mask_weights = masked_batch()
    targets = {"masked_lm": mask_ids, "next_sentence": tf.constant([0, 1] * (ROWS // 2))}
    weights = {"masked_lm": mask_weights, "next_sentence": tf.ones((ROWS,))}
    model = add_pretraining_heads(build_encoder(VOCABULARY, **SIZE))
    loss = {"masked_lm": masked_lm_loss(), "next_sentence": next_sentence_loss()}
    model.compile(keras.optimizers.SGD(0.0), loss=loss, loss_weights={"next_sentence": 0.5})
    outputs = model(inputs)
    expected = loss["masked_lm"](mask_ids, outputs["masked_lm"], mask_weights)
    expected += 0.5 * loss["next_sentence"](targets["next_sentence"], outputs["next_sentence"])
    reported = model.fit(tf.data.Dataset.from_tensors((inputs, targets, weights)), verbose=0, shuffle=False).history[
        "loss"
    ][0]
    assert reported == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("parts", [2, *slow(4)])
def test_micro_batches_report_two_losses_as_the_whole_batch_does(parts):
    inputs, mask_ids, mask_weights = masked_batch()
    targets = {"masked_lm": mask_ids, "next_sentence": tf.constant([0, 1, 1, 1, 0, 0, 0, 0])}
    weights = {"masked_lm": mask_weights, "next_sentence": tf.ones((ROWS,))}
    reported = []
    for micro_batches in (1, parts):
        keras.utils.set_random_seed(1)
        model = add_pretraining_heads(build_encoder(VOCABULARY, **SIZE))
        model.get_layer("next_sentence_logits").bias.assign([3.0, -3.0])
        model.compile(keras.optimizers.SGD(0.0), {"masked_lm": masked_lm_loss(), "next_sentence": next_sentence_loss()})
        model.micro_batches = micro_batches
        data = tf.data.Dataset.from_tensors((inputs, targets, weights))
        reported.append(model.fit(data, verbose=0, shuffle=False).history["loss"][0])
    assert reported[1] == pytest.approx(reported[0], abs=1e-5)


def test_an_output_may_have_no_loss():
    inputs, mask_ids, mask_weights = masked_batch()
    model = add_pretraining_heads(build_encoder(VOCABULARY, **SIZE))
    model.compile(keras.optimizers.SGD(0.1), {"masked_lm": masked_lm_loss(), "next_sentence": None})
    targets = {"masked_lm": mask_ids, "next_sentence": tf.zeros((ROWS,), tf.int32)}
    weights = {"masked_lm": mask_weights, "next_sentence": tf.ones((ROWS,))}
    expected = masked_lm_loss()(mask_ids, model(inputs)["masked_lm"], mask_weights)
    data = tf.data.Dataset.from_tensors((inputs, targets, weights))
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(float(expected), abs=1e-5)


def squares(targets, scores):
    return tf.square(targets - scores)


class MeanOfSquares(keras.losses.Loss):
    def call(self, targets, scores):
        return tf.reduce_mean(squares(targets, scores))


@pytest.mark.parametrize(
    ("loss", "targets", "weights"),
    [
        (squares, np.arange(ROWS), None),
        (MeanOfSquares(), np.arange(ROWS)[:, None], None),
        ("mse", np.arange(ROWS) / 2, np.arange(ROWS)[:, None]),
    ],
    ids=["a row's number for a row of one", "a mean over the rows", "a weight in a row of one"],
)
def test_losses_targets_and_weights_of_other_shapes_count_as_with_keras(loss, targets, weights):
    inputs, _, _ = masked_batch()
    inputs.pop("mask_positions")
    keras.utils.set_random_seed(1)
    ours = add_regression_head(build_encoder(VOCABULARY, **SIZE), dropout=0.0)
    stock = keras.Model(ours.input, ours.output)
    data = (inputs, targets) if weights is None else (inputs, targets, weights.astype("float32"))
    data, before, after = tf.data.Dataset.from_tensors(data), ours.get_weights(), []
    for model in (ours, stock):
        ours.set_weights(before)
        model.compile(keras.optimizers.SGD(0.01), loss=loss)
        reported = model.fit(data, verbose=0, shuffle=False).history["loss"]
        after.append([*ours.get_weights(), np.array(reported)])
    assert_close(*after, tolerance=1e-5)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_loss_by_weights_without_weights_is_the_mean_however_many_numbers_a_target_has(parts):
    inputs, _, _ = masked_batch()
    inputs.pop("mask_positions")
    labels = tf.constant(np.random.default_rng(0).integers(0, 2, (ROWS, 3)), tf.float32)
    keras.utils.set_random_seed(1)
    model = add_multilabel_head(build_encoder(VOCABULARY, **SIZE), ["a", "b", "c"], dropout=0.0)
    loss = MultilabelLoss(reduction="mean_with_sample_weight")
    expected = float(loss(labels, model(inputs)))
    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    model.micro_batches = parts
    data = tf.data.Dataset.from_tensors((inputs, labels))
    assert model.fit(data, verbose=0, shuffle=False).history["loss"][0] == pytest.approx(expected, abs=1e-6)
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, abs=1e-6)


def test_the_reported_norm_is_that_of_all_gradients_together():
    inputs, mask_ids, mask_weights = masked_batch()
    model = masked_lm(keras.optimizers.SGD(1.0))
    before = model.get_weights()
    data = tf.data.Dataset.from_tensors((inputs, mask_ids, mask_weights))
    reported = model.fit(data, verbose=0, shuffle=False).history["gradient_norm"][0]
    moved = [(old - new).ravel() for old, new in zip(before, model.get_weights(), strict=True)]
    assert reported == pytest.approx(np.linalg.norm(np.concatenate(moved)), rel=1e-5)


def test_class_weights_count_as_keras_counts_them():
    inputs, _, _ = masked_batch()
    inputs = {name: value for name, value in inputs.items() if name != "mask_positions"}
    label_ids = tf.constant([0, 1, 1, 1, 1, 1, 1, 1])
    keras.utils.set_random_seed(1)
    ours = add_classifier_head(build_encoder(VOCABULARY, **SIZE), ["a", "b"], dropout=0.0)
    stock = keras.Model(ours.input, ours.output)
    before, after = ours.get_weights(), []
    for model in (ours, stock):
        ours.set_weights(before)
        model.compile(keras.optimizers.SGD(0.5), loss=ClassificationLoss())
        model.fit(
            tf.data.Dataset.from_tensors((inputs, label_ids)), class_weight={0: 7.0, 1: 0.5}, verbose=0, shuffle=False
        )
        after.append(ours.get_weights())
    assert_close(*after)


def test_float16_training_scales_the_loss():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = masked_lm()
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        history = model.fit(
            tf.data.Dataset.from_tensors(masked_batch()).repeat(30),
            epochs=2,
            steps_per_epoch=15,
            verbose=0,
            shuffle=False,
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert history.history["loss"][1] < history.history["loss"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Give `compile` a `loss`"),
        ({"loss": {"logits": masked_lm_loss()}}, "or, where the output is a dict, one of losses by its names"),
        ({"loss": masked_lm_loss(), "loss_weights": [2.0]}, r"loss_weights=\[2.0\]"),
        ({"loss": keras.losses.SparseCategoricalCrossentropy(reduction="sum")}, "reduction='sum'"),
    ],
)
def test_what_the_step_cannot_do_is_refused(arguments, message):
    model = add_masked_lm_head(build_encoder(VOCABULARY, **SIZE))
    model.compile("adam", **arguments)
    with pytest.raises(InputError, match=message):
        model.fit(tf.data.Dataset.from_tensors(masked_batch()), verbose=0, shuffle=False)


def test_micro_batches_need_no_weights_and_count_regularisation_once():
    inputs, _, _ = masked_batch()
    inputs.pop("mask_positions")
    data = tf.data.Dataset.from_tensors((inputs, tf.constant([0, 1] * (ROWS // 2))))
    after = []
    for parts in (1, 4):
        keras.utils.set_random_seed(1)
        model = add_classifier_head(build_encoder(VOCABULARY, **SIZE), ["a", "b"], dropout=0.0)
        model.get_layer("logits").kernel.regularizer = keras.regularizers.L2(0.1)
        model.compile(keras.optimizers.SGD(0.5), loss=ClassificationLoss())
        model.micro_batches = parts
        model.fit(data, verbose=0, shuffle=False)
        assert len(model.losses) == 1
        after.append(model.get_weights())
    assert_close(*after)


def test_a_keras_file_brings_back_a_model_that_trains(tmp_path):
    model = masked_lm(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(tf.data.Dataset.from_tensors(masked_batch()), verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(again).__name__ == "TrainableModel"
    assert_close(model.get_weights(), again.get_weights(), 0)
    assert_close(weights_after(model, masked_batch(1)), weights_after(again, masked_batch(1)))
