"""WordPiece with BERT's rules, on tensorflow-text's linear-time ops.

In: a list of tokens, continuations marked with "##". Out: a `Tokenizer`. On disk: `vocab.txt`, one token a line.
"""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer, check_vocabulary
from tfllm.tokenizers.neighbours import row_numbers
from tfllm.tokenizers.normalize import BertNormalizer
from tfllm.tokenizers.offsets import character_boundaries, decode, encode, to_characters, to_sources
from tfllm.tokenizers.pre_tokenize import BertWords

VOCABULARY_FILE = "vocab.txt"
MAX_BYTES_PER_WORD = 400  # BERT gives up on words over 100 characters; a character has at most 4 bytes
PLAIN = r"[ -~\t\n\r]*"  # printable ASCII and the white space the op splits at


class WordPieceTokenizer(Tokenizer):
    """BERT's tokenizer: split at white space, punctuation and CJK characters, then longest match first.

    With the last three arguments as they are, tensorflow-text splits the words: fast, and other than BERT's own code on
    rare characters; docs/tokenizers.md lists every kind. Otherwise words are split here, as the Rust `tokenizers` do.

    Args:
        vocabulary: tokens; the position is the id. Distinct and not empty, with the special tokens, unk among them.
        lowercase: lower-case the text before splitting.
        special_tokens, pair_separators: see `Tokenizer`.
        strip_accents: NFD, combining marks removed. None = as `lowercase`.
        clean_text: remove control characters before splitting.
        split_on_cjk: make each CJK ideograph a word.
        max_characters_per_word: a longer word is unknown. None = one of over 400 bytes is.

    Raises:
        InputError: if the vocabulary has an empty or repeated token or lacks a special token.

    Source: Devlin et al. 2019, arXiv:1810.04805; Song et al. 2021, arXiv:2012.15524 for the algorithm.
    """

    kind = "wordpiece"

    def __init__(
        self,
        vocabulary: list[str],
        lowercase: bool = True,
        special_tokens: Mapping[str, str] | None = None,
        pair_separators: int = 1,
        *,
        strip_accents: bool | None = None,
        clean_text: bool = True,
        split_on_cjk: bool = True,
        max_characters_per_word: int | None = None,
    ):
        check_vocabulary(vocabulary)
        word_starts = [not _is_continuation(token) for token in vocabulary]
        super().__init__(vocabulary, word_starts, special_tokens, pair_separators)
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.clean_text, self.split_on_cjk = clean_text, split_on_cjk
        self.max_characters_per_word = max_characters_per_word
        self._normalizer = BertNormalizer(lowercase, self.strip_accents, clean_text)
        self._words = None
        if not clean_text or not split_on_cjk or max_characters_per_word is not None:
            self._words = BertWords(split_on_cjk)
        # With a bracket a special token is no word, whatever it is: none has punctuation inside.
        special = set(self.special_tokens.values())
        untypable = [f"[{token}" if token in special else token for token in vocabulary]
        self._unknown = untypable[self.unk_id]
        self._pieces = self._build_pieces(untypable)

    def _build_pieces(self, vocabulary: list[str]) -> tf_text.FastWordpieceTokenizer:
        characters = self.max_characters_per_word
        try:
            return tf_text.FastWordpieceTokenizer(
                vocabulary,
                max_bytes_per_word=MAX_BYTES_PER_WORD if characters is None else characters * 4,
                token_out_type=tf.int32,
                unknown_token=self._unknown,
                no_pretokenization=self._words is not None,
                support_detokenization=True,
            )
        except RuntimeError as error:
            raise InputError(f"tensorflow-text cannot use this vocabulary: {error}.") from None

    def write_files(self, directory: Path) -> None:
        (directory / VOCABULARY_FILE).write_bytes("".join(f"{token}\n" for token in self.vocabulary).encode())

    def _tokenize(self, text):
        if self._words is not None:
            words, _, _ = self._split(self._normalizer(decode(text)).code_points)
            return words.with_flat_values(self._pieces.tokenize(words.flat_values)).merge_dims(1, 2)
        # Most English text is plain ASCII, for which lower case is all there is to do: three times as fast.
        plain = tf.strings.lower(text) if self.lowercase else text
        rows = tf.where(~tf.strings.regex_full_match(text, PLAIN))
        others = self._normalizer(decode(tf.gather_nd(text, rows))).code_points
        return self._pieces.tokenize(tf.tensor_scatter_nd_update(plain, rows, encode(others)))

    def _tokenize_with_offsets(self, text):
        characters = decode(text)
        normalized, sources = self._normalizer(characters)
        ids, starts, ends = self._cut(normalized) if self._words is None else self._cut_words(normalized)
        return ids, *to_sources(sources, characters.row_lengths(), starts, ends)

    def _cut(self, normalized: tf.RaggedTensor):
        """Ids and spans in characters, all (B, (T)), of int32 (B, (N))."""
        normalized = encode(normalized)
        ids, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        return ids, *to_characters(character_boundaries(normalized), starts, ends)

    def _cut_words(self, normalized: tf.RaggedTensor):
        """As `_cut`, of words that are split here."""
        words, firsts, lengths = self._split(normalized)
        ids, starts, ends = self._pieces.tokenize_with_offsets(words.flat_values)
        rows = row_numbers(ids)
        starts, ends = to_characters(character_boundaries(words.flat_values), starts, ends)
        ends = tf.where(self._is_too_long(tf.gather(lengths, rows)), tf.gather(lengths, rows), ends.flat_values)
        spans = (starts.with_flat_values(part + tf.gather(firsts, rows)) for part in (starts.flat_values, ends))
        return (words.with_flat_values(part).merge_dims(1, 2) for part in (ids, *spans))

    def _split(self, normalized: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor]:
        """string (B, (W)) of int32 (B, (N)); where in its text each word begins, and its characters: int64 (words,)."""
        begins, in_word = self._words(normalized)
        words = tf.where(tf.boolean_mask(begins, in_word))[:, 0]
        words = tf.RaggedTensor.from_row_starts(tf.boolean_mask(normalized.flat_values, in_word), words, validate=False)
        lengths = words.row_lengths()
        words = tf.where(self._is_too_long(lengths), self._unknown, encode(words))
        begins = tf.where(begins)[:, 0]
        splits = tf.searchsorted(begins, normalized.row_splits, out_type=tf.int64)
        words = tf.RaggedTensor.from_row_splits(words, splits, validate=False)
        return words, begins - tf.gather(normalized.row_starts(), row_numbers(words)), lengths

    def _is_too_long(self, characters: tf.Tensor) -> tf.Tensor:
        if self.max_characters_per_word is None:
            return tf.zeros_like(characters, tf.bool)
        return characters > self.max_characters_per_word

    def _detokenize(self, token_ids):
        return self._pieces.detokenize(token_ids)

    def _arguments(self):
        return {
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "clean_text": self.clean_text,
            "split_on_cjk": self.split_on_cjk,
            "max_characters_per_word": self.max_characters_per_word,
        }


def read_vocabulary(file: str | Path) -> list[str]:
    """Tokens of a `vocab.txt`, one a line. Only "\\n" ends a line: published vocabularies hold other line separators.

    Raises:
        InputError: if the file is not UTF-8.
    """
    try:
        return Path(file).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: {error}.") from None


def _is_continuation(token: str) -> bool:
    return token.startswith("##") and len(token) > 2
