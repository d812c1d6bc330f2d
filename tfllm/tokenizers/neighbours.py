"""What stands beside each of a sequence of values, and in which row each stands."""

import tensorflow as tf


def before(values: tf.Tensor, places: int, nothing) -> tf.Tensor:
    """The value `places` before each of (N,); `nothing` at the beginning. Example: 5 6 7 -> nothing 5 6."""
    return tf.concat([tf.fill([places], nothing), values], axis=0)[: tf.size(values)]


def after(values: tf.Tensor, places: int, nothing) -> tf.Tensor:
    """The value `places` after each of (N,); `nothing` at the end. Example: 5 6 7 -> 6 7 nothing."""
    return tf.concat([values, tf.fill([places], nothing)], axis=0)[places:]


def row_numbers(ragged: tf.RaggedTensor) -> tf.Tensor:
    """The row of each value: int64 (N,).

    `RaggedTensor.value_rowids` needs memory for rows times the longest row; this one for the values only.
    """
    size = tf.size(ragged.flat_values, tf.int64)
    begins = tf.scatter_nd(ragged.row_starts()[:, tf.newaxis], tf.ones_like(ragged.row_starts()), [size + 1])
    return tf.cumsum(begins[:-1]) - 1


def places_in_runs(begins: tf.Tensor) -> tf.Tensor:
    """How many values of its run stand before each: int64 (N,) of bool (N,), True where a run begins; the first is.

    Example: True True False False True -> 0 0 1 2 0.
    """
    firsts = tf.where(begins)[:, 0]
    return tf.range(tf.size(begins, tf.int64)) - tf.gather(firsts, tf.cumsum(tf.cast(begins, tf.int32)) - 1)
