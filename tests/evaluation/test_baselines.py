"""Baselines: what a model has to beat."""

import csv

import pytest

from tfllm.checks import InputError
from tfllm.evaluation import baseline_scores

TRAIN = ["good tea", "good book", "very good cup", "bad rain", "bad tea"]
LABELS = ["positive", "positive", "positive", "negative", "negative"]


def test_the_majority_baseline_always_says_the_commonest_training_label():
    scores = baseline_scores(TRAIN, LABELS, ["good", "bad", "bad", "bad"], ["positive"] + ["negative"] * 3)
    assert scores["majority"]["accuracy"] == 1 / 4
    # positive: precision 1/4, recall 1, F1 2/5; negative: F1 0.
    assert scores["majority"]["macro_f1"] == pytest.approx((2 / 5 + 0) / 2)


def test_logistic_regression_learns_words_that_decide():
    scores = baseline_scores(TRAIN, LABELS, ["a good day", "a bad day"], ["positive", "negative"])
    assert scores["tfidf_logistic_regression"] == {"accuracy": 1.0, "macro_f1": 1.0}


def test_chinese_is_cut_into_characters():
    train = ["这个杯子很好用", "好喝的茶", "质量好极了", "太差了，不推荐", "差评，很失望", "服务差"]
    labels = ["好"] * 3 + ["差"] * 3
    scores = baseline_scores(train, labels, ["味道好", "做工差"], ["好", "差"])  # words the training part does not have
    assert scores["tfidf_logistic_regression"]["accuracy"] == 1.0


def test_a_label_that_only_the_test_part_has_is_counted_wrong():
    scores = baseline_scores(TRAIN, LABELS, ["good tea", "odd"], ["positive", "neutral"])
    assert scores["tfidf_logistic_regression"]["accuracy"] == 1 / 2


@pytest.mark.parametrize(
    ("train_labels", "test_texts", "message"),
    [
        (["one"] * 5, ["good"], "one label only"),
        (LABELS[:-1], ["good"], "training part needs texts, and a label"),
        (LABELS, [], "test part needs texts"),
    ],
)
def test_unusable_parts_are_refused(train_labels, test_texts, message):
    with pytest.raises(InputError, match=message):
        baseline_scores(TRAIN, train_labels, test_texts, ["positive"] * len(test_texts))


def test_the_baseline_is_as_strong_as_the_published_floor_on_sst2(shared_data):
    def read(name):
        with open(shared_data / "sst2" / name, encoding="utf-8", newline="") as stream:
            return list(zip(*csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE), strict=True))

    scores = baseline_scores(*read("train.tsv"), *read("test.tsv"))
    assert scores["tfidf_logistic_regression"]["accuracy"] == pytest.approx(0.813, abs=0.005)
