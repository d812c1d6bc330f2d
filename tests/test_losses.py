"""Losses against values worked out on paper, and the gradient of the masked one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.losses import (
    ChoiceLoss,
    ClassificationLoss,
    CosineLoss,
    CosineRankLoss,
    InBatchNegativesLoss,
    MultilabelLoss,
    RegressionLoss,
    SpanLoss,
    causal_lm_loss,
    masked_lm_loss,
    next_sentence_loss,
)


def test_two_masks_with_uniform_logits_lose_the_logarithm_of_the_vocabulary():
    loss = masked_lm_loss()(np.array([[1, 3]]), np.zeros((1, 2, 4)), sample_weight=np.ones((1, 2)))
    assert float(loss) == pytest.approx(np.log(4), rel=1e-6)


def test_the_masked_loss_is_the_mean_over_real_masks_of_the_whole_batch():
    # Row 1 has one real mask, row 2 three. Each token's odds are 3:1 or 1:1, so the losses are ln(4/3) or ln 2.
    logits = np.log([[[3.0, 1.0], [9, 1], [9, 1]], [[1, 1], [1, 1], [1, 1]]])
    weights = np.array([[1.0, 0, 0], [1, 1, 1]])
    loss = masked_lm_loss()(np.zeros((2, 3)), logits, sample_weight=weights)
    assert float(loss) == pytest.approx((np.log(4 / 3) + 3 * np.log(2)) / 4, rel=1e-6)


def test_the_masked_loss_is_zero_and_not_nan_without_a_real_mask():
    assert float(masked_lm_loss()(np.zeros((1, 2)), np.ones((1, 2, 4)), sample_weight=np.zeros((1, 2)))) == 0.0


def test_the_gradient_of_the_masked_loss_is_probability_minus_target_over_the_count_of_masks():
    logits = tf.Variable(np.log([[[3.0, 1.0], [1.0, 1.0], [5.0, 1.0]]]), dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = masked_lm_loss()(tf.constant([[0, 1, 0]]), logits, sample_weight=tf.constant([[1.0, 1.0, 0.0]]))
    # Two real masks: (3/4 - 1, 1/4) / 2 and (1/2, 1/2 - 1) / 2; the unused slot gets nothing.
    expected = [[[-1 / 8, 1 / 8], [1 / 4, -1 / 4], [0, 0]]]
    np.testing.assert_allclose(tape.gradient(loss, logits), expected, atol=1e-6)


def test_huge_logits_keep_losses_finite():
    logits = np.array([[[1e4, -1e4]]], "float32")
    assert float(masked_lm_loss()(np.array([[1]]), logits, sample_weight=np.ones((1, 1)))) == pytest.approx(2e4)
    assert float(ClassificationLoss(0.1)(np.array([1]), logits[0])) == pytest.approx(0.95 * 2e4)


def test_the_next_sentence_loss_is_the_mean_over_pairs():
    logits = np.log([[3.0, 1.0], [1.0, 3.0]])
    loss = next_sentence_loss()(np.array([0, 0]), logits)
    assert float(loss) == pytest.approx((np.log(4 / 3) + np.log(4)) / 2, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_equal_logits_lose_ln_2_with_any_smoothing(smoothing):
    assert float(ClassificationLoss(smoothing)(np.array([0, 1]), np.zeros((2, 2)))) == pytest.approx(np.log(2))


def test_smoothing_puts_its_share_on_every_label():
    # C = 4, s = 0.2: target 0.85 on the right label and 0.05 on the others; probabilities 1/2, 1/4, 1/8, 1/8.
    logits = np.log([[4.0, 2.0, 1.0, 1.0]])
    expected = 0.85 * np.log(2) + 0.05 * (np.log(4) + np.log(8) + np.log(8))
    assert float(ClassificationLoss(0.2)(np.array([0]), logits)) == pytest.approx(expected, rel=1e-6)


def test_without_smoothing_it_is_keras_cross_entropy():
    random = np.random.default_rng(0)
    label_ids, logits = random.integers(0, 5, 16), random.normal(size=(16, 5))
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(label_ids, logits)
    assert float(ClassificationLoss()(label_ids, logits)) == pytest.approx(float(expected), rel=1e-6)


def test_sample_weights_weigh_against_the_whole_data_set():
    label_ids, logits = np.array([0, 0]), np.log([[3.0, 1.0], [1.0, 3.0]])
    loss = ClassificationLoss()
    assert float(loss(label_ids, logits, sample_weight=np.array([3.0, 1.0]))) == pytest.approx(
        (3 * np.log(4 / 3) + np.log(4)) / 2,
        rel=1e-6,  # over B, not over the sum of the weights
    )
    assert float(loss(label_ids, logits, sample_weight=np.zeros(2))) == 0.0


def test_the_classification_loss_is_rebuilt_from_its_configuration():
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(ClassificationLoss(0.3)), safe_mode=True
    )
    assert (again.label_smoothing, again.reduction) == (0.3, "sum_over_batch_size")


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_a_smoothing_outside_0_to_1_is_refused(smoothing):
    with pytest.raises(InputError, match="`label_smoothing` must be between 0 and 1"):
        ClassificationLoss(smoothing)


def test_the_multilabel_loss_is_the_mean_over_labels_of_the_cross_entropy_of_yes_and_no():
    # Odds 3:1 for a label the text has, 1:3 for one it has not: ln(4/3) each; 3:1 for one it has not: ln 4.
    logits = np.log([[3.0, 1 / 3, 3.0]])
    loss = MultilabelLoss()(np.array([[1, 0, 0]]), logits)
    assert float(loss) == pytest.approx((2 * np.log(4 / 3) + np.log(4)) / 3, rel=1e-6)


def test_smoothed_labels_put_half_the_smoothing_on_the_other_side():
    loss = MultilabelLoss(0.2)(np.array([[1]]), np.log([[3.0]]))
    assert float(loss) == pytest.approx(0.9 * np.log(4 / 3) + 0.1 * np.log(4), rel=1e-6)
    assert float(MultilabelLoss(0.7)(np.array([[1, 0]]), np.zeros((1, 2)))) == pytest.approx(np.log(2))


def test_the_regression_loss_is_the_squared_error_in_its_unit():
    assert float(RegressionLoss(5)(np.array([4.0, 1.0]), np.array([[2.0], [1.0]]))) == pytest.approx(0.08)
    packed = RegressionLoss(reduction="mean_with_sample_weight")
    loss = packed(np.array([[1.0, 0]]), np.array([[[3.0], [9.0]]]), sample_weight=np.array([[1.0, 0]]))
    assert float(loss) == pytest.approx(4)


def test_the_cosine_loss_is_the_squared_error_of_the_cosine_whatever_the_lengths():
    vectors = np.array([[2.0, 0], [0, 3], [1, 1], [5, 0]])
    found = CosineLoss(reduction="none")(np.array([1.0, 1.0, 0.5, 0.5]), vectors)
    np.testing.assert_allclose(found, [1, 1, (np.sqrt(0.5) - 0.5) ** 2, (np.sqrt(0.5) - 0.5) ** 2], rtol=1e-6)


def test_the_rank_loss_counts_pairs_of_pairs_in_the_wrong_order():
    vectors = np.array([[1.0, 0], [2, 0], [0, 1], [1, 0]])  # cosines 1 and 0
    loss = CosineRankLoss(1.0, reduction="none")
    np.testing.assert_allclose(loss(np.array([0.0, 0, 5, 5]), vectors), np.log(1 + np.e), rtol=1e-6)
    np.testing.assert_allclose(loss(np.array([3.0, 3, 1, 1]), vectors), np.log(1 + np.exp(-1)), rtol=1e-6)
    np.testing.assert_allclose(loss(np.array([3.0, 3, 3, 3]), vectors), 0, atol=1e-6)
    packed = np.concatenate([vectors, np.zeros((2, 2))])[None]  # a third pair that is none: 0 is below every target
    np.testing.assert_allclose(loss(np.array([[3.0, 3, 1, 1, 0, 0]]), packed), np.log(1 + np.exp(-1)), rtol=1e-6)


def in_batch(numbers, vectors, temperature=1.0):
    return np.asarray(InBatchNegativesLoss(temperature, reduction="none")(np.array(numbers), np.array(vectors)))


ACROSS = [[1.0, 0], [1, 0], [0, 1], [0, 1]]  # two pairs; the texts of a pair are equal, the pairs at right angles


def test_a_pair_is_told_from_the_other_pairs_of_the_batch():
    np.testing.assert_allclose(in_batch([1, 2, 3, 4], ACROSS), np.log(1 + np.exp(-1)), rtol=1e-5)
    np.testing.assert_allclose(in_batch([1, 2, 3, 4], ACROSS, 0.5), np.log(1 + np.exp(-2)), rtol=1e-5)


def test_both_directions_count():
    # First texts (1, 0) and (0, 1), second texts both (1, 0): cosines are 1, 1 in the first row, 0, 0 in the second.
    found = in_batch([1, 2, 3, 4], [[1.0, 0], [1, 0], [0, 1], [1, 0]])
    first = (np.log(2) + np.log(1 + np.exp(-1))) / 2  # row: cosines 1, 1; column: 1 (own), 0
    second = (np.log(2) + np.log(np.exp(1) + 1)) / 2  # row: cosines 0, 0; column: 1, 0 (own)
    np.testing.assert_allclose(found, [first, first, second, second], rtol=1e-5)


def test_pairs_that_share_a_text_and_places_without_one_are_no_negatives():
    assert in_batch([1, 2, 1, 4], ACROSS) == pytest.approx(0, abs=1e-6)
    assert in_batch([1, 2, 3, 2], ACROSS) == pytest.approx(0, abs=1e-6)
    packed = in_batch([[1, 2, 0, 0], [3, 4, 0, 0]], [[*ACROSS[:2], *ACROSS[:2]], [*ACROSS[2:], *ACROSS[:2]]])
    np.testing.assert_allclose(packed[:, :2], np.log(1 + np.exp(-1)), rtol=1e-5)


@pytest.mark.parametrize("loss", [CosineLoss(), CosineRankLoss(), InBatchNegativesLoss()], ids=lambda loss: loss.name)
def test_places_without_a_text_have_a_vector_of_zeros_and_no_gradient(loss):
    loss.reduction = "mean_with_sample_weight"
    vectors = tf.Variable([[[1.0, 2], [3, 4], [0, 0], [0, 0]]])
    with tf.GradientTape() as tape:
        value = loss(tf.constant([[1, 1, 0, 0]]), vectors, sample_weight=tf.constant([[1.0, 1, 0, 0]]))
    gradient = tape.gradient(value, vectors).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[0, 2:].any()


@pytest.mark.parametrize(
    "loss",
    [MultilabelLoss(0.3), RegressionLoss(2.0), CosineLoss(), CosineRankLoss(0.1), InBatchNegativesLoss(0.1)],
    ids=lambda loss: loss.name,
)
def test_sentence_losses_are_rebuilt_from_their_configuration(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss), safe_mode=True)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize(
    "make", [lambda: RegressionLoss(0), lambda: InBatchNegativesLoss(-1.0), lambda: CosineRankLoss(0)]
)
def test_a_scale_or_temperature_that_is_not_above_0_is_refused(make):
    with pytest.raises(InputError, match="must be above 0"):
        make()


def test_a_span_loses_the_mean_of_both_ends_among_the_tokens_that_can_be_one():
    # Three tokens can be an end, with logits 0, log 2, 0: probabilities 1/4, 1/2, 1/4. A fourth cannot.
    logits = np.array([[[0, np.log(2), 0, -1e9]] * 2], "float32")
    assert float(SpanLoss().call(np.array([[1, 2]]), logits)[0]) == pytest.approx((np.log(2) + np.log(4)) / 2)
    # Smoothing of 0.3 puts 0.1 on each of the three: 0.8 stand on the right one.
    first = -(0.8 * np.log(1 / 2) + 0.2 * np.log(1 / 4))
    last = -(0.8 * np.log(1 / 4) + 0.1 * np.log(1 / 2) + 0.1 * np.log(1 / 4))
    assert float(SpanLoss(0.3).call(np.array([[1, 2]]), logits)[0]) == pytest.approx((first + last) / 2)


def test_a_window_of_weight_0_does_not_count():
    loss = SpanLoss(reduction="mean_with_sample_weight")
    logits = np.array([[[0, 0, -1e9]] * 2, [[5, 0, 0]] * 2], "float32")
    value = loss(np.array([[0, 0], [1, 1]]), logits, sample_weight=np.array([1.0, 0.0]))
    assert float(value) == pytest.approx(np.log(2))


def test_a_span_loss_is_rebuilt_from_its_configuration():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(SpanLoss(0.2)), safe_mode=True)
    assert again.get_config() == SpanLoss(0.2).get_config()
    with pytest.raises(InputError, match="`label_smoothing` must be between 0 and 1"):
        SpanLoss(1.5)


def test_the_right_choice_is_told_from_those_that_are_there():
    targets = np.array([[0, 1, -1], [1, 0, 0]])
    logits = np.array([[[0.0], [0.0], [50.0]], [[np.log(2)], [0.0], [0.0]]])
    np.testing.assert_allclose(ChoiceLoss().call(targets, logits), [np.log(2), np.log(2)], rtol=1e-6)
    # Smoothing of 0.3 puts 0.15 on each of two choices, or 0.1 on each of three: the right one has 0.85, or 0.8.
    second = -(0.8 * np.log(1 / 2) + 0.2 * np.log(1 / 4))
    np.testing.assert_allclose(ChoiceLoss(0.3).call(targets, logits), [np.log(2), second], rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ChoiceLoss(0.3)), safe_mode=True)
    assert again.get_config() == ChoiceLoss(0.3).get_config()


def test_smoothing_may_be_a_number_of_numpy():
    ids, logits = tf.constant([[1, 0]]), tf.constant([[[0.0, 2.0, -1.0], [1.0, 0.0, 0.5]]])
    smoothed, of_numpy = (causal_lm_loss(value)(ids, logits) for value in (0.25, np.float64(0.25)))
    assert float(smoothed) == float(of_numpy) != float(causal_lm_loss()(ids, logits))
