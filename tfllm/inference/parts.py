"""A model over many rows, some at a time: long texts become many windows, and take time instead of memory."""

from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    import keras

_ROWS = 32


def in_parts(model: "keras.Model", inputs: dict[str, tf.Tensor]) -> tf.Tensor:
    """What the model, which has one output, gives for these rows.

    Args:
        inputs: int32 (W, T) each; W may be 0.
    """
    rows = tf.shape(next(iter(inputs.values())))[0]
    parts = tf.maximum(-(-rows // _ROWS), 1)
    found = tf.TensorArray(tf.float32, parts, infer_shape=False, element_shape=model.output.shape)

    def read(number, found):
        part = {name: tensor[number * _ROWS : (number + 1) * _ROWS] for name, tensor in inputs.items()}
        return number + 1, found.write(number, model(part, training=False))

    _, found = tf.while_loop(lambda number, found: number < parts, read, (0, found), parallel_iterations=1)
    return found.concat()
