"""Small layers the builders need and Keras does not have, written in backend-neutral `keras.ops`.

Shapes: B batch, T tokens, D hidden_dim, M masked positions, V vocabulary.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm import islands
from tfllm.checks import InputError


@keras.saving.register_keras_serializable("tfllm")
class SameText(keras.layers.Layer):
    """Which tokens may attend to each other: those of the same text.

    A row may hold several packed texts: `padding_mask` is 0 on padding and k on the k-th text of the row, so an
    unpacked row holds only 0 and 1. Padding attends to padding, which changes no real token.

    Call: padding_mask int32 (B, T) -> int32 (B, T, T), 1 where query and key stand in the same text.
    Example: [1, 1, 2, 0] -> rows [1 1 0 0], [1 1 0 0], [0 0 1 0], [0 0 0 1].
    """

    def call(self, padding_mask):
        return ops.cast(ops.equal(padding_mask[:, :, None], padding_mask[:, None, :]), "int32")


@keras.saving.register_keras_serializable("tfllm")
class Sinusoids(keras.initializers.Initializer):
    """Position embeddings to begin with: sines and cosines of many wavelengths, of the given root mean square.

    From them attention finds neighbours at once; from random numbers a small masked language model first learns, for
    thousands of steps, which positions are next to each other (docs/experiments.md).

    Called with the shape (positions, D).
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5. Differs: scaled; where learning begins, not fixed.
    """

    def __init__(self, stddev: float = 0.02):
        self.stddev = stddev

    def __call__(self, shape, dtype=None):
        positions, width = shape
        rates = 10_000.0 ** -(np.arange(-(-width // 2)) / (width / 2))
        angles = np.arange(positions)[:, None] * rates
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(positions, -1)[:, :width]
        return ops.convert_to_tensor(table * self.stddev * math.sqrt(2), dtype or keras.config.floatx())

    def get_config(self):
        return {"stddev": self.stddev}


@keras.saving.register_keras_serializable("tfllm")
class TextPositionEmbedding(keras.layers.Layer):
    """Learned position embeddings that begin again at 0 with every packed text.

    A token's position is the number of earlier tokens of the same text.

    Call: same_text int32 (B, T, T) -> float (B, T, D).
    Example: padding_mask [1, 1, 2, 2, 2] has positions [0, 1, 0, 1, 2].
    Source: Devlin et al. 2019, arXiv:1810.04805, figure 2. Differs: packed texts; one text per row gives the same.
    """

    def __init__(self, max_sequence_length, hidden_dim, initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length
        self.hidden_dim = hidden_dim
        self.initializer = keras.initializers.get(initializer)

    def build(self, same_text_shape):
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.max_sequence_length, self.hidden_dim), initializer=self.initializer
        )

    def call(self, same_text):
        length = same_text.shape[-1]
        if length is not None and length > self.max_sequence_length:
            raise InputError(
                "Rows must not be longer than the model's `max_sequence_length`, which has no position beyond it. "
                f"Received: rows of {length} tokens, max_sequence_length={self.max_sequence_length}."
            )
        positions = ops.sum(ops.tril(same_text, k=-1), axis=-1)  # (B, T)
        return ops.cast(ops.take(self.embeddings, positions, axis=0), self.compute_dtype)

    def compute_output_shape(self, same_text_shape):
        return (*same_text_shape[:2], self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "max_sequence_length": self.max_sequence_length,
            "hidden_dim": self.hidden_dim,
            "initializer": keras.initializers.serialize(self.initializer),
        }


@keras.saving.register_keras_serializable("tfllm")
class SumNormDropout(keras.layers.LayerNormalization):
    """The sum of the inputs, normalised, with dropout: one compiled island in training on TensorFlow.

    Args:
        rate: share of the outputs dropped in training, 0 to 1.
        **kwargs: those of `keras.layers.LayerNormalization`, over the last axis.

    Call: list of float (..., D) -> float (..., D).
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator() if rate else None
        self.supports_masking = False

    def build(self, input_shapes):
        super().build(input_shapes[0])

    def call(self, inputs, training=False):
        if training and keras.backend.backend() == "tensorflow":
            seed = islands.step_seed(self.seed_generator)
            y = _sum_norm_dropout(seed, self.gamma, self.beta, *inputs, rate=self.rate, epsilon=self.epsilon)
            return tf.ensure_shape(y, inputs[0].shape)
        normalized = super().call(sum(inputs[1:], start=inputs[0]))
        if training and self.rate:
            normalized = keras.random.dropout(normalized, self.rate, seed=self.seed_generator)
        return normalized

    def compute_output_shape(self, input_shapes):
        return input_shapes[0]

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


