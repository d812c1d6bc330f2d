"""What stands between the matrix products of a decoder block, each part written once and run in two ways.

In training on TensorFlow a part is a compiled island with the arithmetic of `tfllm.islands`; everywhere else it is
`keras.ops`. The numbers are the same; dropout differs, which the islands take from a hash.
Shapes: B batch, T tokens, S tokens seen, D hidden_dim, H heads, G heads of keys and values, K head width.
"""

import functools
import math
from types import SimpleNamespace
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm import islands
from tfllm.models.encoder import ACTIVATIONS

NORMS = ("layer", "rms")
GATED = {"swiglu": ACTIVATIONS["silu"], "geglu": ACTIVATIONS["gelu_tanh"]}


class RotaryScaling(NamedTuple):
    """Rotary positions of a model that was trained on texts of `original_length` tokens and then went on to longer.

    Waves that turn more than `high_frequency_factor` times in the original length stay as they are; those that turn
    less than `low_frequency_factor` times become `factor` times as long; between the two there is a smooth way.

    Source: Grattafiori et al. 2024, arXiv:2407.21783, section 3.4.2, and the published code of Llama 3.1.
    """

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_length: int


def _float32(x):
    return ops.cast(x, "float32")


def _standardized(x, epsilon):
    x = x - ops.mean(x, axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + epsilon)


def _scaled_to_unit(x, epsilon):
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + epsilon)


def _softmax(x):
    if keras.backend.backend() != "tensorflow":
        return ops.softmax(x)
    if x.shape[-2] == 1:
        return tf.exp(tf.nn.log_softmax(x))  # one token a row: see `row_products`
    return tf.nn.softmax(x)  # Keras's own warns of rows of one token


def _dropout(x, seed, rate):
    return keras.random.dropout(x, rate, seed=seed) if rate and seed is not None else x


_PLAIN = SimpleNamespace(  # the names of `tfllm.islands`
    float32=_float32,
    softmax=_softmax,
    standardized=_standardized,
    scaled_to_unit=_scaled_to_unit,
    plus_vector=ops.add,
    times_vector=ops.multiply,
    dropout=_dropout,
)


def _part(function):
    """`function(arithmetic, *tensors, **settings)` -> the same without arithmetic, and with `compiled`: a bool."""
    island = islands.island(functools.partial(function, islands))

    @functools.wraps(function)
    def call(*tensors, compiled, **settings):
        return island(*tensors, **settings) if compiled else function(_PLAIN, *tensors, **settings)

    return call


def dot(x, y):
    """x times y transposed: (..., M, I), (..., N, I) -> (..., M, N)."""
    if keras.backend.backend() == "tensorflow":
        return tf.matmul(x, y, transpose_b=True)  # without a copy of y
    return ops.matmul(x, ops.swapaxes(y, -1, -2))


