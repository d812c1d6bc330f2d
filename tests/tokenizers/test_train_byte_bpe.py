"""Training byte-level BPE: deterministic, streamed, never over the size asked for, and no text is lost."""

import logging
import subprocess
import sys
from importlib import import_module

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import train_byte_bpe
from tfllm.tokenizers.sample import draw_sample

TRAIN = (
    "import sys; from tfllm.tokenizers import train_byte_bpe\n"
    "tokenizer = train_byte_bpe(sys.stdin.read().split('\\n'), vocabulary_size=400)\n"
    "print(tokenizer.vocabulary, tokenizer._merges.tolist())"
)


def test_every_process_trains_the_same_vocabulary(texts):
    corpus = "\n".join(texts * 3)
    other = subprocess.run([sys.executable, "-c", TRAIN], input=corpus, capture_output=True, text=True, check=True)
    tokenizer = train_byte_bpe(corpus.split("\n"), vocabulary_size=400)
    assert other.stdout.strip() == f"{tokenizer.vocabulary} {tokenizer._merges.tolist()}"


def test_special_tokens_come_first_then_bytes_and_frequent_words_are_whole():
    tokenizer = train_byte_bpe(["the kettle sang", "the kettle fell"] * 50, vocabulary_size=300)
    assert tokenizer.vocabulary[:5] == ["<pad>", "<s>", "</s>", "<mask>", "!"]
    assert {"the", "Ġkettle"} <= set(tokenizer.vocabulary)


def test_text_that_looks_like_a_special_token_is_learned_as_text():
    tokenizer = train_byte_bpe(["<s>struck</s> <mask> <pad>"] * 50, vocabulary_size=400)
    ids = tokenizer.tokenize("<s>struck</s> <mask> <pad>")
    assert not set(ids.to_list()[0]) & set(tokenizer.special_ids)
    assert tokenizer.detokenize(ids).numpy().tolist() == [b"<s>struck</s> <mask> <pad>"]


def test_a_small_corpus_gives_fewer_tokens_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_byte_bpe(["ab ab"], vocabulary_size=500)
    assert tokenizer.vocabulary[260:] == ["ab"]
    assert "too small for 500 tokens; it gave 261" in caplog.text


def test_texts_are_read_once_and_may_hold_anything(texts):
    tokenizer = train_byte_bpe(iter([*texts, "", "\0", "\ud800", "<s> <s>", "a\r\nb"]), vocabulary_size=500)
    assert tokenizer.vocabulary.count("<s>") == 1


@pytest.mark.parametrize("texts", [[], ["", " \n"]])
def test_an_empty_corpus_is_an_input_error(texts):
    with pytest.raises(InputError, match="no text to train on"):
        train_byte_bpe(texts)


def test_a_vocabulary_without_room_is_an_input_error():
    with pytest.raises(InputError, match="`vocabulary_size` must be at least 260"):
        train_byte_bpe(["a"], vocabulary_size=259)


def test_with_no_merge_every_token_is_a_byte():
    tokenizer = train_byte_bpe(["aaaa é"], vocabulary_size=260)
    assert tokenizer.tokenize(["aé a"]).to_list() == [[tokenizer.vocabulary.index(c) for c in "aÃ©Ġa"]]
    assert tokenizer.detokenize(tokenizer.tokenize(["aé a"])).numpy()[0].decode() == "aé a"


def test_of_a_corpus_the_trainer_cannot_hold_a_sample_is_learned(texts, monkeypatch, caplog):
    corpus = [f"{text} {number}" for number in range(20) for text in texts]
    monkeypatch.setattr(import_module("tfllm.tokenizers.train_byte_bpe"), "SAMPLE_BYTES", 2000)
    with caplog.at_level(logging.INFO):
        tokenizer = train_byte_bpe(corpus, vocabulary_size=400, seed=3)
    assert "drawn at random" in caplog.text
    sample = draw_sample(corpus, most_bytes=2000, seed=3)
    assert len(sample) < len(corpus) / 2
    assert tokenizer.vocabulary == train_byte_bpe(sample, vocabulary_size=400).vocabulary
