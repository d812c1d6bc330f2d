"""Byte-level BPE, as GPT-2 and RoBERTa have it: no text is unknown, and every text comes back as it was.

In: a vocabulary and the merges that make it. Out: a `Tokenizer`. On disk: `vocab.json` and `merges.txt`, as published
checkpoints have them, where each byte is written as a printable character ("Ġ" is a space).
B texts, W words of all texts, U different words, T tokens of a text.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.checks import InputError, check_one_of
from tfllm.tokenizers.base import Tokenizer, check_vocabulary, valid_utf8
from tfllm.tokenizers.byte_bpe_merges import Merges
from tfllm.tokenizers.neighbours import row_numbers
from tfllm.tokenizers.offsets import character_boundaries, decode, encode, to_characters
from tfllm.tokenizers.pre_tokenize import Gpt2Words
from tfllm.tokenizers.pre_tokenize_llama import LlamaWords
from tfllm.tokenizers.whole_words import NO_TOKEN, WholeWords

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
WORDS = {  # how text is split into words
    "gpt2": Gpt2Words,
    "gpt2-digits": lambda: Gpt2Words(digits_alone=True),  # SmolLM2
    "llama3": lambda: LlamaWords(digits=3),
    "qwen2": lambda: LlamaWords(digits=1),  # and Qwen 2.5 and 3
}
_HEADER = "#version: 0.2"
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]  # Latin-1 without blanks and soft hyphen
_OTHERS = [byte for byte in range(0x100) if byte not in _PRINTABLE]
BYTE_TO_CHARACTER = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(0x100 + n) for n, byte in enumerate(_OTHERS)}
_CHARACTER_TO_BYTE = {character: byte for byte, character in BYTE_TO_CHARACTER.items()}
_CJK_FIRST_BYTES = range(0xE4, 0xEA)  # of U+4000 to U+9FFF in UTF-8


class ByteBpeTokenizer(Tokenizer):
    """Words split as GPT-2 or another model splits them, then pairs of bytes merged, most frequent first.

    The offsets of a token that begins with a space include the space.

    Args:
        vocabulary: tokens, each byte written as one character of `BYTE_TO_CHARACTER`; the position is the id.
        merges: pairs of tokens that become one, in the order they are merged. What they become is in the vocabulary.
        special_tokens: name -> token; see `Tokenizer`. With an unk token, bytes may be missing from the vocabulary.
        pair_separators: see `Tokenizer`.
        add_prefix_space: begin every text with a space unless it has one, so that its first word is like the others.
        words: whose way to split text into words: a name in WORDS.
        compose: bring text into Unicode's composed form (NFC) first, as Qwen does.
        whole_words: a word that is a token stays whole, wherever merging its bytes would lead, as Llama 3 has it.

    Raises:
        InputError: if a token is empty or repeated, a byte is missing and there is no unk token, a merge is repeated,
            has parts or a result the vocabulary lacks, or makes a special token.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2; the algorithm is
    described in `byte_bpe_merges`.
    """

    kind = "byte-bpe"

    def __init__(
        self,
        vocabulary: list[str],
        merges: list[tuple[str, str]],
        special_tokens: Mapping[str, str],
        pair_separators: int = 1,
        add_prefix_space: bool = False,
        words: str = "gpt2",
        compose: bool = False,
        whole_words: bool = False,
    ):
        check_one_of("words", words, WORDS)
        check_vocabulary(vocabulary)
        special = set(special_tokens.values())
        contents = [token.encode() if token in special else token_bytes(token) for token in vocabulary]
        word_starts = [
            token in special or _begins_word(content) for token, content in zip(vocabulary, contents, strict=True)
        ]
        super().__init__(vocabulary, word_starts, special_tokens, pair_separators)
        self.add_prefix_space, self.words, self.compose = add_prefix_space, words, compose
        ids = {token: token_id for token_id, token in enumerate(vocabulary)}
        unk = special_tokens.get("unk")
        byte_ids = _find_bytes(ids, special, unk)
        self._merges = _find_merges(merges, ids, special)
        lengths = [1 if token == unk else len(content) for token, content in zip(vocabulary, contents, strict=True)]
        self._words = WORDS[words]()
        self._merge = Merges(self._merges.tolist(), lengths)
        self._byte_ids, self._lengths = tf.constant(byte_ids, tf.int32), tf.constant(lengths, tf.int64)
        self._contents = tf.constant(contents, tf.string)
        self.whole_words = whole_words
        ordinary = [token_id for token, token_id in ids.items() if token not in special]
        self._whole = WholeWords(self._contents, ordinary) if whole_words else None

    @property
    def merges(self) -> list[tuple[str, str]]:
        """Pairs of tokens that become one, in the order they are merged."""
        vocabulary = self.vocabulary
        return [(vocabulary[first], vocabulary[second]) for first, second, _ in self._merges]

    def write_files(self, directory: Path) -> None:
        entries = {token: token_id for token_id, token in enumerate(self.vocabulary)}
        (directory / VOCABULARY_FILE).write_text(json.dumps(entries, ensure_ascii=False), "utf-8", newline="\n")
        lines = [_HEADER, *(" ".join(pair) for pair in self.merges)]
        (directory / MERGES_FILE).write_text("".join(f"{line}\n" for line in lines), "utf-8", newline="\n")

    def _tokenize(self, text):
        if self.compose:
            text = tf_text.normalize_utf8(valid_utf8(text), "NFC")
        words = self._split(decode(self._prefixed(text)))
        different, places = tf.unique(words.flat_values)
        if self._whole is None:
            tokens = self._merge(self._bytes(different))
        else:
            whole = self._whole(different)
            is_whole = whole != NO_TOKEN
            others = self._merge(self._bytes(tf.where(is_whole, "", different)))
            whole = tf.RaggedTensor.from_tensor(whole[:, tf.newaxis], lengths=tf.cast(is_whole, tf.int64))
            tokens = tf.concat([whole, others], axis=1)
        return words.with_flat_values(tf.gather(tokens, places)).merge_dims(1, 2)  # of (B, (W), (T))

    def _tokenize_with_offsets(self, text):
        given = text = valid_utf8(text)
        ids = self._tokenize(text)
        if self.compose:
            text, sources = tf_text.normalize_utf8_with_offsets_map(text, "NFC")
        lengths = tf.gather(self._lengths, ids.flat_values)  # the tokens, laid end to end, are the text
        ends = tf.cumsum(lengths)
        text_starts = tf.gather(tf.concat([[0], ends], axis=0), ids.row_starts())
        text_starts += tf.cast(tf.strings.length(self._prefixed(text)) - tf.strings.length(text), tf.int64)
        ends -= tf.gather(text_starts, row_numbers(ids))
        starts, ends = (ids.with_flat_values(tf.maximum(place, 0)) for place in (ends - lengths, ends))
        if self.compose:
            starts, ends = (tf_text.find_source_offsets(sources, place) for place in (starts, ends))
        return ids, *to_characters(character_boundaries(given), starts, ends)

    def _detokenize(self, token_ids):
        return tf.strings.reduce_join(tf.gather(self._contents, token_ids), axis=1)

    def _arguments(self):
        return {
            "add_prefix_space": self.add_prefix_space,
            "words": self.words,
            "compose": self.compose,
            "whole_words": self.whole_words,
        }

    def _bytes(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Ids of the bytes of each word: int32 (U, (bytes)) of string (U,)."""
        content = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        ids = tf.gather(self._byte_ids, tf.cast(content, tf.int32))
        lengths = tf.cast(tf.strings.length(words), tf.int64)
        return tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)

    def _prefixed(self, text: tf.Tensor) -> tf.Tensor:
        if not self.add_prefix_space:
            return text
        stays = (tf.strings.length(text) == 0) | (tf.strings.substr(text, 0, 1) == " ")
        return tf.where(stays, text, tf.strings.join([" ", text]))

    def _split(self, code_points: tf.RaggedTensor) -> tf.RaggedTensor:
        """string (B, (W)) of int32 (B, (C))."""
        begins = tf.where(self._words(code_points).flat_values)[:, 0]
        words = tf.RaggedTensor.from_row_starts(code_points.flat_values, begins, validate=False)
        splits = tf.searchsorted(begins, code_points.row_splits, out_type=tf.int64)
        words = encode(words)
        return tf.RaggedTensor.from_row_splits(words, splits, validate=False)


