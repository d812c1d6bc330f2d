"""Where tokens stand in the text, in bytes and in characters."""

import pytest
import tensorflow as tf

from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.base import SPECIAL_TOKENS
from tfllm.tokenizers.offsets import without_spaces

LETTERS = WordPieceTokenizer(
    [*SPECIAL_TOKENS, "cafe", "a", "b", "中", "国", "##ᅡ", "##ᆫ", "ᄒ", "👩", "c", "ss"], lowercase=True
)


def spans(tokenizer, text: bytes) -> list[tuple[str, str]]:
    """(token, text it covers); checks that bytes and characters agree."""
    tokens = tokenizer.tokenize_with_offsets(text)
    ids, byte_starts, byte_ends, starts, ends = (field.to_list()[0] for field in tokens)
    string = text.decode("utf-8", errors="replace")
    by_bytes = [text[a:b].decode("utf-8", errors="replace") for a, b in zip(byte_starts, byte_ends, strict=True)]
    by_characters = [string[a:b] for a, b in zip(starts, ends, strict=True)]
    assert by_bytes == by_characters
    return list(zip((tokenizer.vocabulary[i] for i in ids), by_characters, strict=True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café b".encode(), [("cafe", "Café"), ("b", "b")]),
        ("Cafe\u0301 b".encode(), [("cafe", "Cafe\u0301"), ("b", "b")]),
        ("中国 a".encode(), [("中", "中"), ("国", "国"), ("a", "a")]),
        ("a 👩 b".encode(), [("a", "a"), ("👩", "👩"), ("b", "b")]),
        ("한 b".encode(), [("ᄒ", "한"), ("##ᅡ", "한"), ("##ᆫ", "한"), ("b", "b")]),
        (b"a \xff\xfe b", [("a", "a"), ("b", "b")]),
        (b"\xe4\xb8 a \xed\xa0\x80 b\xc0", [("a", "a"), ("b", "b\ufffd")]),
        ("a zzé\u0301 b".encode(), [("a", "a"), ("[UNK]", "zzé\u0301"), ("b", "b")]),
        (b"a\x00 b", [("a", "a\x00"), ("b", "b")]),
    ],
)
def test_wordpiece_spans_are_exact(text, expected):
    assert spans(LETTERS, text) == expected


def test_byte_and_character_spans_are_the_same_text(tokenizer, texts):
    for text in [*texts, "e\u0301 ﷺ ½", "  two   spaces "]:
        assert spans(tokenizer, text.encode())


def test_sentencepiece_spans_put_the_text_together_again(sentencepiece):
    text = "这台电脑 has a naïve ☀️ screen, Straße."
    assert "".join(part for _, part in spans(sentencepiece, text.encode())) == text


def test_rows_of_a_batch_do_not_disturb_each_other(tokenizer, texts):
    batch = ["", *texts, b"\xff", "a"]
    together = tokenizer.tokenize_with_offsets(batch)
    for row, text in enumerate(batch):
        alone = tokenizer.tokenize_with_offsets(text)
        assert [field.to_list()[row] for field in together] == [field.to_list()[0] for field in alone]


def test_offsets_are_int32(tokenizer):
    assert {field.dtype for field in tokenizer.tokenize_with_offsets("the cat")} == {tf.int32}


def test_white_space_at_the_borders_of_spans_is_left_out():
    texts = ["a bc\u3000 d ", "", " \t", "é"]
    starts = tf.ragged.constant([[0, 1, 4, 4, 6, 8], [0], [0, 1], [0]], dtype=tf.int64)
    ends = tf.ragged.constant([[1, 4, 5, 7, 7, 8], [0], [1, 2], [1]], dtype=tf.int64)
    starts, ends = without_spaces(tf.constant(texts), starts, ends)
    assert starts.to_list() == [[0, 2, 6, 6, 6, 8], [0], [2, 2], [0]]
    assert ends.to_list() == [[1, 4, 4, 7, 7, 7], [0], [0, 0], [1]]
