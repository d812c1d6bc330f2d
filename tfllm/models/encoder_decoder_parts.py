"""What an encoder-decoder does with token ids before its first block, and how its logits may be biased.

Shapes: B batch, T tokens, D hidden_dim, V vocabulary.
"""

import math

import keras
import numpy as np
from keras import ops

from tfllm.models.decoder import TokenEmbedding
from tfllm.models.decoder_block import Normalization
from tfllm.models.relative import RelativePositionBias


def embedding_layers(arguments: dict) -> dict[str, keras.layers.Layer]:
    """The layers between token ids and the first blocks, by name; those of the source begin with "source_".

    Args:
        arguments: all those of `build_encoder_decoder`.
    """
    hidden, positions = arguments["hidden_dim"], arguments["positions"]
    kind = BiasedTokenEmbedding if arguments["logits_bias"] else TokenEmbedding
    layers = [
        kind(
            arguments["vocabulary_size"],
            hidden,
            tie_weights=arguments["tie_embeddings"],
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="token_embedding",
        )
    ]
    if arguments["scale_embeddings"]:
        layers.append(keras.layers.Rescaling(math.sqrt(hidden), name="embedding_scale"))
    for prefix in ("source_", ""):
        if positions == "learned":
            layers.append(
                keras.layers.Embedding(
                    arguments["max_sequence_length"],
                    hidden,
                    embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
                    name=f"{prefix}position_embedding",
                )
            )
        elif positions == "sinusoidal":
            layers.append(SinusoidalPositions(hidden, name=f"{prefix}position_embedding"))
        elif positions == "relative":
            buckets, heads = arguments["relative_buckets"], arguments["num_heads"]
            name, both = f"{prefix}relative_bias", prefix == "source_"
            layers.append(RelativePositionBias(buckets, heads, both_directions=both, name=name))
        if arguments["normalize_embeddings"]:
            layers.append(Normalization(arguments["norm"], arguments["norm_epsilon"], name=f"{prefix}embedding_norm"))
        if arguments["dropout"]:
            layers.append(keras.layers.Dropout(arguments["dropout"], name=f"{prefix}embedding_dropout"))
    return {layer.name: layer for layer in layers}


def embedded(
    layers: dict[str, keras.layers.Layer], ids: keras.KerasTensor, places: keras.KerasTensor, prefix: str
) -> keras.KerasTensor:
    """What goes into the first block: float (B, T, D) of int32 (B, T) twice, ids and positions of tokens.

    Args:
        layers: from `embedding_layers`, among others perhaps.
        prefix: "source_" or "".
    """
    x = layers["token_embedding"](ids)
    if "embedding_scale" in layers:
        x = layers["embedding_scale"](x)
    table = layers.get(f"{prefix}position_embedding")
    if isinstance(table, keras.layers.Embedding):
        x += table(ops.minimum(places, table.input_dim - 1))  # padding may stand beyond
    elif table is not None:
        x += table(places)
    for name in (f"{prefix}embedding_norm", f"{prefix}embedding_dropout"):
        x = layers[name](x) if name in layers else x
    return x


def with_distances(
    layers: dict[str, keras.layers.Layer], visible: keras.KerasTensor, prefix: str, first: keras.KerasTensor | int = 0
) -> keras.KerasTensor:
    """`visible`, int32 (B, T, S), as blocks take it: with relative positions what is added to scores, (B, H, T, S).

    Args:
        layers, prefix: as for `embedded`.
        first: the place of the first of the T tokens among the S.
    """
    name = f"{prefix}relative_bias"
    return layers[name](visible, first=first) if name in layers else visible


@keras.saving.register_keras_serializable("tfllm")
class SinusoidalPositions(keras.layers.Layer):
    """Sines and cosines of positions, with wavelengths from 2 pi to 10,000 times that; nothing is learned.

    Args:
        hidden_dim: D.

    Call: positions int (B, T) -> float (B, T, D), the sines first.
    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5. Differs: sines and cosines do not alternate, as in its
    authors' code.
    """

    def __init__(self, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim

    def call(self, positions):
        rates = 10_000.0 ** -(np.arange(-(-self.hidden_dim // 2)) / (self.hidden_dim / 2))
        angles = ops.cast(positions, "float32")[:, :, None] * rates.astype("float32")
        table = ops.concatenate([ops.sin(angles), ops.cos(angles[:, :, : self.hidden_dim // 2])], axis=-1)
        return ops.cast(table, self.compute_dtype)

    def compute_output_spec(self, positions):
        return keras.KerasTensor((*positions.shape, self.hidden_dim), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable("tfllm")
class BiasedTokenEmbedding(TokenEmbedding):
    """A `TokenEmbedding` that adds to every logit a number of its token's, `bias` (V,)."""

    def build(self, inputs_shape=None):
        super().build(inputs_shape)
        self.bias = self.add_weight(name="logits_bias", shape=(self.input_dim,), initializer="zeros")

    def call(self, inputs, reverse=False):
        outputs = super().call(inputs, reverse=reverse)
        return outputs + ops.cast(self.bias, outputs.dtype) if reverse else outputs

    @property
    def variable_serialization_spec(self):
        return {mode: [*names, "bias"] for mode, names in super().variable_serialization_spec.items()}
