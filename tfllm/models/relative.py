"""Attention that knows how far apart two tokens are: MPNet's or T5's bias on the scores, and the layer that takes it.

Shapes: B batch, T tokens, S tokens seen, D hidden_dim, H heads, K head width, N buckets of distances.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm.islands import dropout, float32, island, softmax
from tfllm.models.transformer import TransformerEncoder

FARTHEST = 128  # distances from here on share a bucket
_FORBIDDEN = -1e30


@keras.saving.register_keras_serializable("tfllm")
class RelativePositionBias(keras.layers.Layer):
    """A learned number for each head and each distance between two tokens, to be added to their attention score.

    Half of the buckets are for what stands before a token, half for what stands after it; of each, half hold one
    distance, the others more and more of them.

    Args:
        num_buckets: N, even.
        num_heads: H.
        both_directions: False: all buckets are for what stands before a token, which sees nothing after it.

    Call: (visible int32 (B, T, S), 1 where a token sees another; first int, the place of the first of the T tokens
    among the S) -> float32 (B, H, T, S); -1e30 where it does not.
    Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1; Song et al. 2020, arXiv:2004.09297.
    """

    def __init__(self, num_buckets, num_heads, both_directions=True, **kwargs):
        super().__init__(**kwargs)
        self.num_buckets, self.num_heads, self.both_directions = num_buckets, num_heads, both_directions
        self._bucket_of = bucket_of_distance(num_buckets // 2 if both_directions else num_buckets)

    def build(self, visible_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, visible, first=0):
        _, tokens, seen = ops.shape(visible)
        distances = ops.arange(seen)[None, :] - ops.arange(tokens)[:, None] - first  # (T, S), from query to key
        if self.both_directions:
            buckets = ops.take(self._bucket_of, ops.minimum(ops.abs(distances), FARTHEST))
            buckets += ops.where(distances > 0, self.num_buckets // 2, 0)
        else:
            buckets = ops.take(self._bucket_of, ops.clip(-distances, 0, FARTHEST))
        bias = ops.transpose(ops.take(ops.cast(self.embeddings, "float32"), buckets, axis=0), (2, 0, 1))  # (H, T, S)
        return ops.where(ops.equal(visible, 1)[:, None], bias[None], _FORBIDDEN)

    def compute_output_spec(self, visible, first=0):
        batch, tokens, seen = visible.shape
        return keras.KerasTensor((batch, self.num_heads, tokens, seen), dtype="float32")

    def get_config(self):
        names = ("num_buckets", "num_heads", "both_directions")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def bucket_of_distance(num_buckets: int) -> np.ndarray:
    """The bucket of each distance from 0 to `FARTHEST`; int32.

    Example: of 16 buckets the first 8 hold the distances 0 to 7, the last one 113 and all beyond.
    """
    exact = num_buckets // 2
    distances = np.arange(FARTHEST + 1)
    share = np.log(np.maximum(distances, 1) / exact) / np.log(FARTHEST / exact)
    far = np.minimum(exact + (share.astype("float32") * (num_buckets - exact)).astype("int32"), num_buckets - 1)
    return np.where(distances < exact, distances, far).astype("int32")


@keras.saving.register_keras_serializable("tfllm")
class RelativeTransformerEncoder(TransformerEncoder):
    """`TransformerEncoder` (post-norm) whose attention scores get a bias.

    Call: (inputs float (B, T, D), attention_bias float32 (B, H, T, T)) -> float (B, T, D).
    """

    def call(self, inputs, attention_bias, training=None):
        if self._is_fast(inputs, training):
            return self._fast(inputs, attention_bias)

        def call(x, bias):
            return self._ordinary(x, bias, training)

        # Both as arguments: what a function to be computed again holds otherwise gets no gradient.
        return (keras.remat(call) if training and self.recomputes else call)(inputs, attention_bias)

    def _ordinary(self, x, bias, training):
        attention = self._self_attention_layer
        query, key, value = (dense(x) for dense in (attention.query_dense, attention.key_dense, attention.value_dense))
        scores = ops.einsum("bthk,bshk->bhts", query, key) * query.shape[-1] ** -0.5  # (B, H, T, T)
        weights = ops.softmax(ops.cast(scores, "float32") + bias)
        weights = attention._dropout_layer(ops.cast(weights, value.dtype), training=training)
        y = attention.output_dense(ops.einsum("bhts,bshk->bthk", weights, value))
        x = self._self_attention_layer_norm(x + self._self_attention_dropout(y, training=training))
        y = self._feedforward_output_dense(self._feedforward_intermediate_dense(x))
        return self._feedforward_layer_norm(x + self._feedforward_dropout(y, training=training))

    def _weights(self, scores, bias, seed, scale):
        return biased_attention_weights(scores, bias, seed, scale=scale, rate=self.dropout)

    def compute_output_shape(self, inputs_shape, attention_bias_shape):
        return inputs_shape


@island
def biased_attention_weights(scores, bias, seed, *, scale, rate):
    """Softmax over the keys, with dropout; (B, H, T, T), float32 (B, H, T, T) -> (B, H, T, T)."""
    return tf.cast(dropout(softmax(float32(scores) * scale + bias), seed, rate), scores.dtype)
