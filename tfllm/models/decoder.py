"""`build_decoder`: a functional decoder of `DecoderBlock`s, and its cached step.

In: dict of int32 (B, T): token_ids, padding_mask (see `tfllm.data.features`). Out: float (B, T, D).
"""

import math
from collections.abc import Mapping, Sequence

import keras
from keras import ops

from tfllm import checks
from tfllm.checks import InputError
from tfllm.models.decoder_block import DecoderBlock, Normalization
from tfllm.models.decoder_parts import GATED, NORMS, RotaryScaling, dot
from tfllm.models.encoder import ACTIVATIONS
from tfllm.models.recipe import remember

POSITIONS = ("rotary", "learned")
BIASES = ("none", "qkv", "all")
_SIZES = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")

# Keys and values of every block, (B, G, C, K) each.
Cache = list[tuple[keras.KerasTensor, keras.KerasTensor]]


def build_decoder(
    vocabulary_size: int,
    *,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int,
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
    prefix: bool = False,
    rotary_scaling: Mapping[str, float] | None = None,
    norm_queries_and_keys: bool = False,
) -> keras.Model:
    """Build a Transformer decoder: every token sees itself and the earlier tokens of its text.

    As it stands it is built as Llama is. The arguments after `dropout` are there for other published checkpoints:
    GPT-2 has learned positions, "layer", "gelu_tanh" and all biases; Qwen 3 normalises queries and keys.

    Args:
        vocabulary_size: V, number of token ids.
        num_layers, num_heads, hidden_dim, intermediate_dim: the size; `tfllm.DECODER_SIZES` names some.
        max_sequence_length: the longest row, in tokens.
        num_key_value_heads: how many heads keys and values have; heads of queries share them. None: as many as those.
        dropout: share of attention weights and of what is added to the residual dropped in training, 0 to 1.
        positions: "rotary" turns queries and keys by their positions; "learned" adds an embedding to the tokens.
        norm: "rms" (root of the mean square) or "layer".
        activation: of the feed-forward part: "swiglu", "geglu", "gelu_tanh", "gelu", "relu", "tanh" or
            "silu".
        normalize_first: True normalises before each part of a block (pre-norm), and once more at the end; False after
            each residual.
        tie_embeddings: the vocabulary is predicted with the matrix of the token embedding; otherwise by one of its own.
        biases: which dense parts have one: "none", "qkv" (queries, keys and values) or "all".
        head_dim: width of a head. None: `hidden_dim` / `num_heads`.
        rotary_base: the longest wavelength of rotary positions is about 2 pi times it.
        norm_epsilon: what is added to the variance or mean square in every normalisation.
        prefix: the beginning of a text, as far as a third input says, is seen by all its tokens, earlier ones too.
        rotary_scaling: stretches rotary positions to texts longer than those of the training, as Llama 3.1 does:
            `factor`, `low_frequency_factor`, `high_frequency_factor` and `original_length`; see
            `decoder_parts.RotaryScaling`.
        norm_queries_and_keys: each head's queries and keys are brought to mean square 1 and scaled, before they turn.

    Returns:
        Functional `keras.Model`. Inputs, int32 (B, T): `token_ids`, `padding_mask` (0 on padding, k on the k-th text of
        the row; texts packed into one row do not see each other, and positions begin again with each); with `prefix`
        also `prefix_mask`, 1 on tokens of a prefix. Output: float (B, T, D).

    Raises:
        InputError: for a size that is not positive, heads that do not divide, or an unknown name.

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Touvron et al. 2023,
    arXiv:2302.13971, section 2.2; for `prefix` Raffel et al. 2020, arXiv:1910.10683, section 3.2.1.
    """
    arguments = dict(locals())
    check_decoder(arguments)
    scaling = rotary_scaling and RotaryScaling(**rotary_scaling)
    names = ("token_ids", "padding_mask", *(("prefix_mask",) if prefix else ()))
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    visible = EarlierTokens(max_sequence_length, name="earlier_tokens")(inputs["padding_mask"])  # (B, T, T)
    places = ops.sum(visible, axis=-1) - 1  # (B, T)
    if prefix:
        visible = ops.maximum(visible, ops.swapaxes(visible, 1, 2) * inputs["prefix_mask"][:, None])
    embedding = TokenEmbedding(
        vocabulary_size,
        hidden_dim,
        tie_weights=tie_embeddings,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name="token_embedding",
    )
    x = embedding(inputs["token_ids"])
    if positions == "learned":
        initializer = keras.initializers.RandomNormal(stddev=0.02)
        x += keras.layers.Embedding(
            max_sequence_length, hidden_dim, embeddings_initializer=initializer, name="position_embedding"
        )(places)
    for number in range(num_layers):
        x = DecoderBlock(
            num_heads,
            num_key_value_heads or num_heads,
            head_dim or hidden_dim // num_heads,
            intermediate_dim,
            rotary_base=rotary_base if positions == "rotary" else None,
            norm=norm,
            norm_epsilon=norm_epsilon,
            activation=activation,
            biases=biases,
            dropout=dropout,
            normalize_first=normalize_first,
            output_stddev=0.02 / math.sqrt(2 * num_layers),
            rotary_scaling=scaling,
            norm_queries_and_keys=norm_queries_and_keys,
            name=f"decoder_block_{number}",
        )(x, visible, places)
    if normalize_first:
        x = Normalization(norm, norm_epsilon, name="final_norm")(x)
    return remember(keras.Model(inputs, x, name="decoder"), "build_decoder", arguments)


