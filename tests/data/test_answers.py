"""Where answers stand in their context: offsets that are right, wrong, absent; every layout of files."""

import pytest

from tfllm.data.answers import Answer, locate, read_answers

CONTEXT = "The cat sat. The cat 😀 sat on the mat."


@pytest.mark.parametrize(
    ("text", "start", "expected", "repair"),
    [
        ("cat", 4, Answer("cat", 4), ""),
        ("mat", None, Answer("mat", 34), ""),
        ("cat", 17, Answer("cat", 17), ""),
        ("cat", 15, Answer("cat", 17), "'cat' does not start at character 15, but at 17"),
        ("cat", -1, Answer("cat", 4), "'cat' does not start at character -1, but at 4"),
        ("mat", 35, Answer("mat", 34), "'mat' does not start at character 35, but at 34"),  # UTF-16 counts 😀 twice
        ("cat", None, Answer("cat", 4), "'cat' stands 2 times in the context and has no answer_start"),
        (" mat ", None, Answer("mat", 34), ""),
        ("dog", 4, Answer("dog", -1), "'dog' is not in the context"),
        ("dog", None, Answer("dog", -1), "'dog' is not in the context"),
    ],
)
def test_an_answer_is_found_where_it_stands(text, start, expected, repair):
    answer, found = locate(CONTEXT, text, start)
    assert answer == expected
    assert found.startswith(repair) and bool(found) == bool(repair)


@pytest.mark.parametrize(
    "cells",
    [
        {"answers": [{"text": "cat", "answer_start": 17}]},
        {"answers": {"text": ["cat"], "answer_start": [17]}},
        {"answers": "cat", "answer_start": 17},
        {"answers": "cat", "answer_start": "17"},
        {"answers": "cat", "answer_start": "17.0"},
    ],
)
def test_every_layout_of_an_answer_with_its_offset_is_read(cells):
    assert read_answers(cells, "answers", CONTEXT) == ([Answer("cat", 17)], [], "")


@pytest.mark.parametrize(
    "cells",
    [
        {"answers": []},
        {"answers": ""},
        {"answers": None},
        {"answers": {"text": [], "answer_start": []}},
        {"answers": [], "is_impossible": True, "plausible_answers": [{"text": "cat", "answer_start": 4}]},
        {"answers": "cat", "is_impossible": "True"},
    ],
)
def test_a_question_may_have_no_answer(cells):
    assert read_answers(cells, "answers", CONTEXT) == ([], [], "")


def test_of_several_answers_one_that_is_not_in_the_context_stays_for_scoring():
    answers, repairs, reason = read_answers({"a": ["cat", "a cat"]}, "a", "my cat")
    assert answers == [Answer("cat", 3), Answer("a cat", -1)]
    assert repairs == ["'a cat' is not in the context"]
    assert reason == ""


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"a": "dog"}, "'dog' is not in the context"),
        ({"a": ["dog", "bird"]}, "'dog' is not in the context"),
        ({"a": 7}, "must be a string or a list, not a number"),
        ({"a": [7]}, "the text must be a string, not a number"),
        ({"a": [{"text": "cat"}, {"answer_start": 3}]}, "the text must be a string, not a null"),
        ({"a": [" "]}, "an answer is empty"),
        ({"a": ["\0"]}, "NUL byte, at character 1"),
        ({"a": {"text": ["cat"], "answer_start": []}}, "must have the lists `text` and `answer_start`"),
        ({"a": "cat", "answer_start": "four"}, "answer_start must be a whole number, not 'four'"),
        ({"a": "cat", "answer_start": 4.5}, "answer_start must be a whole number, not 4.5"),
        ({"a": "cat", "answer_start": True}, "answer_start must be a whole number, not True"),
        ({"a": "cat", "answer_start": float("nan")}, "answer_start must be a whole number, not nan"),
        ({"a": "cat", "answer_start": 1e999}, "answer_start must be a whole number, not inf"),
        ({"a": [], "is_impossible": False}, "there is none, though is_impossible is false"),
        ({"a": "", "is_impossible": "False"}, "there is none, though is_impossible is false"),
    ],
)
def test_a_bad_answer_makes_a_bad_row(cells, reason):
    answers, repairs, found = read_answers(cells, "a", CONTEXT)
    assert (answers, repairs) == ([], [])
    assert found.startswith(reason)
