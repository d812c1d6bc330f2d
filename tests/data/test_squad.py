"""SQuAD JSON: questions with their places; broken layouts are named, not raised as tracebacks."""

import gzip
import json

import pytest

from tfllm.checks import InputError
from tfllm.data.rows import BadRow
from tfllm.data.squad import is_squad, squad_rows

QUESTION = {"id": "q1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}


def document(*questions, title="Ada Lovelace", context="Ada wrote."):
    return {"version": "1.1", "data": [{"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}]}


@pytest.fixture
def write(tmp_path):
    def write(value, name="qa.json", **arguments):
        file, content = tmp_path / name, value if isinstance(value, str) else json.dumps(value, **arguments)
        file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return file

    return write


@pytest.mark.parametrize(("name", "indent"), [("qa.json", None), ("qa.json", 2), ("qa.json.gz", None)])
def test_a_question_comes_with_its_context_and_its_place(write, name, indent):
    file = write(document(QUESTION, {**QUESTION, "id": "q2"}), name, indent=indent)
    assert is_squad(file)
    rows = list(squad_rows(file))
    assert [row.place for row in rows] == [
        f"{file}: article 1 (Ada Lovelace), paragraph 1, question {name}" for name in ("q1", "q2")
    ]
    assert rows[0].cells == {**QUESTION, "context": "Ada wrote."}


def test_articles_without_a_title_and_questions_without_an_id_are_counted(write):
    broken = document({"question": "Who?"})
    del broken["data"][0]["title"]
    file = write(broken)
    assert [row.place for row in squad_rows(file)] == [f"{file}: article 1, paragraph 1, question 1"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.json", '{"question": "Who?"}\n{"question": "What?"}\n', False),
        ("rows.jsonl", '{"data": []}', False),
        ("rows.csv", "question,context,answer\n", False),
        ("whole.json", '\n{"data": []}', True),
        ("list.json", '[{"question": "Who?"}]', True),
        ("broken.json", '{"data": [', True),
    ],
)
def test_json_lines_are_told_from_a_document(write, name, content, expected):
    assert is_squad(write(content, name)) is expected


@pytest.mark.parametrize(
    ("data", "place", "column", "reason"),
    [
        (["text"], "article 1", "paragraphs", "must be an object, not a string"),
        ([{"title": "A"}], "article 1 (A)", "paragraphs", "must be a list, not a null"),
        ([{"paragraphs": [7]}], "article 1, paragraph 1", "", "must be an object, not a number"),
        ([{"paragraphs": [{"context": "x"}]}], "article 1, paragraph 1", "qas", "must be a list, not a null"),
        ([{"paragraphs": [{"qas": ["Who?"]}]}], "article 1, paragraph 1, question 1", "", "must be an object"),
    ],
)
def test_a_broken_layout_is_a_bad_row_with_its_place(write, data, place, column, reason):
    file = write({"data": data})
    (bad,) = squad_rows(file)
    assert isinstance(bad, BadRow)
    assert bad.place == f"{file}: {place}"
    assert bad.column == column
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [\n{"paragraphs"', r"qa.json:2:14: not JSON"),
        ("[]", "is not in the layout of SQuAD"),
        ('{"data": 3}', "is not in the layout of SQuAD"),
        ("[" * 100_000, "not readable as JSON"),
        ("", r"qa.json:1:1: not JSON"),
    ],
)
def test_a_file_that_is_no_such_document_is_an_input_error(write, content, message):
    with pytest.raises(InputError, match=message):
        list(squad_rows(write(content)))