def decode_cached(
    decoder: keras.Model,
    token_ids: keras.KerasTensor,
    positions: keras.KerasTensor,
    visible: keras.KerasTensor,
    cache: Cache | None = None,
    column: keras.KerasTensor | None = None,
) -> tuple[keras.KerasTensor, Cache]:
    """What the decoder gives, by the same layers, with the keys and values to go on from.

    Args:
        decoder: from `build_decoder`.
        token_ids, positions: int32 (B, T).
        visible: int32 (B, T, S), 1 where a token sees another.
        cache: keys and values of earlier tokens; T is then 1, and S is the number C of places in it. None: S is T.
        column: int32 scalar, the place of the new token in the cache.

    Returns:
        float (B, T, D), and the keys and values of all S tokens.
    """
    layers = {layer.name: layer for layer in decoder.layers}
    x = layers["token_embedding"](token_ids)
    if "position_embedding" in layers:
        x += layers["position_embedding"](positions)
    blocks = [layer for layer in decoder.layers if isinstance(layer, DecoderBlock)]
    new = []
    for number, block in enumerate(blocks):
        earlier = None if cache is None else cache[number]
        x, kept = block(x, visible, positions, cache=earlier, column=column, return_cache=True)
        new.append(kept)
    return layers["final_norm"](x) if "final_norm" in layers else x, new


@keras.saving.register_keras_serializable("tfllm")
class EarlierTokens(keras.layers.Layer):
    """Which tokens a token sees: itself and the earlier ones of its text.

    A row may hold several packed texts: `padding_mask` is 0 on padding and k on the k-th text of the row. Padding sees
    padding, which changes no real token.

    Args:
        max_sequence_length: rows must not be longer.

    Call: padding_mask int32 (B, T) -> int32 (B, T, T).
    Example: [1, 1, 2, 0] -> rows [1 0 0 0], [1 1 0 0], [0 0 1 0], [0 0 0 1]; their sums, less 1, are the positions.
    """

    def __init__(self, max_sequence_length, **kwargs):
        super().__init__(**kwargs)
        self.max_sequence_length = max_sequence_length

    def call(self, padding_mask):
        length = padding_mask.shape[-1]
        if length is not None and length > self.max_sequence_length:
            raise InputError(
                "Rows must not be longer than the model's `max_sequence_length`. "
                f"Received: rows of {length} tokens, max_sequence_length={self.max_sequence_length}."
            )
        same_text = ops.cast(ops.equal(padding_mask[:, :, None], padding_mask[:, None, :]), "int32")
        return ops.tril(same_text)

    def compute_output_shape(self, padding_mask_shape):
        return (*padding_mask_shape, padding_mask_shape[-1])

    def get_config(self):
        return {**super().get_config(), "max_sequence_length": self.max_sequence_length}


