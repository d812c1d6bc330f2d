"""`build_encoder`: a functional BERT-type encoder of `TransformerEncoder` layers.

In: dict of int32 (B, T): token_ids, segment_ids, padding_mask (see `tfllm.data.features`).
Out: dict: sequence_output float (B, T, D), pooled_output float (B, D).
"""

import keras

from tfllm import checks
from tfllm.models.layers import SameText, Sinusoids, SumNormDropout, TextPositionEmbedding
from tfllm.models.recipe import remember
from tfllm.models.transformer import TransformerEncoder

LAYER_NORM_EPSILON = 1e-12  # as BERT's


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
) -> keras.Model:
    """Build a Transformer encoder.

    Args:
        vocabulary_size: V, number of token ids.
        num_layers, num_heads, hidden_dim, intermediate_dim: the size; `tfllm.SIZES` names the usual ones.
        max_sequence_length: the longest row, in tokens.
        num_segments: how many different segment ids there are (sentence A, sentence B).
        dropout: share of activations and attention weights dropped in training, 0 to 1.
        normalize_first: False normalises after each residual (post-norm, as BERT), True before it (pre-norm), with
            one more normalisation at the end.

    Returns:
        Functional `keras.Model`. Inputs, all int32 (B, T): `token_ids`, `segment_ids`, `padding_mask` (0 on padding,
        k on the k-th text of the row; texts packed into one row do not see each other). Outputs: `sequence_output`
        (B, T, D) and `pooled_output` (B, D), a dense tanh of the first token.

    Raises:
        InputError: when a size is not positive or `hidden_dim` is not a multiple of `num_heads`.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 3. Differs: GELU by its tanh approximation, as in the
    authors' code; positions restart with every packed text.
    """
    arguments = dict(locals())
    for name in (name for name in arguments if name not in ("dropout", "normalize_first")):
        checks.check_at_least(name, arguments[name], 1)
    checks.check_divisible("hidden_dim", hidden_dim, "num_heads", num_heads, "so that every head has the same width")
    checks.check_between("dropout", dropout, 0, 1)

    inputs = {
        name: keras.Input((None,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    same_text = SameText(name="same_text")(inputs["padding_mask"])  # (B, T, T)
    tokens = keras.layers.ReversibleEmbedding(
        vocabulary_size,
        hidden_dim,
        embeddings_initializer=kernel_initializer(),
        reverse_dtype=keras.config.dtype_policy().compute_dtype,  # float32 under every policy, if it is not given
        name="token_embedding",
    )(inputs["token_ids"])
    position_embedding = TextPositionEmbedding(max_sequence_length, hidden_dim, Sinusoids(), name="position_embedding")
    positions = position_embedding(same_text)
    segments = keras.layers.Embedding(
        num_segments, hidden_dim, embeddings_initializer=kernel_initializer(), name="segment_embedding"
    )(inputs["segment_ids"])
    x = SumNormDropout(dropout, epsilon=LAYER_NORM_EPSILON, name="embeddings_layer_norm")(
        [tokens, positions, segments]
    )  # (B, T, D)
    for layer in range(num_layers):
        x = TransformerEncoder(
            intermediate_dim,
            num_heads,
            dropout=dropout,
            activation=gelu,
            layer_norm_epsilon=LAYER_NORM_EPSILON,
            kernel_initializer=kernel_initializer(),
            normalize_first=normalize_first,
            name=f"transformer_layer_{layer}",
        )(x, attention_mask=same_text)
    if normalize_first:
        x = layer_norm("final_layer_norm")(x)
    pooled = keras.layers.Dense(
        hidden_dim, activation="tanh", kernel_initializer=kernel_initializer(), name="pooled_dense"
    )(x[:, 0])
    model = keras.Model(inputs, {"sequence_output": x, "pooled_output": pooled}, name="encoder")
    return remember(model, "build_encoder", arguments)


def kernel_initializer() -> keras.initializers.Initializer:
    """BERT's: a normal of deviation 0.02, truncated at two deviations."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def layer_norm(name: str) -> keras.layers.Layer:
    """Layer normalisation with BERT's epsilon."""
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)


@keras.saving.register_keras_serializable("tfllm")
def gelu(x):
    """GELU by the tanh approximation (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return keras.activations.gelu(x, approximate=True)
