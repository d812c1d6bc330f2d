"""`build_encoder_decoder`: a functional model that reads a source in both directions and writes a target after it.

In: dict of int32: source_ids, source_mask (B, S), token_ids, padding_mask (B, T) (see `tfllm.data.features`). Out:
float (B, T, D), a vector for every token of the target.
"""

import math

import keras
from keras import ops

from tfllm import checks
from tfllm.models.decoder import Cache, TokenEmbedding, check_decoder
from tfllm.models.decoder_block import DecoderBlock, Normalization
from tfllm.models.recipe import remember
from tfllm.models.source_attention import SourceDecoderBlock, SourceKeys


def build_encoder_decoder(
    vocabulary_size: int,
    *,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int,
    num_decoder_layers: int | None = None,
    max_sequence_length: int = 512,
    num_key_value_heads: int | None = None,
    dropout: float = 0.0,
    positions: str = "rotary",
    norm: str = "rms",
    activation: str = "swiglu",
    normalize_first: bool = True,
    tie_embeddings: bool = True,
    biases: str = "none",
    head_dim: int | None = None,
    rotary_base: float = 10_000.0,
    norm_epsilon: float = 1e-5,
) -> keras.Model:
    """Build a Transformer with an encoder and a decoder, which share one vocabulary and its embedding.

    Args:
        vocabulary_size: V, number of token ids, of source and target together.
        num_layers, num_heads, hidden_dim, intermediate_dim: the size of both; `tfllm.SEQ2SEQ_SIZES` names some.
        num_decoder_layers: layers of the decoder. None: as many as the encoder has.
        max_sequence_length: the longest source and the longest target, in tokens.
        dropout: share of attention weights, of embeddings and of what is added to the residual dropped in training.
        num_key_value_heads, positions, norm, activation, normalize_first, tie_embeddings, biases, head_dim,
            rotary_base, norm_epsilon: see `build_decoder`; they hold for both parts.

    Returns:
        Functional `keras.Model`. Inputs, int32: `source_ids`, `source_mask` (B, S), `token_ids`, `padding_mask` (B, T).
        Masks are 0 on padding and k on the k-th text of the row: of packed rows the k-th target sees the k-th source
        and its own earlier tokens, and positions begin again with each. Output: float (B, T, D).

    Raises:
        InputError: for a size that is not positive, heads that do not divide, or an unknown name.

    Source: Vaswani et al. 2017, arXiv:1706.03762. Differs: normalised before each part, as Xiong et al. 2020,
    arXiv:2002.04745, unless `normalize_first` is False; and the defaults of `build_decoder`.
    """
    arguments = dict(locals())
    check_decoder({name: value for name, value in arguments.items() if name != "num_decoder_layers"})
    decoder_layers = num_layers if num_decoder_layers is None else num_decoder_layers
    checks.check_at_least("num_decoder_layers", decoder_layers, 1)
    heads, width = num_key_value_heads or num_heads, head_dim or hidden_dim // num_heads
    block = {
        "num_heads": num_heads,
        "num_key_value_heads": heads,
        "head_dim": width,
        "intermediate_dim": intermediate_dim,
        "rotary_base": rotary_base if positions == "rotary" else None,
        "norm": norm,
        "norm_epsilon": norm_epsilon,
        "activation": activation,
        "biases": biases,
        "dropout": dropout,
        "normalize_first": normalize_first,
    }
    shapes = {"source_ids": "source", "source_mask": "source", "token_ids": "target", "padding_mask": "target"}
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in shapes}
    embed = TokenEmbedding(
        vocabulary_size,
        hidden_dim,
        tie_weights=tie_embeddings,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name="token_embedding",
    )

    def embedded(ids, places, prefix):
        x = embed(ids)
        if positions == "learned":
            initializer = keras.initializers.RandomNormal(stddev=0.02)
            x += keras.layers.Embedding(
                max_sequence_length, hidden_dim, embeddings_initializer=initializer, name=f"{prefix}position_embedding"
            )(ops.minimum(places, max_sequence_length - 1))
        return keras.layers.Dropout(dropout, name=f"{prefix}embedding_dropout")(x) if dropout else x

    same_text = TextsTogether(name="same_text")
    visible = same_text(inputs["source_mask"], inputs["source_mask"])  # (B, S, S)
    places = _places(ops.tril(visible))
    x = embedded(inputs["source_ids"], places, "source_")
    for number in range(num_layers):
        stddev = 0.02 / math.sqrt(2 * num_layers)
        x = DecoderBlock(**block, output_stddev=stddev, name=f"encoder_block_{number}")(x, visible, places)
    encoded = Normalization(norm, norm_epsilon, name="encoder_norm")(x) if normalize_first else x

    source_visible = same_text(inputs["padding_mask"], inputs["source_mask"])  # (B, T, S)
    visible = ops.tril(same_text(inputs["padding_mask"], inputs["padding_mask"]))  # (B, T, T)
    places = _places(visible)
    x = embedded(inputs["token_ids"], places, "")
    for number in range(decoder_layers):
        stddev = 0.02 / math.sqrt(3 * decoder_layers)
        pair = SourceKeys(heads, width, biases != "none", name=f"source_keys_{number}")(encoded)
        layer = SourceDecoderBlock(**block, output_stddev=stddev, name=f"decoder_block_{number}")
        x = layer(x, visible, places, *pair, source_visible)
    if normalize_first:
        x = Normalization(norm, norm_epsilon, name="final_norm")(x)
    model = keras.Model(inputs, x, name="encoder_decoder")
    return remember(model, "build_encoder_decoder", arguments)


