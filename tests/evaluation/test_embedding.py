"""Vectors scored by how near pairs are, and by how well partners are found."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.evaluation.embedding import evaluate_embedding, retrieval_scores, similarity_scores
from tfllm.models import add_classifier_head, add_embedding_head


def test_similarity_is_the_correlation_of_cosines_with_the_scores():
    first = np.array([[1.0, 0], [1, 0], [2, 0]])
    second = np.array([[1.0, 0], [1, 1], [0, 3]])
    scores = similarity_scores(first, second, [5, 3, 0])
    assert scores["spearman"] == pytest.approx(1)
    assert scores["pearson"] == pytest.approx(np.corrcoef([1, np.sqrt(0.5), 0], [5, 3, 0])[0, 1])
    assert scores["examples"] == 3


def test_the_rank_of_the_partner_decides():
    pool = np.eye(3)
    first = np.array([[1.0, 0.1, 0], [0, 1, 0.1], [0.3, 0.2, 0.1]])  # nearest, nearest, third
    scores = retrieval_scores(first, pool, ["q1", "q2", "q3"], ["a1", "a2", "a3"])
    assert scores["recall_at_1"] == pytest.approx(2 / 3)
    assert scores["recall_at_5"] == scores["recall_at_10"] == 1
    assert scores["mean_reciprocal_rank"] == pytest.approx(7 / 9)
    assert (scores["examples"], scores["pool"]) == (3, 3)


def test_other_partners_of_a_text_and_equal_texts_do_not_stand_in_the_way():
    vectors = np.array([[1.0, 0], [0.9, 0.1], [0, 1]])
    first = np.array([[1.0, 0], [1, 0], [0, 1]])
    scores = retrieval_scores(first, vectors, ["q", "q", "r"], ["a", "b", "c"])
    assert scores["recall_at_1"] == 1
    scores = retrieval_scores(first[[0, 0, 2]], vectors[[0, 0, 2]], ["q", "p", "r"], ["a", "a", "c"])
    assert (scores["pool"], scores["recall_at_1"]) == (2, 1)


def test_vectors_that_are_all_the_same_find_nothing():
    same = np.ones((20, 4))
    texts, pairs = [f"q{number}" for number in range(20)], [f"a{number}" for number in range(20)]
    scores = retrieval_scores(same, same, texts, pairs)
    assert scores["recall_at_10"] == 0
    assert scores["mean_reciprocal_rank"] == pytest.approx(1 / 20)
    assert similarity_scores(same, same, range(20))["spearman"] == 0


def test_a_model_is_scored_in_both_ways(encoder, tokenizer):
    model = add_embedding_head(encoder)
    texts, pairs = ["good tea", "bad book and rain", "a cup"], ["good tea", "bad book and rain", "a cup"]
    scores = evaluate_embedding(model, tokenizer, texts, pairs, batch_size=2)
    assert scores["recall_at_1"] == 1  # every text is its own partner
    scores = evaluate_embedding(model, tokenizer, texts, ["good tea", "warm", "cold rain"], [5, 1, 0])
    assert set(scores) == {"examples", "pearson", "spearman"}
    with pytest.raises(InputError, match="3 and 1 texts"):
        evaluate_embedding(model, tokenizer, texts, ["a"])


def test_a_model_without_the_head_is_scored_by_the_mean_of_its_token_vectors(encoder, tokenizer):
    texts, pairs, scores = ["good tea", "bad book", "a cup"], ["good cup", "warm", "cold rain"], [5, 1, 0]
    expected = evaluate_embedding(add_embedding_head(encoder), tokenizer, texts, pairs, scores)
    for model in (encoder, add_classifier_head(encoder, ["x", "y"])):
        assert evaluate_embedding(model, tokenizer, texts, pairs, scores) == pytest.approx(expected)
