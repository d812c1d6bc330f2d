"""Attention that knows how far apart two tokens are: MPNet's bias on the scores, and the layer that takes it.

Shapes: B batch, T tokens, D hidden_dim, H heads, K head width, N buckets of distances.
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

    Call: same_text int32 (B, T, T) -> float32 (B, H, T, T); -1e30 between tokens of different texts.
    Source: Raffel et al. 2020, arXiv:1910.10683, section 2.1; Song et al. 2020, arXiv:2004.09297.
    """

    def __init__(self, num_buckets, num_heads, **kwargs):
        super().__init__(**kwargs)
        self.num_buckets, self.num_heads = num_buckets, num_heads
        self._bucket_of = bucket_of_distance(num_buckets // 2)

    def build(self, same_text_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_buckets, self.num_heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, same_text):
        places = ops.arange(ops.shape(same_text)[1])
        distances = places[None, :] - places[:, None]  # (T, T), from the query to the key
        buckets = ops.take(self._bucket_of, ops.minimum(ops.abs(distances), FARTHEST))
        buckets += ops.where(distances > 0, self.num_buckets // 2, 0)
        bias = ops.transpose(ops.take(ops.cast(self.embeddings, "float32"), buckets, axis=0), (2, 0, 1))  # (H, T, T)
        return ops.where(ops.equal(same_text, 1)[:, None], bias[None], _FORBIDDEN)

    def compute_output_spec(self, same_text):
        batch, tokens, _ = same_text.shape
        return keras.KerasTensor((batch, self.num_heads, tokens, tokens), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "num_buckets": self.num_buckets, "num_heads": self.num_heads}


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

        def call(x):
            return self._ordinary(x, attention_bias, training)

        return keras.remat(call)(inputs) if training and self.recomputes else call(inputs)

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
