"""`build_encoder_decoder`: a functional model that reads a source in both directions and writes a target after it.

In: dict of int32: source_ids, source_mask (B, S), token_ids, padding_mask (B, T) (see `tfllm.data.features`). Out:
float (B, T, D), a vector for every token of the target.
"""

import math

import keras
from keras import ops

from tfllm import checks
from tfllm.models.decoder import POSITIONS, Cache, check_decoder
from tfllm.models.decoder_block import DecoderBlock, Normalization
from tfllm.models.encoder_decoder_parts import embedded, embedding_layers, with_distances
from tfllm.models.recipe import remember
from tfllm.models.source_attention import SourceDecoderBlock, SourceKeys

MORE_POSITIONS = ("sinusoidal", "relative")


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
    relative_buckets: int = 32,
    scale_embeddings: bool = False,
    normalize_embeddings: bool = False,
    logits_bias: bool = False,
) -> keras.Model:
    """Build a Transformer with an encoder and a decoder, which share one vocabulary and its embedding.

    The arguments after `dropout` are there for published checkpoints: T5 has relative positions, "relu" and scaled
    embeddings; BART learned positions, "layer", "gelu", all biases, embeddings that are normalised, and normalises
    afterwards; Marian as BART, but sinusoidal positions, "silu" and scaled embeddings.

    Args:
        vocabulary_size: V, number of token ids, of source and target together.
        num_layers, num_heads, hidden_dim, intermediate_dim: the size of both; `tfllm.SEQ2SEQ_SIZES` names some.
        num_decoder_layers: layers of the decoder. None: as many as the encoder has.
        max_sequence_length: the longest source and the longest target, in tokens.
        dropout: share of attention weights, of embeddings and of what is added to the residual dropped in training.
        num_key_value_heads, norm, activation, normalize_first, tie_embeddings, biases, head_dim, rotary_base,
            norm_epsilon: see `build_decoder`; they hold for both parts.
        positions: as for `build_decoder`; or "sinusoidal", which adds fixed sines and cosines to the embeddings; or
            "relative", which adds to each attention score among tokens of source or target a learned number for their
            distance, the same in every block.
        relative_buckets: how many distances relative positions tell apart, an even number.
        scale_embeddings: the embeddings of tokens are multiplied by the root of `hidden_dim`, where they are read.
        normalize_embeddings: they are normalised, with their positions, before the first block.
        logits_bias: each token's logit has a learned number added.

    Returns:
        Functional `keras.Model`. Inputs, int32: `source_ids`, `source_mask` (B, S), `token_ids`, `padding_mask` (B, T).
        Masks are 0 on padding and k on the k-th text of the row: of packed rows the k-th target sees the k-th source
        and its own earlier tokens, and positions begin again with each. Output: float (B, T, D).

    Raises:
        InputError: for a size that is not positive, heads that do not divide, or an unknown name.

    Source: Vaswani et al. 2017, arXiv:1706.03762. Differs: normalised before each part, as Xiong et al. 2020,
    arXiv:2002.04745, unless `normalize_first` is False; and the defaults of `build_decoder`. For relative positions
    Raffel et al. 2020, arXiv:1910.10683, section 2.1.
    """
    arguments = dict(locals())
    decoder_layers = num_layers if num_decoder_layers is None else num_decoder_layers
    _check(arguments, decoder_layers)
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
    layers = embedding_layers(arguments)
    same_text = TextsTogether(name="same_text")
    visible = same_text(inputs["source_mask"], inputs["source_mask"])  # (B, S, S)
    places = _places(ops.tril(visible))
    x = embedded(layers, inputs["source_ids"], places, "source_")
    visible = with_distances(layers, visible, "source_")
    for number in range(num_layers):
        stddev = 0.02 / math.sqrt(2 * num_layers)
        x = DecoderBlock(**block, output_stddev=stddev, name=f"encoder_block_{number}")(x, visible, places)
    encoded = Normalization(norm, norm_epsilon, name="encoder_norm")(x) if normalize_first else x

    source_visible = same_text(inputs["padding_mask"], inputs["source_mask"])  # (B, T, S)
    visible = ops.tril(same_text(inputs["padding_mask"], inputs["padding_mask"]))  # (B, T, T)
    places = _places(visible)
    x = embedded(layers, inputs["token_ids"], places, "")
    visible = with_distances(layers, visible, "")
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
    x = embedded(layers, source_ids, places, "source_")
    visible = with_distances(layers, visible, "source_")
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
    x = embedded(layers, token_ids, positions, "")
    visible = with_distances(layers, visible, "", 0 if column is None else column)
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


def _check(arguments: dict, decoder_layers: int) -> None:
    """Raise InputError unless these arguments make an encoder-decoder."""
    checks.check_one_of("positions", arguments["positions"], (*POSITIONS, *MORE_POSITIONS))
    usual = "learned" if arguments["positions"] in MORE_POSITIONS else arguments["positions"]
    shared = {name: value for name, value in arguments.items() if name != "num_decoder_layers"}
    check_decoder({**shared, "positions": usual})
    checks.check_at_least("num_decoder_layers", decoder_layers, 1)
    checks.check_at_least("relative_buckets", arguments["relative_buckets"], 4)
    checks.check_divisible("relative_buckets", arguments["relative_buckets"], "2", 2, "for before and after")


def _places(earlier: keras.KerasTensor) -> keras.KerasTensor:
    """Position of each token in its text, from which tokens of it are no later: int32 (B, T, T) -> (B, T)."""
    return ops.sum(earlier, axis=-1) - 1
