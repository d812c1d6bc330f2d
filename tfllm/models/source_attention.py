"""What a decoder block needs to see a source: the source's keys and values, and a block with one more attention.

Shapes: B batch, T tokens, S tokens of the source, D hidden_dim, H heads, G heads of keys and values, K head width.
"""

import keras
import tensorflow as tf

from tfllm.models.decoder_block import DecoderBlock, Normalization, bias_of, product
from tfllm.models.decoder_parts import into_heads


@keras.saving.register_keras_serializable("tfllm")
class SourceKeys(keras.layers.Layer):
    """Keys and values of the source for one decoder block: computed once, however many tokens are written.

    Args:
        num_heads, head_dim: G and K.
        use_bias: whether the projection has one.

    Call: encoded float (B, S, D) -> keys and values, float (B, G, S, K) each.
    """

    def __init__(self, num_heads, head_dim, use_bias=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.head_dim, self.use_bias = num_heads, head_dim, use_bias

    def build(self, encoded_shape):
        self.dense = keras.layers.Dense(
            2 * self.num_heads * self.head_dim,
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.dense.build(encoded_shape)

    def call(self, encoded, training=False):
        compiled = bool(training) and keras.backend.backend() == "tensorflow"
        found = into_heads(
            product(encoded, self.dense), *bias_of(self.dense), heads=self.num_heads, parts=2, compiled=compiled
        )
        shape = (encoded.shape[0], self.num_heads, encoded.shape[1], self.head_dim)
        return tuple(tf.ensure_shape(part, shape) for part in found) if compiled else found

    def compute_output_shape(self, encoded_shape):
        shape = (encoded_shape[0], self.num_heads, encoded_shape[1], self.head_dim)
        return shape, shape

    def get_config(self):
        names = ("num_heads", "head_dim", "use_bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("tfllm")
class SourceDecoderBlock(DecoderBlock):
    """A `DecoderBlock` that also attends to a source, after its own tokens and before the feed-forward part.

    Arguments as for `DecoderBlock`.

    Call: (x float (B, T, D), visible int32 (B, T, T), positions int32 (B, T), keys, values float (B, G, S, K) of
    `SourceKeys`, source_visible int32 (B, T, S)) -> float (B, T, D). A `cache` is as that of a `DecoderBlock`.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.1.
    """

    num_dropouts = 5

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.source_norm = Normalization(self.norm, self.norm_epsilon, dtype=self.dtype_policy, name="source_norm")

    def build(self, x_shape):
        super().build(x_shape)
        width, queries = x_shape[-1], self.num_heads * self.head_dim
        self.source_query = self._dense("source_query", width, queries, self.biases != "none")
        self.source_output = self._dense("source_output", queries, width, self.biases == "all", self.output_stddev)
        self.source_norm.build(x_shape)

    def _forward(self, x, visible, positions, source, seeds, compiled, cache, column):
        x, cache = self._self_attention(x, visible, positions, seeds, compiled, cache, column)
        x = self._source_attention(x, *source, seeds[3:], compiled)
        return self._feedforward(x, seeds[2], compiled), cache

    def _source_attention(self, x, keys, values, source_visible, seeds, compiled):
        def attend(x):
            inner = self.source_query
            (query,) = into_heads(product(x, inner), *bias_of(inner), heads=self.num_heads, parts=1, compiled=compiled)
            return self._weighted(query, keys, values, source_visible, seeds[0], compiled)

        return self._residual(x, attend, self.source_norm, self.source_output, seeds[1], compiled)
