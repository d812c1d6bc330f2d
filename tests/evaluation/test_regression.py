"""Scores held against true scores, and a model's."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.evaluation.regression import evaluate_regression, regression_scores
from tfllm.models import add_regression_head


def test_the_scores_are_those_of_the_definition():
    scores = regression_scores([1, 2, 3], [2, 4, 6])
    assert scores == {
        "examples": 3,
        "pearson": pytest.approx(1),
        "spearman": pytest.approx(1),
        "mean_absolute_error": 2,
        "mean_squared_error": pytest.approx(14 / 3),
        "root_mean_squared_error": pytest.approx((14 / 3) ** 0.5),
        "error_of_the_mean": pytest.approx(2 / 3),
    }


def test_spearman_is_of_ranks_and_pearson_of_numbers():
    scores = regression_scores([1, 2, 3, 4], [1, 10, 100, 1000])
    assert scores["spearman"] == pytest.approx(1)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, 2, 3, 4], [1, 10, 100, 1000])[0, 1])
    assert regression_scores([1, 2, 2], [3, 2, 1])["spearman"] == pytest.approx(-np.sqrt(3) / 2)


@pytest.mark.parametrize(("targets", "predictions"), [([1, 1], [1, 2]), ([1, 2], [3, 3]), ([1], [1])])
def test_without_differences_there_is_no_correlation(targets, predictions):
    scores = regression_scores(targets, predictions)
    assert (scores["pearson"], scores["spearman"]) == (0, 0)


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [([], [], "at least one example"), ([1], [1, 2], "a prediction for each"), ([1], [np.nan], "not all numbers")],
)
def test_what_cannot_be_scored_is_an_input_error(targets, predictions, message):
    with pytest.raises(InputError, match=message):
        regression_scores(targets, predictions)


def test_a_model_is_scored_on_texts_and_on_pairs_in_their_order(encoder, tokenizer):
    model = add_regression_head(encoder, mean=2.0)
    texts = ["good", "bad tea and a cup", "warm", "a book"]
    for pairs in (None, ["rain", "rain", "a good book", "tea"]):
        scores = evaluate_regression(model, tokenizer, texts, [1, 2, 3, 4], pairs=pairs, batch_size=2)
        alone = [
            evaluate_regression(model, tokenizer, [text], [0], pairs=pairs and [pairs[row]])["predictions"][0]
            for row, text in enumerate(texts)
        ]
        np.testing.assert_allclose(scores["predictions"], alone, rtol=1e-5)
        assert scores["mean_squared_error"] == pytest.approx(np.square(np.array(alone) - [1, 2, 3, 4]).mean(), rel=1e-4)


def test_a_model_that_diverged_and_no_texts_are_input_errors(encoder, tokenizer):
    model = add_regression_head(encoder)
    with pytest.raises(InputError, match="no text to score"):
        evaluate_regression(model, tokenizer, [], [])
    model.get_layer("logits").set_weights([np.full((8, 1), np.nan), np.zeros(1)])
    with pytest.raises(InputError, match="diverged"):
        evaluate_regression(model, tokenizer, ["good"], [1])
