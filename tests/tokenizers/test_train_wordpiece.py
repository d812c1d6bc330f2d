"""Training WordPiece: deterministic, streamed, complete, never over the size asked for."""

import logging
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import train_wordpiece
from tfllm.tokenizers.base import SPECIAL_TOKENS

TRAIN = (
    "import sys; from tfllm.tokenizers import train_wordpiece\n"
    "print(train_wordpiece(sys.stdin.read().split('\\n'), vocabulary_size=400).vocabulary)"
)


@pytest.mark.slow
def test_every_process_trains_the_same_vocabulary(texts):
    corpus = "\n".join(texts * 3)
    other = subprocess.run([sys.executable, "-c", TRAIN], input=corpus, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(train_wordpiece(corpus.split("\n"), vocabulary_size=400).vocabulary)


def test_special_tokens_come_first_and_frequent_words_are_whole():
    tokenizer = train_wordpiece(["the kettle sang", "the kettle fell"] * 50, vocabulary_size=100)
    assert tokenizer.vocabulary[:5] == list(SPECIAL_TOKENS)
    assert {"the", "kettle"} <= set(tokenizer.vocabulary)


def test_chinese_is_split_into_characters(wordpiece):
    ids = wordpiece.tokenize("我在北京").to_list()[0]
    assert [wordpiece.vocabulary[i] for i in ids] == ["我", "在", "北", "京"]
    assert not [token for token in wordpiece.vocabulary if len(token) > 1 and "一" <= token[-1] <= "鿿"]


def test_text_it_was_trained_on_has_no_unknown_words(texts):
    tokenizer = train_wordpiece(texts * 3, vocabulary_size=1000)
    assert tokenizer.unk_id not in tokenizer.tokenize(texts).flat_values.numpy()


def test_accents_and_case_are_kept_when_asked(texts):
    tokenizer = train_wordpiece(texts * 3, vocabulary_size=1000, lowercase=False)
    assert "K" in tokenizer.vocabulary and any("é" in token for token in tokenizer.vocabulary)
    assert tokenizer.unk_id not in tokenizer.tokenize(texts).flat_values.numpy()


def test_too_many_characters_leave_the_rarest_out():
    frequent = "".join(chr(0x4E00 + i) for i in range(80))
    rare = "".join(chr(0x5E00 + i) for i in range(500))
    vocabulary = train_wordpiece([frequent] * 20 + [rare], vocabulary_size=100).vocabulary
    assert len(vocabulary) == 100
    assert set(frequent) <= set(vocabulary)


def test_rare_characters_do_not_crowd_out_words():
    rare = " ".join(chr(0x5E00 + i) for i in range(100))  # less than one character in ten thousand
    texts = ["the unbelievable kettle sang " * 1500] * 40 + [rare]
    assert {"unbelievable", "kettle"} <= set(train_wordpiece(texts, vocabulary_size=100).vocabulary)


def test_a_small_corpus_gives_fewer_tokens_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_wordpiece(["ab ab"], vocabulary_size=500)
    assert tokenizer.vocabulary == [*SPECIAL_TOKENS, "##b", "a", "b", "ab"]
    assert "too small for 500 tokens; it gave 9" in caplog.text


def test_texts_are_read_once_and_may_hold_anything(texts):
    tokenizer = train_wordpiece(iter([*texts, "", "\0", "\ud800", "[SEP] [SEP]", "a\r\nb"]), vocabulary_size=500)
    assert tokenizer.vocabulary.count("[SEP]") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_named_with_what_to_do(texts, tmp_path, monkeypatch):
    (tmp_path / "words.txt").symlink_to("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: nullcontext(tmp_path))
    with pytest.raises(InputError, match=f"{tmp_path}: No space left on device.*TMPDIR"):
        train_wordpiece(texts)


@pytest.mark.parametrize("texts", [[], ["", " \n"], ["\u200b\0"]])
def test_an_empty_corpus_is_an_input_error(texts):
    with pytest.raises(InputError, match="no text to train on"):
        train_wordpiece(texts)


def test_a_vocabulary_without_room_is_an_input_error():
    with pytest.raises(InputError, match="`vocabulary_size` must be at least 100"):
        train_wordpiece(["a"], vocabulary_size=10)
