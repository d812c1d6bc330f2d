"""`NextLogits`: the last product of a model that writes, with the matrix laid out for many small products.

B rows, D hidden_dim, V vocabulary.
"""

import keras
import tensorflow as tf

# Numbers of a matrix that is turned. Turning a larger one costs more than a short text saves, and its room twice.
_MOST = 2**24


class NextLogits:
    """The logits of the next token by a `TokenEmbedding`, whose table, (V, D), is turned once for all tokens of a text.

    The product of a few rows with a (D, V) matrix takes half to two thirds of the time of one with a (V, D) table.
    The turned matrix stands at the end of the cache that goes from step to step; a matrix of its own (D, V), or a large
    table, is used as it is.
    """

    def __init__(self, embedding: keras.layers.Layer):
        self._embedding = embedding
        self._turns = embedding.tie_weights and embedding.input_dim * embedding.output_dim <= _MOST

    def prepared(self) -> list[tuple[tf.Tensor]]:
        """What goes to the end of the cache."""
        if not self._turns:
            return []
        table = keras.ops.convert_to_tensor(self._embedding.embeddings)
        return [(tf.cast(tf.transpose(table), self._embedding.compute_dtype),)]

    def parted(self, cache: list) -> tuple[list, list]:
        """The cache without what `prepared` put at its end, and that."""
        end = len(cache) - self._turns
        return list(cache[:end]), list(cache[end:])

    def __call__(self, hidden: tf.Tensor, prepared: list) -> tf.Tensor:
        """float (B, D), what `prepared` gave -> float32 (B, V)."""
        if not self._turns:
            return self._embedding(hidden, reverse=True)
        ((matrix,),) = prepared
        logits = tf.cast(tf.matmul(tf.cast(hidden, matrix.dtype), matrix), tf.float32)
        bias = getattr(self._embedding, "bias", None)
        return logits if bias is None else logits + keras.ops.convert_to_tensor(bias)