def token_bytes(token: str) -> bytes:
    """The bytes a vocabulary entry stands for; one that is not written in `BYTE_TO_CHARACTER` is plain text."""
    try:
        return bytes(_CHARACTER_TO_BYTE[character] for character in token)
    except KeyError:
        return token.encode()


def read_byte_bpe(directory: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Vocabulary and merges that `save` wrote."""
    ids = json.loads((directory / VOCABULARY_FILE).read_text("utf-8"))
    lines = (directory / MERGES_FILE).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    return sorted(ids, key=ids.get), [tuple(line.split(" ")) for line in lines[1:]]


def _find_bytes(ids: dict[str, int], special: set[str], unk: str | None) -> list[int]:
    """The id of each byte."""
    missing = [byte for byte, character in BYTE_TO_CHARACTER.items() if ids.get(character, unk) is None]
    if missing:
        raise InputError(
            f"The vocabulary must hold every byte, or the tokenizer needs an unk token. Missing: {len(missing)} bytes, "
            f"first {missing[0]:#04x}, written {BYTE_TO_CHARACTER[missing[0]]!r}."
        )
    for character in special & set(_CHARACTER_TO_BYTE):
        raise InputError(f"A byte cannot be a special token, or text would become one. Received: {character!r}.")
    return [ids.get(BYTE_TO_CHARACTER[byte], ids.get(unk)) for byte in range(0x100)]


def _find_merges(merges: list[tuple[str, str]], ids: dict[str, int], special: set[str]) -> np.ndarray:
    """(first, second, result) ids of each merge: int32 (merges, 3)."""
    found = {}
    for rank, pair in enumerate(merges):
        tokens = (*pair, "".join(pair))
        if len(pair) != 2:
            problem = "is not a pair of tokens"
        elif unknown := [token for token in tokens if token not in ids]:
            problem = f"needs {unknown[0]!r}, which the vocabulary lacks"
        elif made := special.intersection(tokens):
            problem = f"would let text become the special token {min(made)!r}"
        elif pair in found:
            problem = "is there already"
        else:
            found[pair] = [ids[token] for token in tokens]
            continue
        raise InputError(f"Merge {rank} {problem}. Received: {' '.join(pair)!r}.")
    return np.array(list(found.values()), np.int32).reshape(-1, 3)


def _begins_word(content: bytes) -> bool:
    """Whether a token begins with white space or a Chinese character, or with the first byte of one."""
    return content[:1].isspace() or content[0] in _CJK_FIRST_BYTES
