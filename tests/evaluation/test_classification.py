"""Classification scores against counts made by hand, and a model's predictions in the order of its texts."""

import json
import math

import keras
import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.evaluation import classification_scores, evaluate_classifier
from tfllm.models import add_classifier_head

# Six examples. True: a a a b b c; predicted: a a b b a a. Confusion, rows true: a [2 1 0], b [1 1 0], c [1 0 0].
LABEL_IDS = [0, 0, 0, 1, 1, 2]
PROBABILITIES = [[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.5, 0.3, 0.2]]


def test_scores_equal_counts_made_by_hand():
    scores = classification_scores(LABEL_IDS, PROBABILITIES, ["a", "b", "c"])
    assert scores["examples"] == 6
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["confusion_matrix"] == [[2, 1, 0], [1, 1, 0], [1, 0, 0]]
    # a: predicted 4 times, 2 right, 3 there are. b: predicted twice, 1 right, 2 there are.
    # c: never predicted, 1 there is.
    assert scores["per_class"]["a"] == pytest.approx({"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7, "support": 3})
    assert scores["per_class"]["b"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2})
    assert scores["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert scores["macro"]["f1"] == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)
    assert scores["weighted"]["f1"] == pytest.approx((3 * 4 / 7 + 2 * 1 / 2 + 0) / 6)
    assert scores["micro"] == pytest.approx({"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2})
    # Matthews: right * all - sum(true_k * predicted_k) = 3 * 6 - (3*4 + 2*2 + 1*0) = 2;
    # all^2 - sum(predicted_k^2) = 36 - 20 = 16; all^2 - sum(true_k^2) = 36 - 14 = 22.
    assert scores["matthews_correlation"] == pytest.approx(2 / math.sqrt(16 * 22))
    assert scores["log_loss"] == pytest.approx(-np.mean(np.log([0.8, 0.6, 0.2, 0.7, 0.3, 0.2])))


def test_an_absent_class_scores_zero_and_is_named_without_a_warning():
    scores = classification_scores([0, 1], [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], ["a", "b", "c"])
    assert scores["absent_labels"] == ["c"]
    assert scores["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert scores["macro"]["f1"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == 1


def test_a_test_set_of_one_class_is_scored_without_a_warning():
    scores = classification_scores([1, 1], [[0.4, 0.6], [0.3, 0.7]], ["a", "b"])
    assert scores["accuracy"] == 1
    assert scores["matthews_correlation"] == 0


def test_scores_are_json_values():
    scores = classification_scores(LABEL_IDS, np.array(PROBABILITIES, np.float32), ["a", "b", "c"])
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize(
    ("label_ids", "probabilities", "message"),
    [
        ([], np.zeros((0, 2)), "at least one example"),
        ([0], [[0.2, 0.3, 0.5]], "a column for each label"),
        ([0], [[math.nan, 0.5]], "diverged"),
    ],
)
def test_unusable_arrays_are_refused(label_ids, probabilities, message):
    with pytest.raises(InputError, match=message):
        classification_scores(label_ids, probabilities, ["a", "b"])


@pytest.fixture
def classifier(encoder):
    keras.utils.set_random_seed(3)
    return add_classifier_head(encoder, ["x", "y"])


def test_predictions_come_in_the_order_of_the_texts(classifier, tokenizer):
    texts = ["good warm tea and a good warm cup", "bad", "cold rain and bad tea", "a book", "cup"]
    labels = ["x", "y", "x", "y", "x"]
    together = evaluate_classifier(classifier, tokenizer, texts, labels, ["x", "y"], batch_size=2)
    alone = [
        evaluate_classifier(classifier, tokenizer, [text], [label], ["x", "y"])
        for text, label in zip(texts, labels, strict=True)
    ]
    assert together["predictions"] == [scores["predictions"][0] for scores in alone]
    assert together["log_loss"] == pytest.approx(np.mean([scores["log_loss"] for scores in alone]), abs=1e-6)


def test_predictions_follow_the_logits(classifier, tokenizer):
    bias = classifier.get_layer("logits").bias
    bias.assign([0.0, 100.0])
    scores = evaluate_classifier(classifier, tokenizer, ["good tea", "bad"], ["y", "y"], ["x", "y"])
    assert scores["predictions"] == ["y", "y"]
    assert scores["log_loss"] == pytest.approx(0, abs=1e-6)


def test_an_unknown_label_is_refused_with_a_suggestion(classifier, tokenizer):
    with pytest.raises(InputError, match=r"example 2: 'postive' .*did you mean 'positive'"):
        evaluate_classifier(classifier, tokenizer, ["a", "b"], ["negative", "postive"], ["negative", "positive"])


def test_no_text_is_refused(classifier, tokenizer):
    with pytest.raises(InputError, match="needs texts"):
        evaluate_classifier(classifier, tokenizer, [], [], ["x", "y"])
