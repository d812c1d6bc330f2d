"""What a loop leaves: new tokens, how many, why each row ended, how probable it was.

Shapes: B rows, N new tokens of the longest row.
"""

from typing import NamedTuple

import tensorflow as tf

GOES_ON, STOP, LENGTH = range(3)  # why a row ended


class Written(NamedTuple):
    """What was written.

    Attributes:
        token_ids: int32 (B, N), the new tokens of each row, without the one that ended it; padding behind them.
        count: int32 (B,), how many they are.
        reason: int32 (B,), STOP (the model ended the text, or a stop string came), LENGTH, or GOES_ON before the end.
        log_prob: float32 (B,), the logarithm of the probability the model itself gives to the new tokens, the one that
            ended the text included.
    """

    token_ids: tf.Tensor
    count: tf.Tensor
    reason: tf.Tensor
    log_prob: tf.Tensor


def room_of(limits: tf.Tensor) -> tf.Tensor:
    """int32 scalar, N: the most tokens any row may have, at least 1."""
    return tf.maximum(tf.reduce_max(limits), 1)  # without any row the maximum is the lowest integer