@keras.saving.register_keras_serializable("tfllm")
class TokenEmbedding(keras.layers.ReversibleEmbedding):
    """`keras.layers.ReversibleEmbedding` with logits in float32, by one product for the tokens of all rows.

    Keras's own takes a product for each row, and on the way back a gradient of the whole matrix for each.
    """

    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        rows = ops.cast(ops.reshape(inputs, (-1, self.output_dim)), self.compute_dtype)
        if self.tie_weights:
            logits = dot(rows, ops.cast(self.embeddings, self.compute_dtype))
        else:
            logits = ops.matmul(rows, ops.cast(self.reverse_embeddings, self.compute_dtype))
        return ops.cast(ops.reshape(logits, (*ops.shape(inputs)[:-1], self.input_dim)), "float32")

    def compute_output_spec(self, inputs, reverse=False):
        if not reverse:
            return super().compute_output_spec(inputs)
        return keras.KerasTensor((*inputs.shape[:-1], self.input_dim), dtype="float32")


def check_decoder(arguments: dict) -> None:
    """Raise InputError unless these arguments of `build_decoder` make a decoder."""
    optional: Sequence[str] = ("num_key_value_heads", "head_dim")
    for name in (*_SIZES, *(name for name in optional if arguments[name] is not None)):
        checks.check_at_least(name, arguments[name], 1)
    heads, width = arguments["num_heads"], arguments["head_dim"]
    if width is None:
        reason = "so that every head has the same width"
        checks.check_divisible("hidden_dim", arguments["hidden_dim"], "num_heads", heads, reason)
        width = arguments["hidden_dim"] // heads
    if arguments["num_key_value_heads"] is not None:
        reason = "so that each is shared by as many"
        checks.check_divisible("num_heads", heads, "num_key_value_heads", arguments["num_key_value_heads"], reason)
    checks.check_dropout(arguments["dropout"])
    known = {"positions": POSITIONS, "norm": NORMS, "biases": BIASES, "activation": (*GATED, *ACTIVATIONS)}
    for name, names in known.items():
        checks.check_one_of(name, arguments[name], names)
    if arguments["positions"] == "rotary" and width % 2:
        raise InputError(f"Rotary positions need heads of an even width. Received: {width}.")
    if arguments.get("rotary_scaling") is not None:
        check_scaling(arguments["rotary_scaling"], arguments["positions"])


def check_scaling(scaling: Mapping[str, float], positions: str) -> None:
    """Raise InputError unless this `rotary_scaling` means something."""
    names = RotaryScaling._fields
    numbers = isinstance(scaling, Mapping) and all(isinstance(one, int | float) for one in scaling.values())
    if positions != "rotary" or not numbers or set(scaling) != set(names):
        raise InputError(
            f"`rotary_scaling` is for rotary positions, with numbers for {', '.join(names)}. Received: "
            f"{scaling!r:.200} for positions={positions!r}."
        )
    low, high = scaling["low_frequency_factor"], scaling["high_frequency_factor"]
    if not (scaling["factor"] >= 1 and 0 < low < high and scaling["original_length"] >= 1):
        raise InputError(
            "`rotary_scaling` needs a `factor` and an `original_length` of at least 1, and a `low_frequency_factor` "
            f"above 0 and below the `high_frequency_factor`. Received: {dict(scaling)}."
        )
