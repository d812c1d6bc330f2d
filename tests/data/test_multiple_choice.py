"""Questions with choices from files in every layout; rows that hold all choices of a question."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.multiple_choice import Choices, multiple_choice_batches, read_choices
from tfllm.tokenizers import WordPieceTokenizer

ROW = {"question": "What is wet?", "choices": ["fire", "rain", "sand"], "answer": 1}


@pytest.fixture
def write(tmp_path):
    def write(content, name="quiz.csv"):
        (tmp_path / name).write_text(content, "utf-8")
        return tmp_path / name

    return write


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("answer", [1, "1", "B", "b", "rain", " rain "])
def test_an_answer_is_a_number_a_letter_or_a_text(write, answer):
    file = write(lines({**ROW, "answer": answer}), "quiz.jsonl")
    rows = read_choices(file)
    assert (rows.texts, rows.choices, rows.answers) == (["What is wet?"], [ROW["choices"]], [1])
    assert rows.places == [f"{file}:1"]
    assert (len(rows), rows.bad_rows) == (1, [])


def test_a_text_that_looks_like_a_number_is_a_text_and_a_json_number_is_a_number(write):
    rows = [{"question": "1+1?", "choices": ["1", "2", "3"], "answer": answer} for answer in ("2", 2)]
    assert read_choices(write(lines(*rows), "quiz.jsonl")).answers == [1, 2]


def test_choices_may_stand_in_columns_of_which_the_last_are_empty(write):
    content = "stem,a,b,c,key\nWhat is wet?,fire,rain,,B\nWhat is hot?,fire,rain,sand,0\n"
    rows = read_choices(write(content), question="stem", choices=["a", "b", "c"], answer="key")
    assert rows.choices == [["fire", "rain"], ["fire", "rain", "sand"]]
    assert rows.answers == [1, 0]
    picked = rows.select([1])
    assert (picked.texts, picked.answers, len(picked.places)) == (["What is hot?"], [0], 1)


def test_a_list_of_choices_in_csv_is_json(write):
    content = 'question,choices,answer\nWhat is wet?,"[""fire"", ""rain""]",rain\n'
    assert read_choices(write(content)).choices == [["fire", "rain"]]


def test_columns_without_a_header_are_named_by_number(write):
    file = write("What is wet?\tfire\train\tA\n", "q.tsv")
    rows = read_choices(file, question="0", choices=["1", "2"], answer="3")
    assert (rows.choices, rows.answers) == ([["fire", "rain"]], [0])
    assert read_choices(file, question=0, choices=[1, 2], answer=3) == rows


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"question": " "}, "question", "empty"),
        ({"choices": ["fire"]}, "choices", "there must be two choices or more, not 1"),
        ({"choices": ["fire", ""]}, "choices", "choice 2: empty"),
        ({"choices": ["fire", 7]}, "choices", "choice 2 must be a string, not a number"),
        ({"choices": ["fire", "\0"]}, "choices", "choice 2: NUL byte, at character 1"),
        (
            {"choices": "fire or rain"},
            "choices",
            "must be a list of strings, as JSON; or name a column for each choice",
        ),
        ({"choices": 7}, "choices", "must be a list of strings, not a number"),
        ({"choices": "7"}, "choices", "must be a list of strings, not a number"),
        ({"answer": "snow"}, "answer", "'snow' is none of the choices"),
        ({"answer": 3}, "answer", "'3' is none of 3 choices: letters begin with A, numbers with 0"),
        ({"answer": "D"}, "answer", "'D' is none of 3 choices: letters begin with A, numbers with 0"),
        ({"answer": "9" * 5000}, "answer", "a number of 5,000 digits is none of the choices"),
        ({"answer": -1}, "answer", "'-1' is none of the choices"),
        ({"answer": ""}, "answer", "empty"),
        ({"answer": None}, "answer", "must be the text, the letter or the number of a choice, not a null"),
        ({"choices": ["rain", "rain"], "answer": "rain"}, "answer", "'rain' is more than one of the choices"),
    ],
)
def test_a_bad_row_is_named_and_left_out_if_asked(write, caplog, change, column, reason):
    file = write(lines({**ROW, **change}, ROW), "quiz.jsonl")
    with pytest.raises(InputError) as error:
        read_choices(file)
    assert str(error.value).split("\n")[0] == f"{file}:1: {column}: {reason}"
    rows = read_choices(file, on_bad_rows="skip")
    assert (len(rows), len(rows.bad_rows)) == (1, 1)
    assert "1 of 2 rows were bad and left out" in caplog.text


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("question,choices\nWhat?,x\n", {}, "no column 'answer'"),
        ("question,a,b,answer\nWhat?,x,y,A\n", {"choices": ["a", "c"]}, "no column 'c'"),
        ("question,choices,answer\n", {}, "No question in"),
        ("question,choices,answer\nWhat?,x,A\n", {"on_bad_rows": "skip"}, "1 of 1 rows are bad"),
        ("question,choices,answer\nWhat?,x,A\n", {"on_bad_rows": "drop"}, "`on_bad_rows` must be one of"),
    ],
)
def test_what_cannot_be_read_is_an_input_error(write, content, arguments, message):
    with pytest.raises(InputError, match=message):
        read_choices(write(content), **arguments)


@pytest.fixture(scope="module")
def letters():
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])


def test_a_row_holds_the_question_with_each_choice(letters):
    rows = Choices(["a b", "c"], [["d", "e f"], ["g", "h", "a"]], [1, 0], ["1", "2"])
    batches = multiple_choice_batches(rows, letters, sequence_length=16, batch_size=2)
    assert (batches.texts_per_row, batches.epoch_steps) == (3, 1)
    inputs, values, weights = next(iter(batches()))
    cls, sep = letters.cls_id, letters.sep_id
    a, b, c, d, e, f, g, h = range(5, 13)
    order = np.argsort(inputs["padding_mask"].numpy().max(axis=1))  # two choices, then three
    ids, segments, mask = (inputs[name].numpy()[order] for name in ("token_ids", "segment_ids", "padding_mask"))
    assert ids[0, :13].tolist() == [cls, a, b, sep, d, sep, cls, a, b, sep, e, f, sep]
    assert segments[0, :13].tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    assert mask[0].tolist() == [1] * 6 + [2] * 7 + [0] * 3
    assert ids[1, :15].tolist() == [cls, c, sep, g, sep, cls, c, sep, h, sep, cls, c, sep, a, sep]
    assert mask[1].tolist() == [1] * 5 + [2] * 5 + [3] * 5 + [0]
    assert values.numpy()[order].tolist() == [[0, 1, -1], [1, 0, 0]]
    assert (values.dtype, weights.numpy().tolist()) == (tf.int32, [1, 1])
    assert {part.dtype for part in inputs.values()} == {tf.int32}


def test_long_choices_are_cut_and_counted(letters, caplog):
    rows = Choices(["a b c d e"], [["f " * 20, "g"]], [0], ["1"])
    inputs, _, _ = next(iter(multiple_choice_batches(rows, letters, sequence_length=8)()))
    assert (inputs["padding_mask"].numpy()[0, :8] == 1).all()
    assert "2 of 2 texts" in caplog.text


def test_batches_go_on_where_they_were_stopped(letters):
    rows = Choices(["a"] * 7, [["b " * (number + 1), "c"] for number in range(7)], [0] * 7, ["x"] * 7)
    batches = multiple_choice_batches(rows, letters, sequence_length=16, batch_size=2, seed=5)
    for expected, found in zip(list(batches().take(9))[4:], batches(4).take(5), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, found)


def test_a_column_is_for_one_thing_only(write):
    file = write("stem,a,b,key\nWhat is wet?,fire,rain,B\n")
    for columns in (
        {"question": "stem", "choices": ["a", "a"], "answer": "key"},
        {"question": "a", "choices": ["a", "b"], "answer": "key"},
    ):
        with pytest.raises(InputError, match="Column 'a' is named twice"):
            read_choices(file, **columns)
