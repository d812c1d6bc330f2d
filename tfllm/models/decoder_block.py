"""`DecoderBlock`: attention to earlier tokens and a feed-forward part, each with its residual.

Shapes: B batch, T tokens, S tokens seen, C places of a cache, D hidden_dim, H heads, G heads of keys and values,
K head width, F intermediate_dim.
"""

import keras
import tensorflow as tf
from keras import ops

from tfllm.islands import step_seed
from tfllm.models.decoder_parts import (
    GATED,
    RotaryScaling,
    activated,
    added,
    attention_weights,
    dot,
    merge_heads,
    normalized,
    row_products,
    split_heads,
)


@keras.saving.register_keras_serializable("tfllm")
class Normalization(keras.layers.Layer):
    """Layer normalisation ("layer": gamma and beta) or that by the root of the mean square ("rms": gamma alone).

    Call: float (..., D) -> float (..., D).
    Source: Ba et al. 2016, arXiv:1607.06450; Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, kind="rms", epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.epsilon = kind, epsilon

    def build(self, x_shape):
        self.gamma = self.add_weight(name="gamma", shape=(x_shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(x_shape[-1],)) if self.kind == "layer" else None

    def call(self, x, training=False):
        compiled = bool(training) and keras.backend.backend() == "tensorflow"
        vectors = (self.gamma,) if self.beta is None else (self.gamma, self.beta)
        y = normalized(x, *vectors, kind=self.kind, epsilon=self.epsilon, compiled=compiled)
        return tf.ensure_shape(y, x.shape) if compiled else y

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("tfllm")
class DecoderBlock(keras.layers.Layer):
    """One layer of a decoder.

    Args:
        num_heads, num_key_value_heads: H and G; H / G heads of queries share one of keys and values.
        head_dim: K.
        intermediate_dim: F.
        rotary_base: of rotary positions; None turns nothing by positions.
        rotary_scaling: of rotary positions; see `RotaryScaling`.
        norm_queries_and_keys: each head's queries and keys are brought to mean square 1 and scaled, before they turn.
        norm, norm_epsilon: see `Normalization`.
        activation: of the feed-forward part; "swiglu" and "geglu" are gated, with twice as wide a first matrix.
        biases: which dense parts have one: "all", "qkv" or "none".
        dropout: share of attention weights and of what is added to the residual dropped in training.
        normalize_first: normalise what goes into each part (pre-norm) or the sum after it.
        output_stddev: of the initial weights of the two matrices that write to the residual; 0.02 elsewhere.

    Call: (x float (B, T, D), visible int32 (B, T, S), positions int32 (B, T)) -> float (B, T, D). S is T; with a
    `cache`, keys and values (B, G, C, K), S is C, and those of the new token, T = 1, are first put at place `column`.
    With `return_cache` the keys and values, (B, G, S, K) each, come too.

    Source: Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245, for shared keys and values;
    Shazeer 2020, arXiv:2002.05202, for gated activations; Radford et al. 2019, section 2.3, for `output_stddev`;
    Henry et al. 2020, arXiv:2010.04245, for normalised queries and keys, here as Qwen 3 has them (arXiv:2505.09388).
    """

    recomputes = False  # see `recompute_activations`
    num_dropouts = 3

    def __init__(
        self,
        num_heads,
        num_key_value_heads,
        head_dim,
        intermediate_dim,
        rotary_base=10_000.0,
        norm="rms",
        norm_epsilon=1e-5,
        activation="swiglu",
        biases="none",
        dropout=0.0,
        normalize_first=True,
        output_stddev=0.02,
        rotary_scaling=None,
        norm_queries_and_keys=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads, self.num_key_value_heads, self.head_dim = num_heads, num_key_value_heads, head_dim
        self.intermediate_dim, self.activation, self.biases = intermediate_dim, activation, biases
        self.norm, self.norm_epsilon, self.normalize_first = norm, norm_epsilon, normalize_first
        self.rotary_base, self.dropout, self.output_stddev = rotary_base, dropout, output_stddev
        self.rotary_scaling = rotary_scaling and RotaryScaling(*rotary_scaling)
        self.norm_queries_and_keys = norm_queries_and_keys
        self.seed_generator = keras.random.SeedGenerator() if dropout else None
        self.attention_norm = Normalization(norm, norm_epsilon, dtype=self.dtype_policy, name="attention_norm")
        self.feedforward_norm = Normalization(norm, norm_epsilon, dtype=self.dtype_policy, name="feedforward_norm")
        self.query_norm, self.key_norm = (
            Normalization("rms", norm_epsilon, dtype=self.dtype_policy, name=name) if norm_queries_and_keys else None
            for name in ("query_norm", "key_norm")
        )

    def build(self, x_shape):
        width = x_shape[-1]
        queries, keys = self.num_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        hidden = self.intermediate_dim * (2 if self.activation in GATED else 1)
        everywhere = self.biases == "all"
        self.attention_input = self._dense("attention_input", width, queries + 2 * keys, self.biases != "none")
        self.attention_output = self._dense("attention_output", queries, width, everywhere, self.output_stddev)
        self.feedforward_input = self._dense("feedforward_input", width, hidden, everywhere)
        self.feedforward_output = self._dense(
            "feedforward_output", self.intermediate_dim, width, everywhere, self.output_stddev
        )
        for norm in (self.attention_norm, self.feedforward_norm):
            norm.build(x_shape)
        if self.norm_queries_and_keys:
            self.query_norm.build((None, self.head_dim))
            self.key_norm.build((None, self.head_dim))

    def _dense(self, name, inputs, outputs, use_bias, stddev=0.02):
        layer = keras.layers.Dense(
            outputs,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.RandomNormal(stddev=stddev),
            dtype=self.dtype_policy,
            name=name,
        )
        layer.build((None, None, inputs))
        return layer

    def call(self, x, visible, positions, *source, cache=None, column=None, return_cache=False, training=False):
        compiled = bool(training) and keras.backend.backend() == "tensorflow"
        count = self.num_dropouts
        if compiled:
            seeds = [step_seed(self.seed_generator) for _ in range(count)]
        else:
            seeds = [self.seed_generator if training else None] * count

        def forward(x, visible, positions, *others):
            source, seeds = others[:-count], others[-count:]
            return self._forward(x, visible, positions, source, seeds, compiled, cache, column)

        if training and self.recomputes:
            y = _recomputed(lambda *inputs: forward(*inputs)[0], compiled)(x, visible, positions, *source, *seeds)
        else:
            y, cache = forward(x, visible, positions, *source, *seeds)
        y = tf.ensure_shape(y, x.shape) if compiled else y
        return (y, cache) if return_cache else y

    def _forward(self, x, visible, positions, source, seeds, compiled, cache, column):
        x, cache = self._self_attention(x, visible, positions, seeds, compiled, cache, column)
        return self._feedforward(x, seeds[2], compiled), cache

    def _self_attention(self, x, visible, positions, seeds, compiled, cache, column):
        def attend(x):
            nonlocal cache
            y, cache = self._attend(x, visible, positions, seeds[0], compiled, cache, column)
            return y

        return self._residual(x, attend, self.attention_norm, self.attention_output, seeds[1], compiled), cache

    def _feedforward(self, x, seed, compiled):
        def feed(x):
            inner = self.feedforward_input
            return activated(product(x, inner), *bias_of(inner), activation=self.activation, compiled=compiled)

        return self._residual(x, feed, self.feedforward_norm, self.feedforward_output, seed, compiled)

    def _residual(self, x, part, norm, output, seed, compiled):
        y = part(norm(x, training=compiled) if self.normalize_first else x)
        y = added(product(y, output), x, seed, *bias_of(output), rate=self.dropout, compiled=compiled)
        return y if self.normalize_first else norm(y, training=compiled)

    def _attend(self, x, visible, positions, seed, compiled, cache, column):
        """(B, T, D) -> the heads' outputs (B, T, HK), and the keys and values they saw, (B, G, S, K) each."""
        heads, groups = self.num_heads, self.num_key_value_heads
        inner = self.attention_input
        settings = {"heads": heads, "groups": groups, "compiled": compiled}
        settings |= {"rotary_base": self.rotary_base, "rotary_scaling": self.rotary_scaling}
        scales = ()
        if self.norm_queries_and_keys:
            scales = self.query_norm.gamma, self.key_norm.gamma
            settings["norm_epsilon"] = self.norm_epsilon
        query, key, value = split_heads(product(x, inner), positions, *bias_of(inner), *scales, **settings)
        if cache is not None:
            key, value = (put_column(old, new, column) for old, new in zip(cache, (key, value), strict=True))
        return self._weighted(query, key, value, visible, seed, compiled), (key, value)

    def _weighted(self, query, key, value, visible, seed, compiled):
        """(B, H, T, K), (B, G, S, K) twice, int (B, T, S) -> the heads' outputs, (B, T, HK)."""
        heads, groups, width = self.num_heads, self.num_key_value_heads, self.head_dim
        if _is_step(query):
            scores = row_products(query, key, transposed=True)
            weights = attention_weights(scores, visible, seed, scale=width**-0.5, rate=self.dropout, compiled=compiled)
            return merge_heads(row_products(weights, value), compiled=compiled)
        length = ops.shape(query)[2]
        rows = (-1, groups, heads // groups * length, width)  # the queries that share keys, as one matrix
        scores = ops.reshape(dot(ops.reshape(query, rows), key), (-1, heads, length, ops.shape(key)[2]))
        weights = attention_weights(scores, visible, seed, scale=width**-0.5, rate=self.dropout, compiled=compiled)
        weights = ops.reshape(weights, (-1, groups, heads // groups * length, ops.shape(key)[2]))
        outputs = ops.reshape(ops.matmul(weights, value), (-1, heads, length, width))
        return merge_heads(outputs, compiled=compiled)

    def compute_output_shape(self, x_shape, *others):
        return x_shape

    def get_config(self):
        names = ("num_heads", "num_key_value_heads", "head_dim", "intermediate_dim", "rotary_base", "norm")
        names += ("norm_epsilon", "activation", "biases", "dropout", "normalize_first", "output_stddev")
        names += ("rotary_scaling", "norm_queries_and_keys")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def put_column(cache, new, column):
    """(B, G, C, K) with the one token of (B, G, 1, K) at place `column`: on TensorFlow by an op TF Serving has."""
    if keras.backend.backend() != "tensorflow":
        return ops.slice_update(cache, (0, 0, column, 0), new)
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=cache,
        begin=[0, 0, column, 0],
        end=[0, 0, column + 1, 0],
        strides=[1, 1, 1, 1],
        value=new,
        begin_mask=0b1011,  # axes of which all is meant
        end_mask=0b1011,
    )


def _is_step(query):
    """Whether there is one token a row, in numbers for which TensorFlow has `row_products` on every device."""
    return keras.backend.backend() == "tensorflow" and query.shape[2] == 1 and query.dtype == "float32"


def product(x, layer):
    """(B, T, I), a dense layer's matrix (I, O) -> (B, T, O)."""
    kernel = layer.kernel
    rows = ops.matmul(ops.reshape(x, (-1, kernel.shape[0])), ops.cast(kernel, x.dtype))
    return ops.reshape(rows, (-1, ops.shape(x)[1], kernel.shape[1]))  # of one token a row: no shape is computed


def bias_of(layer):
    return () if layer.bias is None else (layer.bias,)


def _recomputed(function, compiled):
    """`function(*tensors)`, which keeps nothing for the way back but what goes in."""
    return tf.recompute_grad(function) if compiled else keras.remat(function)
