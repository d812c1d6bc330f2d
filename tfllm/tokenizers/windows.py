"""Texts longer than the model -> overlapping windows, and for each token the window where it has most context.

In: how many tokens each of B texts has. Out: `Windows`. W windows of all texts, N tokens of all texts laid end to end.
"""

from typing import NamedTuple

import tensorflow as tf

_OVERLAP = 4  # neighbouring windows share 1 / 4 of their tokens


class Windows(NamedTuple):
    """Which tokens stand in which window.

    Attributes:
        tokens: ragged int64 (W, (T)): the tokens of each window, numbered 0 to N - 1.
        owner: int64 (N,): the window where the token has most context on the side where it has less.
        place: int64 (N,): where in that window the token stands, from 0.
    """

    tokens: tf.RaggedTensor
    owner: tf.Tensor
    place: tf.Tensor


def cut_windows(lengths: tf.Tensor, size: int) -> Windows:
    """Cut texts into windows of `size` tokens; a text without tokens has none.

    Args:
        lengths: int64 (B,), the tokens of each text.
        size: of a window, special tokens not counted; at least 1.

    Example: one text of 7 tokens, size 4, so an overlap of 1: windows 0-3 and 3-6; token 3 has three neighbours on
    one side in either, and belongs to the second.
    """
    overlap = size // _OVERLAP
    stride = size - overlap
    counts = tf.where(lengths > 0, tf.maximum(-(-(lengths - overlap) // stride), 1), 0)  # windows of each text
    firsts = tf.cumsum(counts, exclusive=True)
    text_starts = tf.cumsum(lengths, exclusive=True)
    text, number = _repeat(counts)
    begins = tf.gather(text_starts, text) + number * stride
    limits = tf.gather(text_starts + lengths, text)
    tokens = tf.ragged.range(begins, tf.minimum(begins + size, limits))
    text, position = _repeat(lengths)
    number = tf.clip_by_value((position - overlap // 2) // stride, 0, tf.gather(counts, text) - 1)
    return Windows(tokens, tf.gather(firsts, text) + number, position - number * stride)


def _repeat(counts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For counts 2, 0, 3: the rows 0 0 2 2 2 and the numbers within them 0 1 0 1 2."""
    rows = tf.repeat(tf.range(tf.size(counts, tf.int64)), counts)
    return rows, tf.range(tf.size(rows, tf.int64)) - tf.gather(tf.cumsum(counts, exclusive=True), rows)
