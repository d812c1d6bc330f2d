"""WordPiece with BERT's rules, on tensorflow-text's linear-time ops.

In: a list of tokens, continuations marked with "##". Out: a `Tokenizer`. On disk: `vocab.txt`, one token a line.
"""

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer, check_vocabulary
from tfllm.tokenizers.normalize import BertNormalizer
from tfllm.tokenizers.offsets import character_boundaries, pick, to_characters

VOCABULARY_FILE = "vocab.txt"
MAX_BYTES_PER_WORD = 400  # BERT gives up on words over 100 characters; a character has at most 4 bytes
PLAIN = r"[ -~\t\n\r]*"  # printable ASCII and the white space the op splits at


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

    def __init__(
        self,
        vocabulary: list[str],
        lowercase: bool = True,
        special_tokens: Mapping[str, str] | None = None,
        pair_separators: int = 1,
    ):
        check_vocabulary(vocabulary)
        word_starts = [not _is_continuation(token) for token in vocabulary]
        super().__init__(vocabulary, word_starts, special_tokens, pair_separators)
        self.lowercase = lowercase
        self._normalizer = BertNormalizer(lowercase)
        try:
            self._pieces = tf_text.FastWordpieceTokenizer(
                vocabulary,
                max_bytes_per_word=MAX_BYTES_PER_WORD,
                token_out_type=tf.int32,
                unknown_token=vocabulary[self.unk_id],
                support_detokenization=True,
            )
        except RuntimeError as error:
            raise InputError(f"tensorflow-text cannot use this vocabulary: {error}.") from None

    def _tokenize(self, text):
        # Most English text is plain ASCII, for which lower case is all there is to do: three times as fast.
        plain = tf.strings.lower(text) if self.lowercase else text
        rows = tf.where(~tf.strings.regex_full_match(text, PLAIN))
        others = self._normalizer(_decode(tf.gather_nd(text, rows))).code_points
        return self._pieces.tokenize(tf.tensor_scatter_nd_update(plain, rows, _encode(others)))

    def _tokenize_with_offsets(self, text):
        characters = _decode(text)
        normalized, sources = self._normalizer(characters)
        normalized = _encode(normalized)
        ids, starts, ends = self._pieces.tokenize_with_offsets(normalized)
        starts, ends = to_characters(character_boundaries(normalized), starts, ends)
        sources = tf.concat([sources, characters.row_lengths()[:, tf.newaxis]], axis=1)
        # A token that ends inside a decomposed character (Hangul) covers the whole character;
        # accents that were stripped after its last character belong to it.
        ends = tf.maximum(pick(sources, ends - 1) + 1, pick(sources, ends))
        return ids, pick(sources, starts), ends

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


def _decode(text: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.unicode_decode(text, "UTF-8", errors="replace")


def _encode(code_points: tf.RaggedTensor) -> tf.Tensor:
    return tf.strings.unicode_encode(code_points, "UTF-8", errors="replace")


def _is_continuation(token: str) -> bool:
    return token.startswith("##") and len(token) > 2
