"""SentencePiece: unigram or BPE pieces of the raw text, white space included as the mark "▁".

In: a serialized model. Out: a `Tokenizer`. On disk: `sentencepiece.model`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import sentencepiece
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.python.ops import sentencepiece_tokenizer as tf_text_sentencepiece

from tfllm.checks import InputError
from tfllm.tokenizers.base import BERT_SPECIAL_TOKENS, Tokenizer, valid_utf8
from tfllm.tokenizers.characters import is_cjk
from tfllm.tokenizers.normalize import AlbertNormalizer
from tfllm.tokenizers.offsets import character_boundaries, decode, encode, to_characters, to_sources

MODEL_FILE = "sentencepiece.model"
SPACE = "▁"


class SentencePieceTokenizer(Tokenizer):
    """Pieces of raw text; needs no word boundaries, so it suits Chinese, Japanese and Thai.

    The offsets of a piece that begins with "▁" include the space it stands for.

    Args:
        model: a serialized SentencePiece model (the bytes of a `.model` file) with the special tokens.
        special_tokens, pair_separators: see `Tokenizer`.
        lowercase, strip_accents, join_quotes: what ALBERT does to a text before its model sees it: letters made small;
            NFKD and combining marks removed; `` and '' made ". The model's own normalization comes after it.

    Raises:
        InputError: if the bytes are not a SentencePiece model or it lacks a special token.

    Source: Kudo and Richardson 2018, arXiv:1808.06226; for ALBERT, Lan et al. 2019, arXiv:1909.11942, published code.
    """

    kind = "sentencepiece"

    def __init__(
        self,
        model: bytes,
        special_tokens: Mapping[str, str] | None = None,
        pair_separators: int = 1,
        *,
        lowercase: bool = False,
        strip_accents: bool = False,
        join_quotes: bool = False,
    ):
        vocabulary = read_pieces(model)
        special = set((special_tokens or BERT_SPECIAL_TOKENS).values())
        word_starts = [piece in special or begins_word(piece) for piece in vocabulary]
        super().__init__(vocabulary, word_starts, special_tokens, pair_separators)
        self.model = model
        self.lowercase, self.strip_accents, self.join_quotes = lowercase, strip_accents, join_quotes
        self._normalizer = None
        if lowercase or strip_accents or join_quotes:
            self._normalizer = AlbertNormalizer(lowercase, strip_accents, join_quotes)
        self._pieces = pieces_op(model)

    def write_files(self, directory: Path) -> None:
        (directory / MODEL_FILE).write_bytes(self.model)

    def _tokenize(self, text):
        if self._normalizer is None:
            return self._pieces.tokenize(valid_utf8(text))
        return self._pieces.tokenize(encode(self._normalizer(decode(text)).code_points))

    def _tokenize_with_offsets(self, text):
        if self._normalizer is None:
            text = valid_utf8(text)
            ids, starts, ends = self._pieces.tokenize_with_offsets(text)
            return ids, *to_characters(character_boundaries(text), starts, ends)
        characters = decode(text)
        normalized, sources = self._normalizer(characters)
        text = encode(normalized)
        ids, starts, ends = self._pieces.tokenize_with_offsets(text)
        spans = to_characters(character_boundaries(text), starts, ends)
        return ids, *to_sources(sources, characters.row_lengths(), *spans)

    def _detokenize(self, token_ids):
        return self._pieces.detokenize(token_ids)

    def _arguments(self):
        return {"lowercase": self.lowercase, "strip_accents": self.strip_accents, "join_quotes": self.join_quotes}


class _LastingResource(tf_text_sentencepiece._SentencepieceModelResource):
    """The model in memory, under a name of its own.

    Without a name it belongs to the kernel that made it, and `tf.random.set_seed`, which clears TensorFlow's cache of
    kernels, takes it away from every tokenizer that is in use. Private parts of tensorflow-text: a test holds them.
    """

    def _create_resource(self):
        name = f"sentencepiece_{hashlib.sha256(self._model).hexdigest()}"
        create = tf_text_sentencepiece.gen_sentencepiece_tokenizer.sentencepiece_op
        return create(model=self._model, shared_name=name)


def pieces_op(model: bytes, out_type: tf.DType = tf.int32) -> tf_text.SentencepieceTokenizer:
    """The TensorFlow operations of a serialized model, which give ids or, with tf.string, pieces."""
    pieces = tf_text.SentencepieceTokenizer(model, out_type=out_type)
    pieces._model_resource = _LastingResource(model, None)
    return pieces


def read_pieces(model: bytes) -> list[str]:
    """The pieces of a serialized model, in the order of its ids; InputError if it is none."""
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise InputError(f"Not a SentencePiece model: {error}.") from None
    return [processor.id_to_piece(token_id) for token_id in range(processor.vocab_size())]


def begins_word(piece: str) -> bool:
    """Whether a piece begins a word: with the mark of a space, or a Chinese character."""
    return piece.startswith(SPACE) or is_cjk(piece[0])
