"""Tagged texts of every kind of file, alone and together; what is read leniently is said, what is bad is named."""

import json
import logging

import pytest

from tfllm.checks import InputError
from tfllm.data import read_tagged_texts


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_text(content, "utf-8")
        return path

    return write


def entities(rows):
    return [
        [(text[span.start : span.end], span.label) for span in spans]
        for text, spans in zip(rows.texts, rows.spans, strict=True)
    ]


def test_entities_of_columns(write):
    rows = read_tagged_texts(write("a.conll", "Ada B-PER\nByron I-PER\nin O\nTurin B-LOC\n\nBye O\n"))
    assert (rows.kind, rows.texts, rows.labels) == ("entities", ["Ada Byron in Turin", "Bye"], ["LOC", "PER"])
    assert entities(rows) == [[("Ada Byron", "PER"), ("Turin", "LOC")], []]
    assert rows.words[0] == [(0, 3), (4, 9), (10, 12), (13, 18)]
    assert len(rows) == 2 and rows.select([1]).texts == ["Bye"] and rows.select([1]).kind == "entities"


def test_tags_of_words(write):
    rows = read_tagged_texts(write("a.pos", "Ada NNP\nsleeps VBZ\n"))
    assert (rows.kind, entities(rows)) == ("words", [[("Ada", "NNP"), ("sleeps", "VBZ")]])
    assert rows.words == [[(0, 3), (4, 10)]]


def test_json_lines_know_no_words_and_may_stand_beside_columns(write):
    spans = write("a.jsonl", json.dumps({"text": "in Turin", "entities": [[3, 8, "LOC"]]}))
    columns = write("b.bmes", "高 B-NAME\n勇 E-NAME\n")
    rows = read_tagged_texts([spans, columns])
    assert (rows.kind, rows.words, entities(rows)) == ("entities", None, [[("Turin", "LOC")], [("高勇", "NAME")]])
    named = write("c.jsonl", json.dumps({"t": "in Turin", "s": [[3, 8, "LOC"]]}))
    assert entities(read_tagged_texts(named, text="t", label="s")) == [[("Turin", "LOC")]]


@pytest.mark.parametrize(
    ("content", "warned"),
    [
        ("a I-X\nb I-X\n\nc O\nd I-Y\n", False),  # IOB1
        ("a I-X\nb B-X\n\nc O\nd I-Y\n", False),  # IOB1, two that touch
        ("a B-X\nb I-X\n\nc O\nd I-Y\n", True),  # IOB2 but for one
        ("a B-X\nb M-X\nc E-X\n\nd M-Y\ne E-Y\n", True),
    ],
)
def test_what_is_read_leniently_is_said_unless_the_scheme_asks_for_it(write, caplog, content, warned):
    caplog.set_level(logging.WARNING, "tfllm")
    path = write("a.conll", content)
    assert read_tagged_texts(path).labels == ["X", "Y"] or "Y" not in content
    assert bool(caplog.messages) == warned
    if warned:
        line = content[: content.index("-Y")].count("\n") + 1
        assert caplog.messages[0].startswith("1 tags do not fit the one before")
        assert f"as seqeval does: {path}:{line}: " in caplog.text


def test_bad_texts_are_named_left_out_or_collected(write, caplog):
    path = write("a.conll", "a O\nb b-X\n\nc O\nd\n\ne B-X\n")
    reasons = [
        f"{path}:5: a word without a tag: 'd'",
        f"{path}:2: 'b-X' is no tag of an entity: such are O, B-TYPE, I-TYPE",
    ]
    with pytest.raises(InputError) as raised:
        read_tagged_texts(path)
    assert str(raised.value).split("\n") == [
        *reasons,
        "2 of 3 texts are bad. Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip).",
    ]
    rows = read_tagged_texts(path, on_bad_rows="skip")
    assert rows.texts == ["e"] and list(map(str, rows.bad_rows)) == reasons
    assert "2 of 3 texts were bad and left out" in caplog.text
    caplog.clear()
    assert read_tagged_texts(path, on_bad_rows="collect").bad_rows == rows.bad_rows
    assert not caplog.messages
    with pytest.raises(InputError, match="All 1 texts are bad"):
        read_tagged_texts(write("b.conll", "a O\nb b-X\nc O\n"), on_bad_rows="skip")


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("a.conll", "a O\nb O\n", {}, "None of the 1 texts has an entity"),
        ("a.jsonl", "", {}, "No text was found"),
        ("a.csv", "word,tag\n", {}, "not read from CSV"),
        ("a.conll", "a O\n", {"label": "tag"}, "--label 0 is the first. Received: 'tag'"),
        ("a.conllu", "", {"label": "pos"}, "`label` must be one of upos, xpos"),
        ("a.conll", "a O\n", {"on_bad_rows": "drop"}, "on_bad_rows"),
        ("a.conll", "a O\n", {"encoding": "utf-9"}, "encoding"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_an_input_error(write, name, content, arguments, message):
    with pytest.raises(InputError, match=message):
        read_tagged_texts(write(name, content), **arguments)


def test_files_only(tmp_path):
    with pytest.raises(InputError, match="tags are read from files only"):
        read_tagged_texts("tfds:x")
    with pytest.raises(InputError, match="no such file"):
        read_tagged_texts(tmp_path / "none.conll")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("wnut17/wnut17train.conll", ("entities", 3394, 1975, 62730, 6)),
        ("wnut17/emerging.test.annotated", ("entities", 1287, 1079, 23394, 6)),
        ("resume_ner/train.char.bmes.gz", ("entities", 3821, 13440, 124099, 8)),
        ("resume_ner/dev.char.bmes", ("entities", 463, 1497, 13890, 8)),
        ("ud_english_ewt/en_ewt-ud-dev.conllu.gz", ("words", 2001, 25147, 25147, 17)),
        ("uner_ewt/en_ewt-ud-test.iob2.gz", ("entities", 2077, 1088, 25097, 3)),
    ],
)
def test_real_files_are_read_as_they_are(shared_data, files, expected):
    rows = read_tagged_texts(shared_data / files)
    spans, words = (sum(map(len, part)) for part in (rows.spans, rows.words))
    assert (rows.kind, len(rows), spans, words, len(rows.labels)) == expected
    for text, found in zip(rows.texts, rows.words, strict=True):
        assert "".join("".join(text[slice(*word)] for word in found).split()) == "".join(text.split())
