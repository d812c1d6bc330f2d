"""SQuAD JSON, versions 1.1 and 2.0 (also CMRC 2018, XQuAD, MLQA, ... in this layout) -> rows, one for every question.

In: a file `{"data": [{"paragraphs": [{"context": ..., "qas": [{"id", "question", "answers", "is_impossible"}]}]}]}`.
Out: `Row`s with the cells of a question and `context`, and a `BadRow` where the layout is broken. A place names the
article, the paragraph and the question: `dev.json: article 3 (Normans), paragraph 2, question 56ddde6b`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tfllm.checks import InputError
from tfllm.data.rows import BadRow, Row, file_kind, json_type, open_text, read_lines


def is_squad(path: Path, encoding: str = "utf-8") -> bool:
    """True for a .json file (or .json.gz) that is one JSON document, False for one with an object a line."""
    if file_kind(path) != "json" or path.name.removesuffix(".gz").endswith(".jsonl"):
        return False
    first = next((line for _, line in read_lines(path, encoding)), "")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return True
    return not isinstance(value, dict) or "data" in value


def squad_rows(path: Path, encoding: str = "utf-8") -> Iterator[Row | BadRow]:
    """The questions of a file, each with its `context`.

    Raises:
        InputError: the file cannot be read, is not JSON, or is not in this layout.
    """
    articles = _document(path, encoding)["data"]
    for number, article in enumerate(articles, 1):
        place = f"{path}: article {number}"
        if isinstance(article, dict) and isinstance(article.get("title"), str):
            place += f" ({article['title']})"
        for paragraph_place, paragraph in _members(place, article, "paragraphs", "paragraph"):
            if isinstance(paragraph, BadRow):
                yield paragraph
                continue
            for question_place, question in _members(paragraph_place, paragraph, "qas", "question"):
                if isinstance(question, dict):
                    yield Row(question_place, {**question, "context": paragraph.get("context")})
                else:
                    yield question


def _document(path: Path, encoding: str) -> dict:
    with open_text(path, encoding) as stream:
        content = stream.read()
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}.") from None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists nested 10,000 deep
        raise InputError(f"{path}: not readable as JSON: {error}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise InputError(
            f'{path} is not in the layout of SQuAD, {{"data": [{{"paragraphs": [...]}}]}}. Questions may also stand in '
            "a CSV or JSON lines file with the columns question, context and answer."
        )
    return document


def _members(place: str, parent: object, name: str, singular: str) -> Iterator[tuple[str, dict | BadRow]]:
    """The objects of the list `parent[name]`, each with its place; what is no object comes as a bad row."""
    members = parent.get(name) if isinstance(parent, dict) else parent
    if not isinstance(members, list) or not isinstance(parent, dict):
        expected = "a list" if isinstance(parent, dict) else "an object"
        yield place, BadRow(place, name, f"must be {expected}, not a {json_type(members)}")
        return
    for number, member in enumerate(members, 1):
        known = isinstance(member, dict) and member.get("id")
        here = f"{place}, {singular} {known if known and singular == 'question' else number}"
        if isinstance(member, dict):
            yield here, member
        else:
            yield here, BadRow(here, "", f"must be an object, not a {json_type(member)}")