def row_products(rows, matrices, *, transposed=False):
    """Of every row, (B, H, 1, I), its product with a matrix: (B, G, I, O), or (B, G, O, I) transposed -> (B, H, 1, O).

    H / G rows share a matrix. For steps of one token on TensorFlow: oneDNN, which `tf.matmul` of batches calls, hands
    even these few numbers to another thread, which takes ten times as long as the product. This operation does not.
    """
    heads, groups = rows.shape[1], matrices.shape[1]
    if heads != groups:
        rows = tf.reshape(rows, (-1, groups, heads // groups, 1, tf.shape(rows)[3]))
        matrices = matrices[:, :, tf.newaxis]
    y = tf.raw_ops.BatchMatMulV3(x=rows, y=matrices, Tout=rows.dtype, adj_y=transposed)
    return y if heads == groups else tf.reshape(y, (-1, heads, 1, tf.shape(y)[-1]))


@_part
def normalized(m, x, gamma, *beta, kind, epsilon):
    """(..., D), (D,)[, (D,)] -> (..., D): mean 0 and variance 1 with "layer", mean square 1 with "rms", then scaled."""
    y = m.float32(x)
    y = m.standardized(y, epsilon) if kind == "layer" else m.scaled_to_unit(y, epsilon)
    y = m.times_vector(y, m.float32(gamma))
    return ops.cast(m.plus_vector(y, m.float32(beta[0])) if beta else y, x.dtype)


@_part
def split_heads(m, x, positions, *vectors, heads, groups, rotary_base, rotary_scaling, norm_epsilon=None):
    """(B, T, (H + 2G) K), int (B, T), vectors -> query (B, H, T, K), key and value (B, G, T, K).

    The vectors are a bias, ((H + 2G) K,), if there is one; and with a `norm_epsilon` two scales, (K,), of queries and
    of keys, which are then brought to mean square 1, head by head. With a `rotary_base` both are turned by their
    positions.
    """
    *bias, query_scale, key_scale = (*vectors, None, None) if norm_epsilon is None else vectors
    _, length, width = ops.shape(x)
    y = m.float32(x)
    if bias:
        y = m.plus_vector(y, m.float32(bias[0]))
    parts = heads + 2 * groups
    y = ops.transpose(ops.reshape(y, (-1, length, parts, width // parts)), (0, 2, 1, 3))  # (B, H + 2G, T, K)
    turning, value = ops.split(y, [heads + groups], axis=1)
    if norm_epsilon is not None:
        query, key = ops.split(m.scaled_to_unit(turning, norm_epsilon), [heads], axis=1)
        query, key = m.times_vector(query, m.float32(query_scale)), m.times_vector(key, m.float32(key_scale))
        turning = ops.concatenate([query, key], axis=1)
    if rotary_base:
        turning = _turned(turning, positions, rotary_base, rotary_scaling)
    query, key = ops.split(turning, [heads], axis=1)
    return tuple(ops.cast(part, x.dtype) for part in (query, key, value))


@_part
def into_heads(m, x, *bias, heads, parts):
    """(B, T, parts N K)[, (parts N K,)] -> as many tensors (B, N, T, K), N `heads` each."""
    rows, length, width = ops.shape(x)
    y = m.float32(x)
    if bias:
        y = m.plus_vector(y, m.float32(bias[0]))
    y = ops.transpose(ops.reshape(y, (rows, length, parts * heads, width // (parts * heads))), (0, 2, 1, 3))
    return tuple(ops.cast(part, x.dtype) for part in ops.split(y, parts, axis=1))


def _turned(x, positions, base, scaling):
    """Rotary positions: float32 (B, N, T, K), int (B, T) -> (B, N, T, K).

    Source: Su et al. 2021, arXiv:2104.09864, section 3.4.2. Differs: a pair is (i, i + K/2), as published checkpoints
    have it.
    """
    rates = np.asarray(rotary_rates(x.shape[-1], base, scaling), "float32")
    angles = ops.cast(positions, "float32")[:, None, :, None] * rates  # (B, 1, T, K/2)
    cosines, sines = ops.cos(angles), ops.sin(angles)
    first, second = ops.split(x, 2, axis=-1)
    return ops.concatenate([first * cosines - second * sines, second * cosines + first * sines], axis=-1)


def rotary_rates(width: int, base: float, scaling: RotaryScaling | None = None) -> np.ndarray:
    """By how much each pair of a head of `width` numbers turns from one position to the next, in radians: (K/2,).

    Example: width 4, base 100 -> 1, 0.1.
    """
    half = width // 2
    rates = base ** -(np.arange(half) / half)
    if scaling is None:
        return rates
    turns = scaling.original_length * rates / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return rates * (kept + (1 - kept) / scaling.factor)


@_part
def attention_weights(m, scores, visible, seed, *, scale, rate):
    """Softmax over the keys that are visible, with dropout; (B, H, T, S), int (B, T, S) -> (B, H, T, S).

    In place of `visible` there may be what is added to the scores, float (B, H, T, S).
    """
    logits = m.float32(scores) * scale
    logits = logits + m.float32(visible) if len(visible.shape) == 4 else ops.where(visible[:, None] != 0, logits, -1e30)
    return ops.cast(m.dropout(m.softmax(logits), seed, rate), scores.dtype)


@_part
def merge_heads(m, x):
    """(B, H, T, K) -> (B, T, HK)."""
    _, heads, length, width = ops.shape(x)
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length, heads * width))


@_part
def activated(m, x, *bias, activation):
    """(B, T, F)[, (F,)] -> (B, T, F); of a gated activation (B, T, 2F), gates first, -> (B, T, F)."""
    y = m.float32(x)
    if bias:
        y = m.plus_vector(y, m.float32(bias[0]))
    if activation in GATED:
        gate, y = ops.split(y, 2, axis=-1)
        if activation == "swiglu" and y.shape[1] == 1:
            y = ops.sigmoid(gate) * (gate * y)  # one token a row: oneDNN's x * sigmoid(x) is as its small products
        else:
            y = GATED[activation](gate) * y
    else:
        y = ACTIVATIONS[activation](y)
    return ops.cast(y, x.dtype)


@_part
def added(m, x, residual, seed, *bias, rate):
    """The residual plus x with dropout: (B, T, D), (B, T, D), seed[, (D,)] -> (B, T, D)."""
    y = m.float32(x)
    if bias:
        y = m.plus_vector(y, m.float32(bias[0]))
    return ops.cast(m.dropout(y, seed, rate) + m.float32(residual), x.dtype)
