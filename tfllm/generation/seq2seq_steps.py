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

    def __init__(self, model: keras.Model, start_id: int):
        self._model, self._start_id = read_encoder(model), start_id
        self._logits = NextLogits(self._model.get_layer("token_embedding"))

    def written_before(self, sources: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What counts as written before the new tokens: the one a target begins with."""
        return tf.fill([tf.shape(sources)[0], 1], self._start_id), tf.ones_like(lengths)

    def repeat(self, cache: list, times: int) -> list:
        """See `DecoderSteps`."""
        cache, prepared = self._logits.parted(cache)
        return [tuple(tf.repeat(part, times, axis=0) for part in parts) for parts in cache] + prepared

    def reorder(self, cache: list, order: tf.Tensor) -> list:
        """See `DecoderSteps`. All texts of a row have the same source, which stays where it is."""
        written, source, prepared = self._parts(cache)
        return [tuple(tf.gather(part, order) for part in pair) for pair in written] + source + prepared

    def begin(self, source_ids: tf.Tensor, lengths: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, list]:
        """Read the sources, and the token that every target begins with; see `DecoderSteps.begin`. C is 1 + `room`."""
        rows = tf.shape(source_ids)[0]
        mask = tf.sequence_mask(lengths, tf.shape(source_ids)[1], tf.int32)
        source = encode_source(self._model, source_ids, mask)
        start = tf.fill([rows, 1], self._start_id)
        first, visible = tf.zeros_like(start), tf.ones([rows, 1, 1], tf.int32)
        hidden, cache = decode_after_source(self._model, start, first, visible, source, mask)
        cache = [tuple(tf.pad(part, [[0, 0], [0, 0], [0, room], [0, 0]]) for part in pair) for pair in cache]
        prepared = self._logits.prepared()
        return self._logits(hidden[:, 0], prepared), [*cache, *source, (mask,), *prepared]

    def step(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, width: tf.Tensor, number: tf.Tensor, cache: list
    ) -> tuple[tf.Tensor, list]:
        """Read one new token of each row; see `DecoderSteps.step`."""
        written, source, prepared = self._parts(cache)
        rows, places = tf.shape(token_ids)[0], tf.shape(written[0][0])[2]
        visible = tf.cast(tf.range(places) <= number + 1, tf.int32)
        visible = tf.tile(visible[tf.newaxis, tf.newaxis], [rows, 1, 1])  # (B, 1, C)
        positions = tf.fill([rows, 1], number + 1)
        hidden, written = decode_after_source(
            self._model, token_ids[:, tf.newaxis], positions, visible, source[:-1], source[-1][0], written, number + 1
        )
        return self._logits(hidden[:, 0], prepared), [*written, *source, *prepared]

    def _parts(self, cache: list) -> tuple[list, list, list]:
        """What was written, the source with its mask, and what makes logits."""
        cache, prepared = self._logits.parted(cache)
        blocks = len(cache) // 2
        return cache[:blocks], cache[blocks:], prepared
