"""100,000 hostile strings, a 10 MB text and one giant word: no crash, and everywhere the same ids."""

import numpy as np
import pytest
import tensorflow as tf

STRINGS = tf.TensorSpec([None], tf.string)
FRAGMENTS = [
    *(
        text.encode()
        for text in ["the", "cat", "CAFÉ", "unbelievably", "北京", "面条，", "한국어", "größer", "3.50", "ß"]
    ),
    *(text.encode() for text in [" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "▁", "##"]),
    *(text.encode() for text in ["\0", "\x01", "\x1b[31m", "\x7f", "\u200b", "\u200d", "\ufeff", "\ufffd", "\uffff"]),
    *(
        text.encode()
        for text in ["e\u0301", "\u0301", "a" + "\u0300" * 30, "z\u0327\u0301", "ﷺ", "İ", "ǅ", "Ω", "½", "ﬁ"]
    ),
    *(text.encode() for text in ["שלום", "\u202eevil\u202c", "مرحبا", "\u2067x\u2069", "ไทย", "नमस्ते", "\U0010ffff"]),
    *(
        text.encode()
        for text in ["👨‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇩🇪", "☀️", "𝔘", "𠀀", "\ue000", "[SEP]", "[MASK]", "<0x41>", "<s>"]
    ),
    *[b"\xff", b"\xfe\xff", b"\x80", b"\xc0\x80", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xf5\x80\x80\x80"],
    *[b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xe0\x80\x80", b"\xf4\x90\x80\x80"],
]


@pytest.fixture(scope="module")
def strings():
    random = np.random.default_rng(0)
    chosen = random.integers(0, len(FRAGMENTS), (100_000, 8))
    lengths = random.integers(0, 9, 100_000)
    noise = random.bytes(400_000)
    return [
        b"".join(FRAGMENTS[i] for i in row[:length]) + noise[4 * n : 4 * n + n % 5]
        for n, (row, length) in enumerate(zip(chosen, lengths, strict=True))
    ]


class _Saved(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[STRINGS])
    def tokenize(self, text):
        ids = self.tokenizer.tokenize(text)
        return ids.flat_values, ids.row_splits


def test_python_tf_data_and_savedmodel_agree(tokenizer, strings, tmp_path):
    eager = tokenizer.tokenize(strings)
    offsets = tokenizer.tokenize_with_offsets(strings)
    dataset = tf.data.Dataset.from_tensor_slices(strings).batch(1024).map(tokenizer.tokenize)
    mapped = tf.concat(list(dataset), axis=0)
    tf.saved_model.save(_Saved(tokenizer), str(tmp_path / "saved"))
    values, splits = tf.saved_model.load(str(tmp_path / "saved")).tokenize(tf.constant(strings))

    for other in (offsets.ids, mapped, tf.RaggedTensor.from_row_splits(values, splits)):
        np.testing.assert_array_equal(other.row_splits, eager.row_splits)
        np.testing.assert_array_equal(other.flat_values, eager.flat_values)
    ids = eager.flat_values.numpy()
    assert len(ids) > 300_000
    assert ids.min() >= 0 and ids.max() < tokenizer.vocabulary_size


def test_offsets_are_inside_the_text_never_decrease_and_agree(tokenizer, strings):
    tokens = tokenizer.tokenize_with_offsets(strings)
    rows = tokens.ids.value_rowids().numpy()
    lengths = np.array([len(string) for string in strings])[rows]
    same_row = rows[1:] == rows[:-1]
    for starts, ends in ((tokens.byte_starts, tokens.byte_ends), (tokens.character_starts, tokens.character_ends)):
        starts, ends = starts.flat_values.numpy(), ends.flat_values.numpy()
        assert (starts >= 0).all() and (starts <= ends).all() and (ends <= lengths).all()
        assert (np.diff(starts)[same_row] >= 0).all() and (np.diff(ends)[same_row] >= 0).all()
    splits = tokens.ids.row_splits.numpy()
    spans = [field.flat_values.numpy() for field in tokens[1:]]
    for row, string in list(enumerate(strings))[::40]:
        text = string.decode("utf-8", errors="replace")
        for byte_start, byte_end, start, end in zip(
            *(span[splits[row] : splits[row + 1]] for span in spans), strict=True
        ):
            assert string[byte_start:byte_end].decode("utf-8", errors="replace") == text[start:end]


def test_detokenized_text_is_valid_utf8(tokenizer, strings):
    for text in tokenizer.detokenize(tokenizer.tokenize(strings[:20_000])).numpy():
        text.decode("utf-8")


@pytest.mark.parametrize("letter", ["a", "中", "é", "\u0301", "\0", " "])
def test_a_giant_word_is_safe(tokenizer, letter):
    word = letter * 200_000
    tokens = tokenizer.tokenize_with_offsets([word, "cat"])
    assert tokens.ids.to_list()[1] == tokenizer.tokenize("cat").to_list()[0]
    ends = tokens.character_ends[0].numpy()
    assert not len(ends) or ends.max() <= len(word)


def test_ten_megabytes_are_tokenized(tokenizer, strings):
    text = b"".join(strings)
    text = (text * (10_000_000 // len(text) + 1))[:10_000_000]
    ids = tokenizer.tokenize([text, "cat"])
    assert ids.row_lengths().numpy()[0] > 1_000_000
    assert ids[1].numpy().tolist() == tokenizer.tokenize("cat").to_list()[0]
