"""Scores of several labels a text, and the thresholds that are chosen for them."""

import json

import numpy as np
import pytest
from sklearn import metrics

from tfllm.checks import InputError
from tfllm.evaluation.multilabel import choose_thresholds, evaluate_multilabel, multilabel_scores
from tfllm.models import add_multilabel_head, set_thresholds

NAMES = ["a", "b", "c"]
TARGETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
PROBABILITIES = np.array([[0.9, 0.2, 0.1], [0.6, 0.4, 0.1], [0.7, 0.3, 0.6], [0.1, 0.8, 0.2]])


def test_the_scores_are_those_of_the_definition():
    scores = multilabel_scores(TARGETS, PROBABILITIES, NAMES)
    # Predicted: a | a | a c | b. Wrong: text 2 lacks b, text 3 has a and c too many.
    assert scores["subset_accuracy"] == pytest.approx(2 / 4)
    assert scores["hamming_loss"] == pytest.approx(3 / 12)
    assert scores["micro"] == pytest.approx({"precision": 3 / 5, "recall": 3 / 4, "f1": 6 / 9})
    f1 = [2 * 2 / 5, 2 * 1 / 3, 0]
    assert scores["macro_f1"] == pytest.approx(np.mean(f1))
    assert [scores["per_class"][name]["f1"] for name in NAMES] == pytest.approx(f1)
    precisions = [metrics.average_precision_score(TARGETS[:, c], PROBABILITIES[:, c]) for c in range(2)]
    assert scores["average_precision"] == pytest.approx(np.mean(precisions))  # of the labels that occur
    assert scores["loss"] == pytest.approx(-np.log(np.where(TARGETS, PROBABILITIES, 1 - PROBABILITIES)).mean())
    assert scores["absent_labels"] == ["c"]
    assert scores["per_class"]["c"]["support"] == 0
    json.dumps(scores)


def test_precision_recall_and_f1_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    targets, probabilities = random.random((50, 7)) < 0.3, random.random((50, 7))
    targets[:, 3] = False
    scores = multilabel_scores(targets, probabilities, list("abcdefg"))
    predicted = probabilities >= 0.5
    for average in ("macro", "micro", "weighted"):
        columns = metrics.precision_recall_fscore_support(targets, predicted, average=average, zero_division=0)
        assert list(scores[average].values()) == pytest.approx(columns[:3])
    columns = metrics.precision_recall_fscore_support(targets, predicted, zero_division=0)
    for row, expected in zip(scores["per_class"].values(), zip(*columns, strict=True), strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(expected)
    expected = metrics.average_precision_score(targets, probabilities, average="micro")
    assert scores["micro_average_precision"] == pytest.approx(expected)


def test_thresholds_decide_what_is_predicted_and_not_the_average_precision():
    plain = multilabel_scores(TARGETS, PROBABILITIES, NAMES)
    scores = multilabel_scores(TARGETS, PROBABILITIES, NAMES, [0.6, 0.4, 0.7])
    assert scores["per_class"]["b"]["f1"] == 1
    assert scores["per_class"]["a"] == {
        "precision": pytest.approx(2 / 3),
        "recall": 1,
        "f1": pytest.approx(0.8),
        "average_precision": plain["per_class"]["a"]["average_precision"],
        "threshold": 0.6,
        "support": 2,
    }


def test_a_single_label_is_scored_as_well():
    scores = multilabel_scores(np.array([[1], [0]]), np.array([[0.9], [0.2]]), ["only"])
    assert (scores["micro_f1"], scores["macro_f1"], scores["subset_accuracy"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), "at least one example"),
        (TARGETS, PROBABILITIES[:, :2], "a probability for each"),
        (TARGETS, np.full((4, 3), np.nan), "not all numbers"),
    ],
)
def test_what_cannot_be_scored_is_an_input_error(targets, probabilities, message):
    with pytest.raises(InputError, match=message):
        multilabel_scores(targets, probabilities, NAMES)


def test_a_threshold_is_chosen_where_probabilities_are_shifted():
    random = np.random.default_rng(0)
    targets = random.random((400, 2)) < 0.3
    probabilities = np.stack(
        [
            np.where(targets[:, 0], 0.25, 0.05) + random.random(400) * 0.1,  # told apart at 0.15 to 0.25
            np.where(targets[:, 1], 0.75, 0.25) + random.random(400) * 0.1,
        ],
        axis=1,
    )
    thresholds = choose_thresholds(targets, probabilities)
    assert 0.14 < thresholds[0] < 0.26
    assert 0.34 < thresholds[1] < 0.76
    scores = multilabel_scores(targets, probabilities, ["x", "y"], thresholds)
    assert scores["macro_f1"] == 1


def test_thresholds_that_only_fit_noise_are_not_taken():
    random = np.random.default_rng(1)
    targets = random.random((12, 30)) < 0.5
    probabilities = np.clip(np.where(targets, 0.55, 0.45) + random.normal(0, 0.1, (12, 30)), 0.01, 0.99)
    assert choose_thresholds(targets, probabilities) == [0.5] * 30


def test_a_label_with_few_examples_keeps_its_threshold():
    targets = np.zeros((40, 2), int)
    targets[:4, 0] = targets[:20, 1] = 1
    assert choose_thresholds(targets, np.where(targets, 0.3, 0.1)) == [0.5, pytest.approx(0.2)]


def test_a_model_is_scored_with_its_thresholds(encoder, tokenizer):
    model = add_multilabel_head(encoder, ["x", "y"])
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([np.zeros_like(kernel), np.array([0.0, -1.0])])
    texts, labels = ["good", "bad tea", "rain"], [("x",), ("x", "y"), ()]
    scores = evaluate_multilabel(model, tokenizer, texts, labels, batch_size=2)
    assert scores["predictions"] == [["x"]] * 3
    set_thresholds(model, [0.6, 0.2])
    scores = evaluate_multilabel(model, tokenizer, texts, labels, pairs=["a", "b", "c"])
    assert scores["predictions"] == [["y"]] * 3
    assert scores["per_class"]["y"]["threshold"] == 0.2
    with pytest.raises(InputError, match="label 'z' is not one of the labels"):
        evaluate_multilabel(model, tokenizer, ["good"], [("z",)])


def test_tuned_scores_use_the_thresholds_chosen_for_the_examples(encoder, tokenizer):
    model = add_multilabel_head(encoder, ["x"])
    kernel, _ = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([np.zeros_like(kernel), np.array([-1.0])])
    texts = ["good tea", "bad"] * 20
    labels = [("x",)] * 40
    labels[::4] = [()] * 10
    scores = evaluate_multilabel(model, tokenizer, texts, labels, tune=True)
    assert scores["per_class"]["x"]["threshold"] < 0.27  # all have the same probability, 0.269
    assert scores["macro_f1"] == pytest.approx(2 * 30 / 70)
