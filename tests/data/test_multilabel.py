"""Cells with several labels, every way they can be bad, and the batches made of them."""

import json

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import Table
from tfllm.data.multilabel import encode_label_sets, label_names, multilabel_batches, read_multilabel_table


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(content, name="mails.csv"):
        (tmp_path / name).write_text(content, "utf-8")
        return name

    return write


def test_a_cell_joins_names_and_an_empty_one_has_none(write):
    path = write('text,label\na,urgent|billing\nb, urgent \nc,\nd,"  "\ne,bug | 中性\n')
    assert read_multilabel_table(path) == Table(
        ["a", "b", "c", "d", "e"],
        None,
        [("urgent", "billing"), ("urgent",), (), (), ("bug", "中性")],
        [f"mails.csv:{line}" for line in range(2, 7)],
    )


@pytest.mark.parametrize("separator", [",", ";", " / "])
def test_the_separator_is_the_users_choice(write, separator):
    path = write(f'text,label\na,"x{separator}y"\n')
    assert read_multilabel_table(path, separator=separator).labels == [("x", "y")]


def test_json_lines_hold_lists_strings_numbers_or_nothing(write):
    labels = [["x", "y"], [], None, "x|z", 5, ["a|b", 7]]
    path = write("".join(json.dumps({"text": "t", "label": label}) + "\n" for label in labels), "mails.jsonl")
    assert read_multilabel_table(path).labels == [("x", "y"), (), (), ("x", "z"), ("5",), ("a|b", "7")]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("urgent|urgent", "mails.csv:3: label: names 'urgent' twice"),
        ("bug|bug|bug", "names 'bug' 3 times"),
        ("urgent||bug", "mails.csv:3: label: a name is empty: two separators in a row, or one at an end"),
        ("urgent|", "a name is empty"),
        ("urgent|bugg", "'bugg' is not one of the labels \\(did you mean 'bug'\\?\\)"),
    ],
)
def test_a_bad_cell_is_named_with_its_place(write, cell, message):
    with pytest.raises(InputError, match=message):
        read_multilabel_table(write(f"text,label\na,bug\nb,{cell}\n"), labels=["urgent", "bug"])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["a", "a"], "names 'a' twice"),
        (["a", ""], "a name is empty"),
        (["a", ["b"]], "in the list: must be a string or a number, not a list"),
        ({"a": 1}, "must be a string or a number, not a object"),
        (True, "not a boolean"),
        (["a\0"], "in the list: NUL byte"),
    ],
)
def test_a_bad_list_is_named_with_its_place(write, label, message):
    with pytest.raises(InputError, match=f"mails.jsonl:1: label: .*{message}"):
        read_multilabel_table(write(json.dumps({"text": "t", "label": label}), "mails.jsonl"))


def test_names_that_look_joined_by_another_separator_are_pointed_out(write, caplog):
    assert read_multilabel_table(write('text,label\na,"x,y"\nb,"x, z"\nc,x\n')).labels[0] == ("x,y",)
    assert "No cell has two labels joined by '|', but 2 hold ','" in caplog.text
    assert "--label-separator ','" in caplog.text
    caplog.clear()
    read_multilabel_table(write('text,label\na,"x|y,z"\n'))
    assert not caplog.text


def test_a_blank_separator_is_refused(write):
    with pytest.raises(InputError, match="`separator` must be a visible character"):
        read_multilabel_table(write("text,label\na,b\n"), separator=" ")


def test_label_sets_become_zeros_and_ones():
    labels = [("b", "a"), (), ("c",)]
    assert label_names(labels) == ["a", "b", "c"]
    targets = encode_label_sets(labels, ["a", "b", "c"])
    assert targets.dtype == np.float32
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    with pytest.raises(InputError, match=r"label 'cc' is not one of the labels \(did you mean 'c'\?\)"):
        encode_label_sets([("cc",)], ["a", "c"])
    with pytest.raises(InputError, match="No text of the data has a label"):
        label_names([(), ()])


@pytest.mark.parametrize("pairs", [None, ["second", "third"]])
@pytest.mark.parametrize("packed", [True, False])
def test_batches_hold_the_labels_of_every_text(tiny_tokenizer, packed, pairs):
    batches = multilabel_batches(
        ["first", "a longer text"],
        [("x",), ("x", "y")],
        tiny_tokenizer,
        label_names=["x", "y", "z"],
        pairs=pairs,
        packed=packed,
        batch_size=2,
    )
    inputs, values, weights = next(iter(batches().as_numpy_iterator()))
    assert inputs["segment_ids"].any() == (pairs is not None)
    assert values.shape[-1] == 3
    assert sorted(values[weights == 1].tolist()) == [[1, 0, 0], [1, 1, 0]]
    assert not values[weights == 0].any()


def test_every_text_needs_a_set_of_labels(tiny_tokenizer):
    with pytest.raises(InputError, match="2 texts and 1 sets"):
        multilabel_batches(["a", "b"], [("x",)], tiny_tokenizer, label_names=["x"])
