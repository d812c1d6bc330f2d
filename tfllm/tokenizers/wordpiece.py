"""WordPiece with BERT's rules, on tensorflow-text's linear-time ops.

In: a list of tokens, continuations marked with "##". Out: a `Tokenizer`. On disk: `vocab.txt`, one token a line.
"""

from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer

VOCABULARY_FILE = "vocab.txt"
MAX_BYTES_PER_WORD = 400  # BERT gives up on words over 100 characters; a character has at most 4 bytes


class WordPieceTokenizer(Tokenizer):
    """BERT's tokenizer: split at white space, punctuation and CJK characters, then longest match first.

    Args:
        vocabulary: tokens; the position is the id. Distinct and not empty, with the five special tokens.
        lowercase: lower-case the text and strip accents (NFD, combining marks removed) before splitting.

    Raises:
        InputError: if the vocabulary has an empty or repeated token or lacks a special token.

    Source: Devlin et al. 2019, arXiv:1810.04805; Song et al. 2021, arXiv:2012.15524 for the algorithm.
    Differs from BERT's own code on rare characters; docs/tokenizers.md lists every kind.
    """

    kind = "wordpiece"

    def __init__(self, vocabulary: list[str], lowercase: bool = True):
        _check_vocabulary(vocabulary)
        super().__init__(vocabulary, [not _is_continuation(token) for token in vocabulary])
        self.lowercase = lowercase
        self._normalizer = tf_text.FastBertNormalizer(lower_case_nfd_strip_accents=lowercase)
        try:
            self._pieces = tf_text.FastWordpieceTokenizer(
                vocabulary,
                max_bytes_per_word=MAX_BYTES_PER_WORD,
                token_out_type=tf.int32,
                unknown_token="[UNK]",
                support_detokenization=True,
            )
        except RuntimeError as error:
            raise InputError(f"tensorflow-text cannot use this vocabulary: {error}.") from None

    def _tokenize(self, text):
        return self._pieces.tokenize(self._normalizer.normalize(text))

    def _tokenize_with_offsets(self, text):
        normalized, sources = self._normalizer.normalize_with_offsets(text)  # sources: of each normalized byte
        ids, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        first = tf.gather(sources.row_starts(), starts.value_rowids())
        begin = tf.cast(starts.flat_values, tf.int64) + first
        end = tf.cast(ends.flat_values, tf.int64) + first
        # A token that ends inside a decomposed character (Hangul) covers the whole character;
        # accents that were stripped after its last character belong to it.
        source_ends = tf.maximum(tf.gather(sources.flat_values, end - 1) + 1, tf.gather(sources.flat_values, end))
        return (
            ids,
            starts.with_flat_values(tf.gather(sources.flat_values, begin)),
            ends.with_flat_values(source_ends),
        )

    def _detokenize(self, token_ids):
        return self._pieces.detokenize(token_ids)

    def _arguments(self):
        return {"lowercase": self.lowercase}

    def _write(self, directory: Path):
        (directory / VOCABULARY_FILE).write_bytes("".join(f"{token}\n" for token in self.vocabulary).encode())


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


def _check_vocabulary(vocabulary: list[str]) -> None:
    seen = set()
    for position, token in enumerate(vocabulary):
        if not token or token in seen:
            reason = "repeats an earlier token" if token else "is empty"
            raise InputError(f"Vocabulary entry {position} {reason}; tokens must be distinct. Received: {token!r}.")
        seen.add(token)
