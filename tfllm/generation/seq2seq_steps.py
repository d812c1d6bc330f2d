"""A model that reads a source as generation sees it: the source once, then one token of each target at a time.

Shapes: B rows, S tokens of the longest source, C places of the cache, V vocabulary.
"""

import keras
import tensorflow as tf

from tfllm.generation.next_logits import NextLogits
from tfllm.models import read_encoder
from tfllm.models.encoder_decoder import decode_after_source, encode_source


class Seq2SeqSteps:
    """The steps of a model from `add_seq2seq_head`; what `DecoderSteps` calls prompts are the sources here.

    The cache is a list: keys and values of the target's tokens for every block, those of the source for every block,
    and the mask of the source, which no step changes; and what `NextLogits` puts there.
    """

    def __init__(self, model: keras.Model, start_ids: list[int]):
        self._model, self._start_ids = read_encoder(model), start_ids
        self._logits = NextLogits(self._model.get_layer("token_embedding"))

    def written_before(self, sources: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What counts as written before the new tokens: those a target begins with."""
        return self._starts(sources), tf.fill(tf.shape(lengths), len(self._start_ids))

    def repeat(self, cache: list, times: int) -> list:
        """See `DecoderSteps`."""
        cache, prepared = self._logits.parted(cache)
        return [tuple(tf.repeat(part, times, axis=0) for part in parts) for parts in cache] + prepared

    def reorder(self, cache: list, order: tf.Tensor) -> list:
        """See `DecoderSteps`. All texts of a row have the same source, which stays where it is."""
        written, source, prepared = self._parts(cache)
        return [tuple(tf.gather(part, order) for part in pair) for pair in written] + source + prepared

    def begin(self, source_ids: tf.Tensor, lengths: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, list]:
        """Read the sources, and what every target begins with; see `DecoderSteps.begin`.

        C is the number of tokens a target begins with, and `room`.
        """
        rows, count = tf.shape(source_ids)[0], len(self._start_ids)
        mask = tf.sequence_mask(lengths, tf.shape(source_ids)[1], tf.int32)
        source = encode_source(self._model, source_ids, mask)
        places = tf.tile(tf.range(count)[tf.newaxis], [rows, 1])
        visible = tf.tile(tf.linalg.band_part(tf.ones([1, count, count], tf.int32), -1, 0), [rows, 1, 1])
        hidden, cache = decode_after_source(self._model, self._starts(source_ids), places, visible, source, mask)
        cache = [tuple(tf.pad(part, [[0, 0], [0, 0], [0, room], [0, 0]]) for part in pair) for pair in cache]
        prepared = self._logits.prepared()
        return self._logits(hidden[:, -1], prepared), [*cache, *source, (mask,), *prepared]

    def step(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, width: tf.Tensor, number: tf.Tensor, cache: list
    ) -> tuple[tf.Tensor, list]:
        """Read one new token of each row; see `DecoderSteps.step`."""
        written, source, prepared = self._parts(cache)
        rows, places = tf.shape(token_ids)[0], tf.shape(written[0][0])[2]
        column = number + len(self._start_ids)
        visible = tf.cast(tf.range(places) <= column, tf.int32)
        visible = tf.tile(visible[tf.newaxis, tf.newaxis], [rows, 1, 1])  # (B, 1, C)
        positions = tf.fill([rows, 1], column)
        hidden, written = decode_after_source(
            self._model, token_ids[:, tf.newaxis], positions, visible, source[:-1], source[-1][0], written, column
        )
        return self._logits(hidden[:, 0], prepared), [*written, *source, *prepared]

    def _starts(self, sources: tf.Tensor) -> tf.Tensor:
        return tf.tile([self._start_ids], [tf.shape(sources)[0], 1])

    def _parts(self, cache: list) -> tuple[list, list, list]:
        """What was written, the source with its mask, and what makes logits."""
        cache, prepared = self._logits.parted(cache)
        blocks = len(cache) // 2
        return cache[:blocks], cache[blocks:], prepared