def encode_source(
    model: keras.Model, source_ids: keras.KerasTensor, source_mask: keras.KerasTensor
) -> list[tuple[keras.KerasTensor, keras.KerasTensor]]:
    """Keys and values of the source for every decoder block, by the same layers.

    Args:
        model: from `build_encoder_decoder`.
        source_ids, source_mask: int32 (B, S); 1 on tokens, 0 on padding.

    Returns:
        For each block float (B, G, S, K) twice.
    """
    layers = {layer.name: layer for layer in model.layers}
    visible = layers["same_text"](source_mask, source_mask)
    places = _places(ops.tril(visible))
    x = _embedded(layers, source_ids, places, "source_")
    for layer in model.layers:
        if layer.name.startswith("encoder_block_"):
            x = layer(x, visible, places)
    x = layers["encoder_norm"](x) if "encoder_norm" in layers else x
    return [layer(x) for layer in model.layers if isinstance(layer, SourceKeys)]


def decode_after_source(
    model: keras.Model,
    token_ids: keras.KerasTensor,
    positions: keras.KerasTensor,
    visible: keras.KerasTensor,
    source: list[tuple[keras.KerasTensor, keras.KerasTensor]],
    source_mask: keras.KerasTensor,
    cache: Cache | None = None,
    column: keras.KerasTensor | None = None,
) -> tuple[keras.KerasTensor, Cache]:
    """What the decoder gives after a source, by the same layers; see `decode_cached`.

    Args:
        source: from `encode_source`.
        source_mask: int32 (B, S); 1 on tokens, 0 on padding.
    """
    layers = {layer.name: layer for layer in model.layers}
    x = _embedded(layers, token_ids, positions, "")
    source_visible = ops.repeat(source_mask[:, None], ops.shape(token_ids)[1], axis=1)  # (B, T, S)
    new = []
    blocks = [layer for layer in model.layers if isinstance(layer, SourceDecoderBlock)]
    for number, (block, pair) in enumerate(zip(blocks, source, strict=True)):
        earlier = None if cache is None else cache[number]
        x, kept = block(x, visible, positions, *pair, source_visible, cache=earlier, column=column, return_cache=True)
        new.append(kept)
    return layers["final_norm"](x) if "final_norm" in layers else x, new


@keras.saving.register_keras_serializable("tfllm")
class TextsTogether(keras.layers.Layer):
    """Which tokens of two rows belong together: those of the same text of a packed row, and padding with padding.

    Call: (masks int32 (B, T), (B, S), k on the k-th text of the row, 0 on padding) -> int32 (B, T, S).
    """

    def call(self, padding_mask, source_mask):
        return ops.cast(ops.equal(padding_mask[:, :, None], source_mask[:, None, :]), "int32")

    def compute_output_spec(self, padding_mask, source_mask):
        return keras.KerasTensor((*padding_mask.shape, source_mask.shape[-1]), dtype="int32")


def _embedded(layers: dict, ids: keras.KerasTensor, places: keras.KerasTensor, prefix: str) -> keras.KerasTensor:
    x = layers["token_embedding"](ids)
    name = f"{prefix}position_embedding"
    return x + layers[name](places) if name in layers else x


def _places(earlier: keras.KerasTensor) -> keras.KerasTensor:
    """Position of each token in its text, from which tokens of it are no later: int32 (B, T, T) -> (B, T)."""
    return ops.sum(earlier, axis=-1) - 1