@islands.island
def _sum_norm_dropout(seed, gamma, beta, *parts, rate, epsilon):
    total = islands.float32(parts[0])
    for part in parts[1:]:
        total += islands.float32(part)
    scaled = islands.times_vector(islands.standardized(total, epsilon), islands.float32(gamma))
    y = islands.plus_vector(scaled, islands.float32(beta))
    return tf.cast(islands.dropout(y, seed, rate), parts[0].dtype)


@keras.saving.register_keras_serializable("tfllm")
class GatherPositions(keras.layers.Layer):
    """The hidden states at given positions.

    A product with one-hot rows instead of a gather: its gradient is a product too, where a gather's is a scatter.

    Call: (hidden float (B, T, D), positions int32 (B, M)) -> float (B, M, D).
    """

    def call(self, hidden, positions):
        selection = ops.one_hot(positions, ops.shape(hidden)[1], dtype=self.compute_dtype)  # (B, M, T)
        return ops.matmul(selection, hidden)

    def compute_output_shape(self, hidden_shape, positions_shape):
        return (*positions_shape, hidden_shape[-1])


@keras.saving.register_keras_serializable("tfllm")
class VocabularyBias(keras.layers.Layer):
    """One learned number per vocabulary entry, added to the logits in float32.

    Call: float (..., V) -> float32 (..., V).
    """

    def build(self, logits_shape):
        self.bias = self.add_weight(name="bias", shape=(logits_shape[-1],), initializer="zeros")

    def call(self, logits):
        return ops.cast(logits, "float32") + ops.cast(self.bias, "float32")

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape, dtype="float32")


@keras.saving.register_keras_serializable("tfllm")
class MeanOfTokens(keras.layers.Layer):
    """The mean hidden state of a row's real tokens; 0 for a row of padding.

    Call: (hidden float (B, T, D), padding_mask int32 (B, T)) -> float (B, D).
    """

    def call(self, hidden, padding_mask):
        real = ops.cast(ops.greater(padding_mask, 0), self.compute_dtype)[:, None, :]  # (B, 1, T)
        total = ops.matmul(real, hidden)[:, 0]  # (B, D)
        return total / ops.maximum(ops.sum(real, axis=-1), 1)

    def compute_output_shape(self, hidden_shape, padding_mask_shape):
        return (hidden_shape[0], hidden_shape[-1])


@keras.saving.register_keras_serializable("tfllm")
class TextVectors(keras.layers.Layer):
    """One vector for each text of a packed row; 0 where there is no such text.

    Args:
        texts_per_row: S, for how many texts.
        pooling: "mean" of a text's tokens, or "cls", its first token.

    Call: (hidden float (B, T, D), padding_mask int32 (B, T)) -> float (B, S, D).
    """

    def __init__(self, texts_per_row, pooling, **kwargs):
        super().__init__(**kwargs)
        self.texts_per_row, self.pooling = texts_per_row, pooling

    def call(self, hidden, padding_mask):
        return _text_vectors(hidden, padding_mask, self.texts_per_row, self.pooling)

    def compute_output_shape(self, hidden_shape, padding_mask_shape):
        return (hidden_shape[0], self.texts_per_row, hidden_shape[-1])

    def get_config(self):
        return {**super().get_config(), "texts_per_row": self.texts_per_row, "pooling": self.pooling}


