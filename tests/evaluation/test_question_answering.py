"""Scores of answers against values derived by hand; the null threshold; that what is measured is what is served."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.answers import Answer
from tfllm.data.question_answering import Questions, question_batches
from tfllm.evaluation import answer_scores, evaluate_question_answering
from tfllm.evaluation.question_answering import _best_threshold
from tfllm.inference import build_signatures
from tfllm.inference.question_answering import Spans
from tfllm.losses import SpanLoss
from tfllm.models import add_span_head, set_null_threshold


def score(answer, *references, chinese=False):
    scores = answer_scores([answer], [list(references)], chinese=chinese)
    return scores["exact_match"], scores["f1"]


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("the Denver Broncos!", "Denver broncos", 1, 1),  # article, case and punctuation do not count
        ("Denver", "Denver Broncos", 0, 2 * 1 * 0.5 / 1.5),  # precision 1/1, recall 1/2
        ("Broncos Denver", "Denver Broncos", 0, 1),  # order does not count for F1
        ("no no no", "no no yes", 0, 2 / 3),  # "no" is common twice: precision 2/3, recall 2/3
        ("Paris", "London", 0, 0),
        ("a", "the", 1, 1),  # nothing is left of either
        ("U.S.", "US", 1, 1),
        ("in 1,000 years", "1000", 0, 0.5),  # precision 1/3, recall 1/1
        ("Ⅷ  theatre", "Ⅷ theatre", 1, 1),
    ],
)
def test_english_answers_are_scored_by_the_rules_of_squad(answer, reference, exact, f1):
    assert score(answer, reference) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1"),
    [
        ("《战国无双3》", "战国无双3", 1, 1),  # marks do not count
        ("光荣和ω-Force", "光荣和ω-force", 1, 1),  # nor does case
        ("北京大学", "北京", 0, 2 * 2 / 6),  # the run 北京 of 4 and of 2 units
        ("京北", "北京", 0, 0.5),  # the longest common run is one unit
        ("1990年3.5米", "1990年", 0, 2 * 2 / 6),  # 1990 年 3.5 米 and 1990 年
        ("上海", "北京", 0, 0),
        ("ABC公司", "abc 公司", 0, 1),  # white space is no unit, but it is a character
        ("。", "！", 1, 1),  # nothing is left of either
        ("。", "好", 0, 0),
    ],
)
def test_chinese_answers_are_scored_by_the_rules_of_cmrc(answer, reference, exact, f1):
    assert score(answer, reference, chinese=True) == (exact, pytest.approx(f1))


def test_the_best_reference_counts_for_each_score_by_itself():
    # "a b c": exact with none; F1 with "a x" is 2/5, with "b c d" it is 4/6.
    assert score("w b c", "w x", "b c d") == (0, pytest.approx(4 / 6))
    assert score("", "something") == (0, 0)
    assert score("") == (1, 1)
    assert score("something") == (0, 0)


def test_questions_with_and_without_an_answer_are_counted_apart():
    scores = answer_scores(["x", "", "y", ""], [["x"], ["x"], [], []], chinese=False)
    assert scores == {
        "examples": 4,
        "exact_match": 0.5,
        "f1": 0.5,
        "rules": "squad",
        "answerable": 2,
        "answerable_exact_match": 0.5,
        "answerable_f1": 0.5,
        "unanswerable": 2,
        "unanswerable_accuracy": 0.5,
    }
    assert "unanswerable" not in answer_scores(["x"], [["x"]], chinese=False)
    assert "answerable" not in answer_scores(["x"], [[]], chinese=False)


@pytest.mark.parametrize(("answers", "references"), [([], []), (["x"], [])])
def test_scores_need_questions_and_an_answer_to_each(answers, references):
    with pytest.raises(InputError, match="Scores need questions"):
        answer_scores(answers, references, chinese=False)


def spans_of(gaps):
    """Spans whose one answer is "x" and whose "no answer" is so much likelier."""
    count = len(gaps)
    return Spans(
        tf.constant([["x"]] * count),
        tf.constant([[-1.0]] * count),
        tf.constant([[0]] * count),
        tf.constant([[1]] * count),
        tf.constant(gaps) - 1.0,
    )


@pytest.mark.parametrize(
    ("gaps", "answerable", "expected"),
    [
        ([-2.0, -1.0, 1.0, 3.0], [True, True, False, False], 0.0),  # between -1 and 1
        ([-2.0, 5.0, 1.0], [True, True, True], 5.5),  # answer all: beyond the highest gap
        ([-2.0, 5.0, 1.0], [False, False, False], -2.5),  # answer none: below the lowest gap
        ([-2.0, 0.0, 1.0, 2.0], [True, False, True, True], 2.5),  # 3 right of 4 either way round, best with all
    ],
)
def test_the_null_threshold_is_the_one_with_the_best_f1(gaps, answerable, expected):
    references = [["x"] if has else [] for has in answerable]
    assert _best_threshold(spans_of(gaps), references, chinese=False) == pytest.approx(expected)


@pytest.fixture
def rows(tokenizer):
    """Each context names a drink or a book; the question asks for the one, and some contexts do not say."""
    contexts = ["good tea and rain", "bad book and cold cup a warm tea", "cold rain and a book", "warm and good rain"]
    wanted = ["tea", "tea", "book", None]
    questions = ["a cup", "a cup", "a book", "a book"]
    answers = [
        [] if word is None else [Answer(word, text.index(word))] for word, text in zip(wanted, contexts, strict=True)
    ]
    numbers = [str(number) for number in range(4)]
    return Questions(questions, contexts, answers, numbers, numbers)


def trained(encoder, rows, tokenizer, **arguments):
    keras.utils.set_random_seed(0)
    model = add_span_head(encoder, dropout=0.0, **arguments)
    model.compile(keras.optimizers.Adam(0.02), loss=SpanLoss(reduction="mean_with_sample_weight"))
    batches = question_batches(rows, tokenizer, sequence_length=16, batch_size=4)
    model.fit(batches(), steps_per_epoch=120, shuffle=False, verbose=0)
    return model


def test_a_model_that_learnt_the_questions_answers_them_and_tunes_its_threshold(encoder, rows, tokenizer):
    model = trained(encoder, rows, tokenizer, null_threshold=0.0)
    scores = evaluate_question_answering(model, tokenizer, rows, sequence_length=16, batch_size=3, tune=True)
    assert (scores["exact_match"], scores["f1"], scores["unanswerable_accuracy"]) == (1, 1, 1)
    assert [one["answer"] for one in scores["predictions"]] == ["tea", "tea", "book", ""]
    assert [one["id"] for one in scores["predictions"]] == rows.ids
    set_null_threshold(model, scores["null_threshold"])
    again = evaluate_question_answering(model, tokenizer, rows, sequence_length=16, batch_size=3)
    assert again == scores
    set_null_threshold(model, -math.inf)
    none = evaluate_question_answering(model, tokenizer, rows, sequence_length=16)
    assert (none["exact_match"], none["unanswerable_accuracy"], none["answerable_f1"]) == (0.25, 1, 0)


def test_what_is_measured_is_what_is_served(encoder, rows, tokenizer):
    model = add_span_head(encoder, max_answer_tokens=3, stride=2, null_threshold=0.1)
    scores = evaluate_question_answering(model, tokenizer, rows, sequence_length=9, batch_size=2)
    served = build_signatures(model, tokenizer, 9)["serving_default"].function(
        question=tf.constant(rows.questions), context=tf.constant(rows.contexts)
    )
    for name in ("answer", "score", "start", "end"):
        found = [one[name] for one in scores["predictions"]]
        expected = [value.decode() if isinstance(value, bytes) else value for value in served[name].numpy()]
        if name == "score":
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        else:
            assert found == expected


def test_a_model_that_always_answers_has_no_threshold_to_tune(encoder, rows, tokenizer):
    model = add_span_head(encoder)
    scores = evaluate_question_answering(model, tokenizer, rows, sequence_length=16, tune=True)
    assert scores["null_threshold"] is None
    assert "" not in [one["answer"] for one in scores["predictions"]]
    assert scores["rules"] == "squad"
