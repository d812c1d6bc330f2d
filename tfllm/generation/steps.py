"""A model as generation sees it: all tokens of the prompts at once, then one token of each row at a time.

Shapes: B rows, P tokens of the longest prompt, C places of the cache, V vocabulary.
"""

import keras
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.generation.next_logits import NextLogits
from tfllm.models import longest_text, read_encoder, read_recipe
from tfllm.models.decoder import decode_cached


class DecoderSteps:
    """The steps of a model from `add_causal_lm_head`.

    Rows of prompts are filled up at their end, and new tokens stand behind that in columns of their own, so that all
    rows write to the same column of the cache.
    """

    def __init__(self, model: keras.Model):
        builder = read_recipe(model)["builder"]
        if builder != "add_causal_lm_head":
            raise InputError(f"Only a model from `add_causal_lm_head` writes text. Received: one from `{builder}`.")
        self._decoder, self._last_position = read_encoder(model), longest_text(model) - 1
        self._logits = NextLogits(self._decoder.get_layer("token_embedding"))

    def written_before(self, prompts: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What counts as written before the new tokens, and how many tokens that is: the prompts."""
        return prompts, lengths

    def repeat(self, cache: list, times: int) -> list:
        """The cache for `times` texts of each row."""
        cache, prepared = self._logits.parted(cache)
        return [tuple(tf.repeat(part, times, axis=0) for part in pair) for pair in cache] + prepared

    def reorder(self, cache: list, order: tf.Tensor) -> list:
        """The cache with its rows in another order, int32 (B,); a text takes the place of one of the same prompt."""
        cache, prepared = self._logits.parted(cache)
        return [tuple(tf.gather(part, order) for part in pair) for pair in cache] + prepared

    def begin(self, token_ids: tf.Tensor, lengths: tf.Tensor, room: tf.Tensor) -> tuple[tf.Tensor, list]:
        """Read the prompts.

        Args:
            token_ids: int32 (B, P).
            lengths: int32 (B,), tokens of each prompt, at least 1.
            room: int32 scalar, how many new tokens there will be at most.

        Returns:
            Logits float32 (B, V) of the token after each prompt; and the cache, with C = P + `room`.
        """
        width = tf.shape(token_ids)[1]
        real = tf.sequence_mask(lengths, width, tf.int32)
        same = tf.cast(real[:, :, tf.newaxis] == real[:, tf.newaxis, :], tf.int32)  # padding sees padding
        visible = tf.linalg.band_part(same, -1, 0)
        positions = tf.reduce_sum(visible, axis=2) - 1
        visible = same if "prefix_mask" in self._decoder.input else visible
        hidden, cache = decode_cached(self._decoder, token_ids, positions, visible)
        last = tf.gather(hidden, lengths - 1, batch_dims=1)
        cache = [tuple(tf.pad(part, [[0, 0], [0, 0], [0, room], [0, 0]]) for part in pair) for pair in cache]
        prepared = self._logits.prepared()
        return self._logits(last, prepared), cache + prepared

    def step(
        self, token_ids: tf.Tensor, lengths: tf.Tensor, width: tf.Tensor, number: tf.Tensor, cache: list
    ) -> tuple[tf.Tensor, list]:
        """Read one new token of each row.

        Args:
            token_ids: int32 (B,).
            lengths: int32 (B,), of the prompts.
            width: int32 scalar, P.
            number: int32 scalar, how many new tokens came before.
            cache: as `begin` or `step` gave it.

        Returns:
            Logits float32 (B, V) of the token after it, and the cache.
        """
        cache, prepared = self._logits.parted(cache)
        columns = tf.range(tf.shape(cache[0][0])[2])  # (C,)
        new = (columns >= width) & (columns <= width + number)
        visible = tf.cast((columns < lengths[:, tf.newaxis]) | new, tf.int32)[:, tf.newaxis]  # (B, 1, C)
        # Rows that are done go on beside longer ones, perhaps beyond the positions there are.
        positions = tf.minimum(lengths + number, self._last_position)[:, tf.newaxis]
        hidden, cache = decode_cached(
            self._decoder, token_ids[:, tf.newaxis], positions, visible, cache, width + number
        )
        return self._logits(hidden[:, 0], prepared), cache + prepared
