"""Score cells, every way they can be bad, and the batches made of them."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.data.regression import read_scored_table, regression_batches


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name="pairs.csv"):
        (tmp_path / name).write_text(content, "utf-8")
        return name

    return write


def test_scores_are_numbers_however_they_are_written(write):
    cells = ["4.5", " 4 ", "-1", "+.5", "2.", "1e3", "1E-2"]
    path = write("text,label\n" + "".join(f"t,{cell}\n" for cell in cells))
    assert read_scored_table(path).labels == [4.5, 4, -1, 0.5, 2, 1000, 0.01]
    path = write("".join(json.dumps({"text": "t", "label": value}) + "\n" for value in (4, 4.5, "4.5")), "pairs.jsonl")
    assert read_scored_table(path).labels == [4, 4.5, 4.5]


def test_pairs_are_read_with_their_scores(write):
    path = write('a,b,0.5\n"c, d",e,5\n')
    table = read_scored_table(path, text="0", text_pair="1", label="2", score_range=(0, 5))
    assert (table.texts, table.pairs, table.labels) == (["a", "c, d"], ["b", "e"], [0.5, 5])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('"4,5"', "pairs.csv:3: label: '4,5' is not a number. With a decimal comma meant, write '4.5'"),
        ("good", "pairs.csv:3: label: 'good' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("１２", "'１２' is not a number"),
        ("nan", "nan is no score: a score is a finite number"),
        ("-Infinity", "-inf is no score"),
        ("1e999", "inf is no score"),
        ("", "pairs.csv:3: label: empty"),
        ("5.01", "5.01 lies outside the range 0 to 5"),
        ("-1", "-1 lies outside the range 0 to 5"),
    ],
)
def test_a_bad_score_is_named_with_its_place(write, cell, message):
    with pytest.raises(InputError, match=message):
        read_scored_table(write(f"text,label\na,1\nb,{cell}\n"), score_range=(0, 5))


@pytest.mark.parametrize(
    ("value", "message"),
    [("true", "must be a number, not a boolean"), ("[1]", "not a list"), ("null", "empty"), ("1" * 400, "inf is no")],
)
def test_a_bad_json_value_is_named_with_its_place(write, value, message):
    with pytest.raises(InputError, match=f"pairs.jsonl:1: label: .*{message}"):
        read_scored_table(write(f'{{"text": "t", "label": {value}}}', "pairs.jsonl"))


@pytest.mark.parametrize("packed", [True, False])
def test_batches_hold_the_score_of_every_text(tiny_tokenizer, packed):
    batches = regression_batches(["one", "two"], [1.5, 2.5], tiny_tokenizer, packed=packed, batch_size=2)
    _, values, weights = next(iter(batches().as_numpy_iterator()))
    assert values.dtype == "float32"
    assert sorted(values[weights == 1].tolist()) == [1.5, 2.5]
    with pytest.raises(InputError, match="1 texts and 2 scores"):
        regression_batches(["one"], [1, 2], tiny_tokenizer)
