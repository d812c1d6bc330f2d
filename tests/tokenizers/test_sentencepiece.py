"""SentencePiece: byte fallback, spaces, unusable models."""

import gc

import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.tokenizers import SentencePieceTokenizer


def test_no_character_is_unknown(sentencepiece):
    text = "ᚠᛇᚻ 𝄞 \x00 🜁 龘"
    ids = sentencepiece.tokenize(text)
    assert sentencepiece.unk_id not in ids.to_list()[0]
    assert sentencepiece.detokenize(ids).numpy()[0].decode() == text


def test_the_last_byte_of_a_character_covers_it(sentencepiece):
    tokens = sentencepiece.tokenize_with_offsets("a龘")
    covered = list(zip(tokens.character_starts.to_list()[0], tokens.character_ends.to_list()[0], strict=True))
    assert covered[-3:] == [(1, 1), (1, 1), (1, 2)]


def test_word_starts_are_space_marks_and_chinese_characters(sentencepiece):
    ids = sentencepiece.tokenize("the unbelievable 这台电脑")
    pieces = [sentencepiece.vocabulary[i] for i in ids.to_list()[0]]
    expected = [int(piece[0] == "▁" or "一" <= piece[0] <= "鿿") for piece in pieces]
    assert sentencepiece.word_starts(ids).to_list() == [expected]
    assert 0 in expected


def test_garbage_is_an_input_error():
    with pytest.raises(InputError, match="Not a SentencePiece model"):
        SentencePieceTokenizer(b"garbage")


def test_a_model_without_our_special_tokens_is_an_input_error(shared_models):
    with pytest.raises(InputError, match=r"lacks \[PAD\]"):
        SentencePieceTokenizer((shared_models / "sentencepiece" / "test_model.model").read_bytes())


def test_a_new_global_seed_leaves_it_alive_eagerly_and_in_a_pipeline(sentencepiece):
    dataset = tf.data.Dataset.from_tensors(["warm kettle"]).map(sentencepiece.tokenize)
    before = sentencepiece.tokenize("warm kettle")
    tf.random.set_seed(1)  # clears TensorFlow's cache of kernels
    assert sentencepiece.tokenize("warm kettle").to_list() == before.to_list()
    assert [ids.to_list() for ids in dataset] == [before.to_list()]


def test_it_outlives_another_tokenizer_of_the_same_model(sentencepiece):
    other = SentencePieceTokenizer(sentencepiece.model)
    expected = other.tokenize("warm kettle").to_list()
    del other
    gc.collect()
    tf.random.set_seed(2)
    assert sentencepiece.tokenize("warm kettle").to_list() == expected