@keras.saving.register_keras_serializable("tfllm")
class ComparedTexts(keras.layers.Layer):
    """What tells how two texts differ: the mean hidden states u and v of segments 0 and 1, |u - v| and u * v.

    Args:
        texts_per_row: S, for how many pairs; None = a row is one pair, and the output has no axis for it.

    Call: (hidden float (B, T, D), segment_ids int32 (B, T), padding_mask int32 (B, T)) -> float (B, S, 4D) or (B, 4D).
    """

    def __init__(self, texts_per_row=None, **kwargs):
        super().__init__(**kwargs)
        self.texts_per_row = texts_per_row

    def call(self, hidden, segment_ids, padding_mask):
        # The two texts of pair k are numbers 2k - 1 and 2k, as if each were a text of its own.
        numbers = ops.where(padding_mask > 0, 2 * padding_mask - 1 + segment_ids, 0)
        pairs = self.texts_per_row or 1
        means = _text_vectors(hidden, numbers, 2 * pairs, "mean")
        means = ops.reshape(means, (-1, pairs, 2, hidden.shape[-1]))
        first, second = means[:, :, 0], means[:, :, 1]  # (B, S, D)
        features = ops.concatenate([first, second, ops.abs(first - second), first * second], axis=-1)
        return features if self.texts_per_row else features[:, 0]

    def compute_output_shape(self, hidden_shape, segment_ids_shape, padding_mask_shape):
        width = 4 * hidden_shape[-1]
        return (hidden_shape[0], self.texts_per_row, width) if self.texts_per_row else (hidden_shape[0], width)

    def get_config(self):
        return {**super().get_config(), "texts_per_row": self.texts_per_row}


@keras.saving.register_keras_serializable("tfllm")
class SecondTexts(keras.layers.Layer):
    """Which tokens belong to the second text of a pair, where it is the separators that tell and not the segments.

    In `[CLS] first [SEP] [SEP] second [SEP]` there are three separators, and the second text begins after two of them.

    Args:
        separator_id: of [SEP].

    Call: token_ids int32 (B, T), of one pair or several a row -> int32 (B, T): 1 for the second text and its [SEP].
    """

    def __init__(self, separator_id, **kwargs):
        super().__init__(**kwargs)
        self.separator_id = separator_id

    def call(self, token_ids):
        separators = ops.cast(ops.equal(token_ids, self.separator_id), "int32")
        before = ops.cumsum(separators, axis=1) - separators
        return ops.cast(ops.equal(before % 3, 2), "int32")

    def compute_output_spec(self, token_ids):
        return keras.KerasTensor(token_ids.shape, "int32")

    def get_config(self):
        return {**super().get_config(), "separator_id": self.separator_id}


@keras.saving.register_keras_serializable("tfllm")
class ScaledScore(keras.layers.Layer):
    """A score in the user's unit from a number around 0.

    Args:
        output_range: (low, high): low + (high - low) * sigmoid(number). None: mean + deviation * number.
        mean, deviation: used without a range.

    Call: float (...) -> float (...).
    """

    def __init__(self, output_range=None, mean=0.0, deviation=1.0, **kwargs):
        super().__init__(**kwargs)
        self.output_range, self.mean, self.deviation = output_range, mean, deviation

    def call(self, numbers):
        if self.output_range is None:
            return self.mean + self.deviation * numbers
        low, high = self.output_range
        return low + (high - low) * ops.sigmoid(numbers)

    def get_config(self):
        return {
            **super().get_config(),
            "output_range": self.output_range,
            "mean": self.mean,
            "deviation": self.deviation,
        }


@keras.saving.register_keras_serializable("tfllm")
class UnitLength(keras.layers.Layer):
    """Vectors made 1 long along the last axis; 0 stays 0, and its gradient a number (that of Keras's is not).

    Call: float (..., D) -> float (..., D).
    """

    def call(self, vectors):
        return vectors * ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))


def _text_vectors(hidden, padding_mask, texts: int, pooling: str):
    """float (B, texts, D): the mean of each text's hidden states, or its first one; 0 where there is no such text."""
    numbers = ops.arange(1, texts + 1, dtype="int32")[:, None]  # (S, 1)
    chosen = ops.equal(padding_mask[:, None, :], numbers)  # (B, S, T)
    if pooling == "cls":
        before = ops.pad(padding_mask[:, :-1], ((0, 0), (1, 0)))
        chosen = ops.logical_and(chosen, ops.not_equal(padding_mask, before)[:, None, :])
    chosen = ops.cast(chosen, hidden.dtype)
    return ops.matmul(chosen, hidden) / ops.maximum(ops.sum(chosen, axis=-1, keepdims=True), 1)
