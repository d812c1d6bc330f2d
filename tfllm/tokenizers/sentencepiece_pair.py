"""Two SentencePiece models, of the language that is read and of that which is written, over one vocabulary.

In: two serialized models and the vocabulary. Out: a `Tokenizer`. On disk: `source.spm`, `target.spm`, `vocab.json`, as
Marian's published models have them.
B texts, T tokens of a text.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.tokenizers.base import Tokenizer, check_vocabulary, valid_utf8
from tfllm.tokenizers.offsets import character_boundaries, to_characters
from tfllm.tokenizers.sentencepiece import SPACE, begins_word, pieces_op, read_pieces
from tfllm.tokenizers.whole_words import NO_TOKEN, WholeWords

SOURCE_FILE, TARGET_FILE, VOCABULARY_FILE = "source.spm", "target.spm", "vocab.json"
_CODE = r"^>>(?s:.*?)<<"


class SentencePiecePairTokenizer(Tokenizer):
    """Pieces of the text, one model for texts to be read and one for texts to be written; ids are of one vocabulary.

    A text may begin with the language it is to be translated into, ">>fra<<": that is one token, if the vocabulary has
    it. A piece that the vocabulary lacks is the unk token; characters that a model does not know are a piece, too.

    Args:
        source_model, target_model: serialized SentencePiece models.
        vocabulary: tokens; the position is the id.
        special_tokens: pad, unk and sep; see `Tokenizer`.

    Raises:
        InputError: if the bytes are no SentencePiece models, or a special token is missing.

    Source: Tiedemann and Thottingal 2020, "OPUS-MT: building open translation services for the world".
    """

    kind = "sentencepiece-pair"

    def __init__(
        self,
        source_model: bytes,
        target_model: bytes,
        vocabulary: list[str],
        special_tokens: Mapping[str, str],
        pair_separators: int = 1,
    ):
        check_vocabulary(vocabulary)
        for model in (source_model, target_model):
            read_pieces(model)  # is it one?
        special = set(special_tokens.values())
        word_starts = [token in special or begins_word(token) for token in vocabulary]
        super().__init__(vocabulary, word_starts, special_tokens, pair_separators)
        self.source_model, self.target_model = source_model, target_model
        models = {"source": source_model, "target": target_model}
        self._pieces = {name: pieces_op(model, tf.string) for name, model in models.items()}
        ids = [number for number, token in enumerate(vocabulary) if token not in special]
        self._tokens = WholeWords(tf.constant(vocabulary, tf.string), ids)
        self._contents = tf.constant(np.array([token.replace(SPACE, " ") for token in vocabulary], object), tf.string)

    def write_files(self, directory: Path) -> None:
        (directory / SOURCE_FILE).write_bytes(self.source_model)
        (directory / TARGET_FILE).write_bytes(self.target_model)
        ids = {token: number for number, token in enumerate(self.vocabulary)}
        (directory / VOCABULARY_FILE).write_text(json.dumps(ids, ensure_ascii=False), "utf-8", newline="\n")

    def _tokenize(self, text):
        return self._both(text, "source")[0]

    def _tokenize_target(self, text):
        return self._both(text, "target")[0]

    def _tokenize_with_offsets(self, text):
        ids, starts, ends = self._both(text, "source")
        return ids, *to_characters(character_boundaries(valid_utf8(text)), starts, ends)

    def _both(self, text: tf.Tensor, name: str) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Ids int32, first byte and byte after each token int64, all (B, (T))."""
        text = valid_utf8(text)
        rest = tf.strings.regex_replace(text, _CODE, "", replace_global=False)
        size = tf.cast(tf.strings.length(text) - tf.strings.length(rest), tf.int64)  # of the code, (B,)
        code = tf.strings.substr(text, tf.zeros_like(size), size)
        pieces, starts, ends = self._pieces[name].tokenize_with_offsets(rest)
        ids, code_id = pieces.with_flat_values(self._find(pieces.flat_values)), self._find(code)
        has = tf.cast(size > 0, ids.row_splits.dtype)

        def with_code(of_code, of_rest):
            first = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(of_code, has > 0), has, validate=False)
            return tf.concat([first, of_rest], axis=1)

        starts, ends = (place.with_flat_values(tf.cast(place.flat_values, tf.int64)) for place in (starts, ends))
        starts, ends = (place + size[:, tf.newaxis] for place in (starts, ends))
        return with_code(code_id, ids), with_code(tf.zeros_like(size), starts), with_code(size, ends)

    def _find(self, tokens: tf.Tensor) -> tf.Tensor:
        """The id of each token, int32, of string, both of the same length; unk for one that the vocabulary lacks."""
        found = self._tokens(tokens)
        return tf.where(found == NO_TOKEN, self.unk_id, found)

    def _detokenize(self, token_ids):
        return tf.strings.strip(tf.strings.reduce_join(tf.gather(self._contents, token_ids), axis=1))

    def _arguments(self):
        return {}


def read_sentencepiece_pair(directory: Path) -> tuple[bytes, bytes, list[str]]:
    """The models and the vocabulary that `save` wrote."""
    ids = json.loads((directory / VOCABULARY_FILE).read_text("utf-8"))
    return (directory / SOURCE_FILE).read_bytes(), (directory / TARGET_FILE).read_bytes(), sorted(ids, key=ids.get)
