"""Tokenizer directories: written whole, read back identical, damage noticed."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.manifest import read_manifest, write_manifest
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer


def test_a_loaded_tokenizer_is_identical(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    loaded = load_tokenizer(tmp_path / "tokenizer")
    assert type(loaded) is type(tokenizer)
    assert loaded.vocabulary == tokenizer.vocabulary
    assert loaded.tokenize(texts).to_list() == tokenizer.tokenize(texts).to_list()


def test_lowercase_is_remembered(wordpiece, tmp_path):
    WordPieceTokenizer(wordpiece.vocabulary, lowercase=False).save(tmp_path / "cased")
    assert load_tokenizer(tmp_path / "cased").lowercase is False


def test_a_model_directory_with_a_tokenizer_loads(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "model" / "tokenizer")
    assert load_tokenizer(tmp_path / "model").vocabulary == tokenizer.vocabulary


def test_a_flipped_byte_is_an_input_error(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    file = next(file for file in (tmp_path / "tokenizer").iterdir() if file.name != "manifest.json")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"{file.name} is damaged"):
        load_tokenizer(tmp_path / "tokenizer")


def test_an_unknown_kind_and_a_missing_directory_are_input_errors(wordpiece, tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        load_tokenizer(tmp_path / "nowhere")
    wordpiece.save(tmp_path / "tokenizer")
    manifest = read_manifest(tmp_path / "tokenizer", "tokenizer")
    manifest["arguments"]["kind"] = "wordpeice"
    write_manifest(tmp_path / "tokenizer", manifest)
    with pytest.raises(InputError, match="did you mean 'wordpiece'"):
        load_tokenizer(tmp_path / "tokenizer")


def test_a_taken_directory_is_not_overwritten(wordpiece, tmp_path):
    wordpiece.save(tmp_path / "tokenizer")
    with pytest.raises(InputError, match="already exists"):
        wordpiece.save(tmp_path / "tokenizer")


def test_the_files_it_was_trained_on_are_recorded(wordpiece, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("hello\n", "utf-8")
    wordpiece.save(tmp_path / "tokenizer", inputs=[corpus])
    assert list(json.loads((tmp_path / "tokenizer" / "manifest.json").read_text())["inputs"]) == [str(corpus)]
