"""What stands before a gap and after it -> what stands in it, with a model that learned it by `fill_in_middle`.

B gaps, P tokens of the longest prompt.
"""

import keras
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.generation.text import TextWriter
from tfllm.models import read_recipe
from tfllm.tokenizers import Tokenizer
from tfllm.writing import Rules


class FillWriter(TextWriter):
    """A `TextWriter` of gaps, string (B, 2): what comes before and after each.

    Of texts that are too long the parts next to the gap are kept, half of the room for each where both need it.

    Raises:
        InputError: for a model that did not learn it.
    """

    texts = tf.TensorSpec([None, 2], tf.string)

    def __init__(self, model: keras.Model, tokenizer: Tokenizer, sequence_length: int, rules: Rules | None = None):
        if not read_recipe(model)["arguments"].get("fills"):
            raise InputError("This model did not learn to fill gaps: pretrain it with --fill-in-middle 0.5.")
        super().__init__(model, tokenizer, sequence_length, rules)

    def encode(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Prompts int32 (B, P), their lengths and how many new tokens each may have, int32 (B,).

        A prompt is `[CLS] [MASK] prefix [MASK] suffix [MASK]`.
        """
        prefix, suffix = self._tokenizer.tokenize(text[:, 0]), self._tokenizer.tokenize(text[:, 1])
        room = tf.cast(tf.maximum(self._most(max_new_tokens) - 4, 0), prefix.row_splits.dtype)
        after = tf.minimum(suffix.row_lengths(), tf.maximum(room - prefix.row_lengths(), room // 2))
        before = tf.minimum(prefix.row_lengths(), room - after)
        starts = prefix.row_limits() - before, suffix.row_starts()
        column = tf.fill([prefix.nrows(), 1], 0)
        mark = column + self._tokenizer.mask_id
        parts = [_slices(ids, *span) for ids, *span in ((prefix, starts[0], before), (suffix, starts[1], after))]
        ids = tf.concat([column + self._tokenizer.cls_id, mark, parts[0], mark, parts[1], mark], axis=1)
        return self._filled(ids, max_new_tokens)

    def _text_behind(self, prompts: tf.Tensor, lengths: tf.Tensor, new: tf.RaggedTensor) -> tf.Tensor:
        return self._tokenizer.detokenize(new)


def _slices(ids: tf.RaggedTensor, starts: tf.Tensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """`lengths[b]` ids of row b from place `starts[b]` of all ids on: int32 (B, (T))."""
    places = tf.ragged.range(starts, starts + lengths)
    return places.with_flat_values(tf.gather(ids.flat_values, places.flat_values))
