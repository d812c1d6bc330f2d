"""Training SentencePiece: deterministic, complete, with byte fallback, long lines included."""

import logging
from importlib import import_module

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import train_sentencepiece
from tfllm.tokenizers.base import SPECIAL_TOKENS


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_training_is_deterministic_and_complete(texts, model_type, tmp_path):
    first, second = (train_sentencepiece(iter(texts * 3), vocabulary_size=430, model_type=model_type) for _ in range(2))
    first.save(tmp_path / "first")
    second.save(tmp_path / "second")
    name = "sentencepiece.model"
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert first.vocabulary[:5] == list(SPECIAL_TOKENS)
    assert [f"<0x{byte:02X}>" for byte in range(256)] == first.vocabulary[5:261]
    assert first.vocabulary_size == 430


def test_chinese_words_become_pieces():
    texts = [f"我在北京大学{verb}{thing}。" for verb in "学看听说读写" for thing in "书报文字话"]
    tokenizer = train_sentencepiece(texts, vocabulary_size=310)
    assert any("北京大学" in piece for piece in tokenizer.vocabulary)
    assert tokenizer.detokenize(tokenizer.tokenize("我在北京大学看书。")).numpy()[0].decode() == "我在北京大学看书。"


def test_lowercase_folds_case(texts):
    tokenizer = train_sentencepiece(texts * 3, vocabulary_size=430, lowercase=True)
    assert tokenizer.tokenize("The CAT").to_list() == tokenizer.tokenize("the cat").to_list()
    assert tokenizer.detokenize(tokenizer.tokenize("The CAT")).numpy().tolist() == [b"the cat"]


def test_lines_longer_than_the_trainer_takes_are_read():
    tokenizer = train_sentencepiece(["kettle fish " * 2000, "中文" * 4000], vocabulary_size=275)
    assert "▁fish" in tokenizer.vocabulary
    assert "中" in "".join(tokenizer.vocabulary)


def test_a_small_corpus_gives_fewer_tokens_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_sentencepiece(["ab ab"], vocabulary_size=8000)
    assert tokenizer.vocabulary_size < 300
    assert f"too small for 8000 tokens; it gave {tokenizer.vocabulary_size}" in caplog.text


def test_too_many_characters_for_the_vocabulary_is_an_input_error_with_the_size_needed():
    texts = ["".join(chr(0x4E00 + i) for i in range(500))]
    with pytest.raises(InputError, match=r"must be at least 7\d\d, the number of different characters"):
        train_sentencepiece(texts, vocabulary_size=300)


@pytest.mark.parametrize("texts", [[], ["", " \n"], ["\u200b"]])
def test_an_empty_corpus_is_an_input_error(texts):
    with pytest.raises(InputError, match="no text to train on"):
        train_sentencepiece(texts)


def test_impossible_arguments_are_input_errors():
    with pytest.raises(InputError, match="did you mean 'unigram'"):
        train_sentencepiece(["a"], model_type="unigramm")
    with pytest.raises(InputError, match="`vocabulary_size` must be at least 262"):
        train_sentencepiece(["a"], vocabulary_size=200)


@pytest.mark.parametrize(("name", "most"), [("SAMPLE_BYTES", 4000), ("SAMPLE_LINES", 40)])
def test_of_a_corpus_the_trainer_cannot_hold_a_sample_is_learned(texts, monkeypatch, caplog, name, most):
    corpus = [f"{text} {number}".replace("\n", " ") for number in range(20) for text in texts]
    monkeypatch.setattr(import_module("tfllm.tokenizers.train_sentencepiece"), name, most)
    with caplog.at_level(logging.INFO):
        sampled, again = (train_sentencepiece(corpus, vocabulary_size=400, seed=3) for _ in range(2))
    assert "drawn at random" in caplog.text
    assert sampled.vocabulary == again.vocabulary
    monkeypatch.undo()
    assert sampled.vocabulary != train_sentencepiece(corpus, vocabulary_size=400).vocabulary
