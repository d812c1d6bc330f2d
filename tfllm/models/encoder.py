"""`build_encoder`: a functional BERT-type encoder of `TransformerEncoder` layers.

In: dict of int32 (B, T): token_ids, segment_ids, padding_mask (see `tfllm.data.features`).
Out: dict: sequence_output float (B, T, D), pooled_output float (B, D).
"""

from collections.abc import Callable

import keras

from tfllm import checks
from tfllm.checks import InputError
from tfllm.models.bigrams import BigramBuckets
from tfllm.models.layers import SameText, Sinusoids, SumNormDropout, TextPositionEmbedding
from tfllm.models.recipe import remember
from tfllm.models.relative import RelativePositionBias, RelativeTransformerEncoder
from tfllm.models.transformer import TransformerEncoder

LAYER_NORM_EPSILON = 1e-12  # as BERT's
_SIZES = ("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


def build_encoder(
    vocabulary_size: int,
    *,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    intermediate_dim: int,
    max_sequence_length: int = 512,
    num_segments: int = 2,
    dropout: float = 0.1,
    normalize_first: bool = False,
    bigram_buckets: int = 0,
    activation: str = "gelu_tanh",
    layer_norm_epsilon: float = LAYER_NORM_EPSILON,
    embedding_dim: int | None = None,
    share_layers: bool = False,
    pooler_activation: str | None = "tanh",
    relative_buckets: int | None = None,
) -> keras.Model:
    """Build a Transformer encoder.

    The arguments after `bigram_buckets` are there for published checkpoints, which need them.

    Args:
        vocabulary_size: V, number of token ids.
        num_layers, num_heads, hidden_dim, intermediate_dim: the size; `tfllm.SIZES` names the usual ones.
        max_sequence_length: the longest row, in tokens.
        num_segments: how many different segment ids there are (sentence A, sentence B). With 1 or 0 the ids given
            make no difference; with 1 there is an embedding that every token gets.
        dropout: share of activations and attention weights dropped in training, 0 to 1.
        normalize_first: False normalises after each residual (post-norm, as BERT), True before it (pre-norm), with
            one more normalisation at the end.
        bigram_buckets: how many embeddings there are of two tokens that follow each other, hashed; each token gets the
            one of itself and the token before it. 0: none.
        activation: of the intermediate layer: "gelu_tanh" (GELU by its tanh approximation), "gelu" (exact), "relu",
            "tanh" or "silu".
        layer_norm_epsilon: what is added to the variance in every layer normalisation.
        embedding_dim: width of the embeddings; a projection then widens them to `hidden_dim`. None: no projection.
        share_layers: every layer has the same weights.
        pooler_activation: of the dense layer on the first token; one of the same. None: there is no such layer.
        relative_buckets: how many different distances between two tokens attention tells apart, an even number; None:
            it knows positions only by their embeddings.

    Returns:
        Functional `keras.Model`. Inputs, all int32 (B, T): `token_ids`, `segment_ids`, `padding_mask` (0 on padding,
        k on the k-th text of the row; texts packed into one row do not see each other). Outputs: `sequence_output`
        (B, T, D) and `pooled_output` (B, D), the pooler's output or, without a pooler, the first token.

    Raises:
        InputError: when a size is not positive, `hidden_dim` is not a multiple of `num_heads`, or an activation is
            unknown.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 3; `bigrams.BigramBuckets` for `bigram_buckets`; Lan et al.
    2020, arXiv:1909.11942, section 3.1, for `embedding_dim` and `share_layers`; Song et al. 2020, arXiv:2004.09297, for
    `relative_buckets`. Differs: GELU by its tanh approximation, as in BERT's code; positions restart with every packed
    text.
    """
    arguments = dict(locals())
    _check(arguments)
    width = embedding_dim or hidden_dim  # E

    inputs = {
        name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    same_text = SameText(name="same_text")(inputs["padding_mask"])  # (B, T, T)
    tokens = keras.layers.ReversibleEmbedding(
        vocabulary_size,
        width,
        embeddings_initializer=kernel_initializer(),
        reverse_dtype=keras.config.dtype_policy().compute_dtype,  # float32 under every policy, if it is not given
        name="token_embedding",
    )(inputs["token_ids"])
    position_embedding = TextPositionEmbedding(max_sequence_length, width, Sinusoids(), name="position_embedding")
    parts = [tokens, position_embedding(same_text)]
    if num_segments:
        segment_ids = inputs["segment_ids"]
        parts.append(
            keras.layers.Embedding(
                num_segments, width, embeddings_initializer=kernel_initializer(), name="segment_embedding"
            )(segment_ids if num_segments > 1 else keras.ops.zeros_like(segment_ids))
        )
    if bigram_buckets:
        bigrams = BigramBuckets(bigram_buckets, name="bigram_buckets")(inputs["token_ids"], inputs["padding_mask"])
        parts.append(
            keras.layers.Embedding(
                bigram_buckets, width, embeddings_initializer=kernel_initializer(), name="bigram_embedding"
            )(bigrams)
        )
    x = SumNormDropout(dropout, epsilon=layer_norm_epsilon, name="embeddings_layer_norm")(parts)  # (B, T, E)
    if embedding_dim:
        x = dense(hidden_dim, "embedding_projection")(x)  # (B, T, D)
    if relative_buckets:
        bias = RelativePositionBias(relative_buckets, num_heads, name="relative_position_bias")(same_text)
        seen, kind = {"attention_bias": bias}, RelativeTransformerEncoder
    else:
        seen, kind = {"attention_mask": same_text}, TransformerEncoder
    for number in range(num_layers):
        if number == 0 or not share_layers:
            layer = kind(
                intermediate_dim,
                num_heads,
                dropout=dropout,
                activation=ACTIVATIONS[activation],
                layer_norm_epsilon=layer_norm_epsilon,
                kernel_initializer=kernel_initializer(),
                normalize_first=normalize_first,
                name=f"transformer_layer_{number}",
            )
        x = layer(x, **seen)
    if normalize_first:
        x = layer_norm("final_layer_norm", layer_norm_epsilon)(x)
    pooled = x[:, 0]
    if pooler_activation:
        pooled = dense(hidden_dim, "pooled_dense", ACTIVATIONS[pooler_activation])(pooled)
    model = keras.Model(inputs, {"sequence_output": x, "pooled_output": pooled}, name="encoder")
    return remember(model, "build_encoder", arguments)


def _check(arguments: dict) -> None:
    for name in _SIZES:
        checks.check_at_least(name, arguments[name], 1)
    for name in ("num_segments", "bigram_buckets"):
        checks.check_at_least(name, arguments[name], 0)
    if arguments["embedding_dim"] is not None:
        checks.check_at_least("embedding_dim", arguments["embedding_dim"], 1)
    reason = "so that every head has the same width"
    checks.check_divisible("hidden_dim", arguments["hidden_dim"], "num_heads", arguments["num_heads"], reason)
    checks.check_dropout(arguments["dropout"])
    if arguments["relative_buckets"] is not None:
        checks.check_at_least("relative_buckets", arguments["relative_buckets"], 4)
        checks.check_divisible("relative_buckets", arguments["relative_buckets"], "2", 2, "for before and after")
        if arguments["normalize_first"]:
            raise InputError("`relative_buckets` needs an encoder that normalises afterwards (normalize_first=False).")
    checks.check_one_of("activation", arguments["activation"], ACTIVATIONS)
    if arguments["pooler_activation"] is not None:
        checks.check_one_of("pooler_activation", arguments["pooler_activation"], ACTIVATIONS)


def kernel_initializer() -> keras.initializers.Initializer:
    """BERT's: a normal of deviation 0.02, truncated at two deviations."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def dense(units: int, name: str, activation: Callable | None = None) -> keras.layers.Layer:
    """A dense layer with BERT's initial weights."""
    return keras.layers.Dense(units, activation=activation, kernel_initializer=kernel_initializer(), name=name)


def layer_norm(name: str, epsilon: float = LAYER_NORM_EPSILON) -> keras.layers.Layer:
    """Layer normalisation with BERT's epsilon, or another."""
    return keras.layers.LayerNormalization(epsilon=epsilon, name=name)


@keras.saving.register_keras_serializable("tfllm")
def gelu(x):
    """GELU by the tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable("tfllm")
def silu(x):
    """x times its sigmoid (Elfwing et al. 2017, arXiv:1702.03118).

    Keras's own has a gradient that no SavedModel keeps, of which TensorFlow warns where one is loaded.
    """
    return x * keras.ops.sigmoid(x)


ACTIVATIONS = {
    "gelu_tanh": gelu,
    "gelu": keras.activations.gelu,
    "relu": keras.activations.relu,
    "tanh": keras.activations.tanh,
    "silu": silu,
}
