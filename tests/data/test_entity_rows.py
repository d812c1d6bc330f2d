"""JSON lines with spans of characters: what is read, and what is refused with which words."""

import json

import pytest

from tfllm.data.entity_rows import read_entity_rows
from tfllm.data.rows import BadRow

UTF16 = "; are the offsets counted in UTF-16 units, as JavaScript and Java do? Count code points"


@pytest.fixture
def read(tmp_path):
    def read(*rows, text="text", entities="entities"):
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8")
        return list(read_entity_rows(path, text, entities))

    return read


def test_entities_are_objects_or_lists_and_are_sorted(read):
    row = {"text": "Ada is in Turin.", "entities": [[10, 15, "LOC"], {"end": 3, "label": "PER", "start": 0, "id": 7}]}
    (found,) = read(row)
    assert (found.text, found.spans) == ("Ada is in Turin.", [(0, 3, "PER"), (10, 15, "LOC")])
    assert found.place.endswith("a.jsonl:1")
    assert read({"body": "x y", "labels": [[0, 1, "A"]]}, text="body", entities="labels")[0].spans == [(0, 1, "A")]
    assert read({"text": "x", "entities": []})[0].spans == []


def test_white_space_at_the_borders_is_left_out(read):
    assert read({"text": "in Turin now", "entities": [[2, 9, " LOC "]]})[0].spans == [(3, 8, "LOC")]


def test_entities_may_touch(read):
    assert len(read({"text": "北京大学", "entities": [[0, 2, "LOC"], [2, 4, "ORG"]]})[0].spans) == 2


@pytest.mark.parametrize(
    ("text", "entities", "reason"),
    [
        ("Turin", [[0, 9, "LOC"]], "entity 1: 0 to 9 is outside the text, which has 5 characters"),
        ("Turin", [[-1, 3, "LOC"]], "entity 1: -1 to 3 is outside the text, which has 5 characters"),
        ("Turin", [[3, 1, "LOC"]], "entity 1: 3 to 1 is outside the text, which has 5 characters"),
        ("a é", [[2, 4, "X"]], "entity 1: 2 to 4 is outside the text, which has 3 characters; are the offsets counted "
         "in bytes? Count characters"),
        ("😀 Turin", [[3, 8, "LOC"]], "entity 1: 3 to 8 is outside the text, which has 7 characters" + UTF16),
        ("Turin", [[0, 5, "LOC"], [2, 2, "X"]], "entity 2: 2 to 2 is empty"),
        ("a  b", [[1, 3, "X"]], "entity 1: 1 to 3 is empty: white space only"),
        ("Cafe\u0301!", [[0, 4, "X"]], "entity 1: 0 to 4 cuts the character at 4 in 'fe\u0301!' apart"),
        ("a👩\u200d👧", [[0, 2, "X"]], "entity 1: 0 to 2 cuts the character at 2 in 'a👩\u200d👧' apart" + UTF16),
        ("👍🏽 ok", [[0, 1, "X"]], "entity 1: 0 to 1 cuts the character at 1 in '👍🏽 ' apart" + UTF16),
        ("🇩🇪🇫🇷", [[1, 4, "X"]], "entity 1: 1 to 4 cuts the character at 1 in '🇩🇪🇫' apart" + UTF16),
        ("Turin", [[0.0, 5, "X"]], "entity 1: start must be a whole number, not 0.0"),
        ("Turin", [[0, True, "X"]], "entity 1: end must be a whole number, not True"),
        ("Turin", [[0, 5, ""]], "entity 1: label must be a name, not ''"),
        ("Turin", [{"start": 0, "end": 5}], "entity 1: no 'label'"),
        ("Turin", [[0, 5]], 'entity 1: must be {"start": 0, "end": 5, "label": "..."} or [0, 5, "..."]'),
        ("Bank of Turin", [[0, 13, "ORG"], [8, 13, "LOC"]],
         "'Turin' (8 to 13, LOC) lies inside 'Bank of Turin' (0 to 13, ORG); a word can have one label only: keep one"),
        ("a b c", [[0, 3, "X"], [2, 5, "Y"]],
         "'b c' (2 to 5, Y) overlaps 'a b' (0 to 3, X); a word can have one label only: keep one"),
        ("Turin", "LOC", "must be a list of entities, not a string; a text without any has []"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(read, text, entities, reason):
    bad, good = read({"text": text, "entities": entities}, {"text": "fine", "entities": []})
    assert isinstance(bad, BadRow) and bad.place.endswith("a.jsonl:1")
    assert (bad.column, bad.reason.replace("\\u0301", "\u0301").replace("\\u200d", "\u200d")) == ("entities", reason)
    assert good.text == "fine"


def test_flags_side_by_side_may_be_parted_between_them(read):
    assert read({"text": "🇩🇪🇫🇷", "entities": [[2, 4, "X"]]})[0].spans == [(2, 4, "X")]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        ({"entities": []}, "text", "the column is missing"),
        ({"text": "", "entities": []}, "text", "empty"),
        ({"text": "x"}, "entities", "the key is missing; a text without any has []"),
        ('{"text": "\\ud83d", "entities": []}', "text", "is half of a surrogate pair"),
        ("{", "", "not JSON"),
    ],
)
def test_bad_rows_have_their_column(read, row, column, reason):
    (bad,) = read('{"text": "x", "entities": []}', row)[1:]
    assert bad.column == column and reason in bad.reason
