"""Paths as users write them, and the texts of a corpus."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from tfllm.checks import InputError
from tfllm.data.sources import expand_paths, read_documents, read_texts
from tfllm.data.tables import read_table
from tfllm.data.tfds import TfdsSource


@pytest.fixture
def corpus(tmp_path):
    for name in (
        "b.txt",
        "a.csv",
        "deep/c.jsonl",
        "deep/er/d.tsv.gz",
        ".hidden.txt",
        ".git/e.txt",
        "README.md",
        "f.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\n")
    return tmp_path


def names(paths, root):
    return [str(path.relative_to(root)) for path in paths]


def test_a_directory_means_its_known_files_recursively_without_hidden_ones(corpus):
    assert names(expand_paths(corpus), corpus) == ["a.csv", "b.txt", "deep/c.jsonl", "deep/er/d.tsv.gz"]


def test_globs_files_and_directories_give_each_file_once_in_sorted_order(corpus):
    paths = [corpus / "deep", str(corpus / "*.txt"), corpus / "b.txt", str(corpus / "**" / "*.jsonl")]
    assert names(expand_paths(paths), corpus) == ["b.txt", "deep/c.jsonl", "deep/er/d.tsv.gz"]


def test_a_name_with_glob_characters_is_a_file_when_it_exists(tmp_path):
    (tmp_path / "part[1].txt").write_text("one\n")
    assert expand_paths(tmp_path / "part[1].txt") == [tmp_path / "part[1].txt"]


def test_tfds_names_stand_beside_files(corpus):
    found = expand_paths(["tfds:glue/sst2:train[:80%]", corpus / "b.txt"])
    assert found == [corpus / "b.txt", TfdsSource("glue/sst2", "train[:80%]")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("b.text", r"no such file or directory \(did you mean '.*b.txt'\?\)"),
        ("*.parquet", "no file matches this pattern"),
        ("empty", "no file here ends in .txt, .csv"),
    ],
)
def test_a_path_that_means_nothing_is_an_error(corpus, path, message):
    (corpus / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        expand_paths(corpus / path)


@pytest.mark.parametrize("read", [expand_paths, read_table])
def test_an_empty_name_as_an_unset_variable_gives_is_not_this_directory(corpus, monkeypatch, read):
    monkeypatch.chdir(corpus)
    with pytest.raises(InputError, match="is empty: is a variable of the shell not set"):
        read("")


def test_the_home_of_nobody_is_a_name_like_others(corpus, monkeypatch):
    monkeypatch.chdir(corpus)
    with pytest.raises(InputError, match=r"~nobody-is-called-so/b\.txt: no such file"):
        expand_paths("~nobody-is-called-so/b.txt")


def test_no_path_at_all_is_an_error():
    with pytest.raises(InputError, match="No file was named"):
        expand_paths([])


def test_every_kind_of_file_gives_its_texts(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n  \r\ntwo\n")
    (tmp_path / "b.csv").write_text('id,text\n1,"three\nlines"\n2,\n')
    (tmp_path / "c.tsv").write_text("content\nfour\n")
    (tmp_path / "d.jsonl").write_text('{"n": 1, "review": "five"}\n{"n": 2, "review": null}\n')
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress("六\n".encode()))
    assert list(read_texts(tmp_path)) == ["one", "two", "three\nlines", "four", "five", "六"]


def test_a_file_is_one_document_when_asked(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.txt").write_text("\n")
    (tmp_path / "c.txt").write_text("three")
    assert list(read_texts(tmp_path, document="file")) == ["one\n\ntwo", "three"]


def test_a_file_with_an_unknown_suffix_is_plain_text_when_named(tmp_path):
    (tmp_path / "train.en").write_text("one\ntwo\n")
    assert list(read_texts(tmp_path / "train.en")) == ["one", "two"]


def test_the_text_column_is_the_one_named_or_numbered(tmp_path):
    (tmp_path / "a.csv").write_text("title,body\none,two\n")
    assert list(read_texts(tmp_path / "a.csv", "body")) == ["two"]
    assert list(read_texts(tmp_path / "a.csv", "0")) == ["title", "one"]


@pytest.mark.parametrize(
    ("header", "column", "message"),
    [
        ("title,body", None, r"which column holds the text\? Name it \(--text\). Columns: 'title', 'body'"),
        ("review,comment", None, "which column holds the text"),
        ("title,body", "bdy", r"no column 'bdy' \(did you mean 'body'\?\). Columns: 'title', 'body'"),
        ("title,body", 7, r"no column '7'. Columns: '0', '1'"),
    ],
)
def test_an_unclear_text_column_lists_the_columns(tmp_path, header, column, message):
    (tmp_path / "a.csv").write_text(f"{header}\none,two\n")
    with pytest.raises(InputError, match=message):
        list(read_texts(tmp_path, column))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\ncaf\xe9\n", r"iconv -f LATIN1 .*a.txt:2:4: byte 0xe9 is not valid UTF-8\n"),
        (b"good\nna\0me\n", r"a.txt:2:3: NUL byte.*on_bad_rows='skip' \(--on-bad-rows skip\)"),
    ],
)
def test_a_malformed_document_is_an_error_with_line_and_character(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    for document in ("line", "file"):
        with pytest.raises(InputError, match=f"(?s){message}"):
            list(read_texts(tmp_path, document=document))


def test_malformed_documents_can_be_left_out_and_are_counted(tmp_path, caplog):
    (tmp_path / "a.txt").write_bytes(b"good\ncaf\xe9\nbetter\nna\0me\n")
    (tmp_path / "b.jsonl").write_text('{"text": "best"}\n{"text": 1}\n{"txt": "x"}\n{"text": "\\ud83d"}\n')
    assert list(read_texts(tmp_path, on_bad_rows="skip")) == ["good", "better", "best"]
    assert "5 of 8 documents were malformed and left out" in caplog.text
    bad = [document for document in read_documents(tmp_path) if not isinstance(document, str)]
    assert [str(row).removeprefix(f"{tmp_path}/") for row in bad] == [
        "a.txt:2:4: byte 0xe9 is not valid UTF-8",
        "a.txt:4:3: NUL byte",
        "b.jsonl:2: text: must be a string, not a number",
        "b.jsonl:3: text: the column is missing (did you mean 'txt'?)",
        "b.jsonl:4: text: \\ud83d is half of a surrogate pair, at character 1",
    ]


def test_a_corpus_without_documents_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(InputError, match="There is no document"):
        list(read_texts(tmp_path))


def test_wrong_arguments_are_told_at_the_call_before_anything_is_read(tmp_path):
    for options in ({"document": "page"}, {"on_bad_rows": "collect"}, {"encoding": "utf-9"}):
        with pytest.raises(InputError):
            read_texts(tmp_path, **options)
    with pytest.raises(InputError, match="no such file"):
        read_texts(tmp_path / "missing.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl.gz"])
def test_memory_does_not_grow_with_the_corpus(tmp_path, name):
    line = "an ordinary sentence of running text, " * 5
    row = json.dumps({"text": line}) if name.startswith("a.jsonl") else f'"{line}"'
    with (gzip.open if name.endswith(".gz") else open)(tmp_path / name, "wt") as stream:
        stream.write("text\n" if name == "a.csv" else "")
        for _ in range(300):
            stream.write(f"{row}\n" * 500)
    texts = read_texts(tmp_path)
    next(texts)
    tracemalloc.start()
    try:
        characters = sum(map(len, texts))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert characters > 28_000_000
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("path", "options", "documents"),
    [
        ("raw_zh_fewclue/chid", {}, 7585),
        ("raw_zh_fewclue/eprstmt", {}, 19565),
        ("raw_wiki_c4", {}, 330),
        ("gutenberg", {"document": "file", "encoding": "latin-1"}, 11),
        ("multi30k/train.en.gz", {}, 29000),
        ("trec/train.txt", {"encoding": "latin-1"}, 5452),
    ],
)
def test_real_corpora_have_the_documents_their_readme_counts(shared_data: Path, path, options, documents):
    assert sum(1 for _ in read_texts(shared_data / path, **options)) == documents


def test_a_real_latin_1_file_is_told_with_line_and_character(shared_data):
    with pytest.raises(InputError, match=r"train.txt:66:60: byte 0xf0"):
        list(read_texts(shared_data / "trec" / "train.txt"))
