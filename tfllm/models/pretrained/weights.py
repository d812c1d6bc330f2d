"""Every weight of a model by its path, its shape in a checkpoint, and the way from the one to the other.

A checkpoint stores a dense layer as (out, in), Keras as (in, out); attention here has an axis for the heads.
"""

import numpy as np

_LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}
_OLD_LEAVES = {"gamma": "gamma", "beta": "beta"}  # layer normalisation, where a checkpoint came from TensorFlow


def encoder_shapes(arguments: dict) -> dict[str, tuple[int, ...]]:
    """The weights of an encoder.

    Args:
        arguments: all those of `build_encoder`.

    Returns:
        Path in the Keras model -> shape in a checkpoint: "pooled_dense/kernel" -> (out, in).
    """
    hidden, between = arguments["hidden_dim"], arguments["intermediate_dim"]
    width = arguments["embedding_dim"] or hidden
    shapes = {
        "token_embedding/embeddings": (arguments["vocabulary_size"], width),
        "position_embedding/embeddings": (arguments["max_sequence_length"], width),
        **_norm("embeddings_layer_norm", width),
    }
    if arguments["num_segments"]:
        shapes["segment_embedding/embeddings"] = (arguments["num_segments"], width)
    if arguments["embedding_dim"]:
        shapes |= _dense("embedding_projection", hidden, width)
    if arguments["relative_buckets"]:
        shapes["relative_position_bias/embeddings"] = (arguments["relative_buckets"], arguments["num_heads"])
    for number in range(1 if arguments["share_layers"] else arguments["num_layers"]):
        layer = f"transformer_layer_{number}"
        for name in ("query", "key", "value", "attention_output"):
            shapes |= _dense(f"{layer}/self_attention_layer/{name}", hidden, hidden)
        shapes |= _norm(f"{layer}/self_attention_layer_norm", hidden)
        shapes |= _dense(f"{layer}/feedforward_intermediate_dense", between, hidden)
        shapes |= _dense(f"{layer}/feedforward_output_dense", hidden, between)
        shapes |= _norm(f"{layer}/feedforward_layer_norm", hidden)
    if arguments["pooler_activation"]:
        shapes |= _dense("pooled_dense", hidden, hidden)
    return shapes


def masked_lm_shapes(arguments: dict) -> dict[str, tuple[int, ...]]:
    """The weights of a masked language model's head, as `encoder_shapes` gives those of the encoder."""
    width = arguments["embedding_dim"] or arguments["hidden_dim"]
    return {
        **_dense("masked_lm_dense", width, arguments["hidden_dim"]),
        **_norm("masked_lm_layer_norm", width),
        "masked_lm_bias/bias": (arguments["vocabulary_size"],),
    }


def logits_shapes(arguments: dict, units: int) -> dict[str, tuple[int, ...]]:
    """The weights of a head that is one dense layer."""
    return _dense("logits", units, arguments["hidden_dim"])


def _dense(layer: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}/kernel": (outputs, inputs), f"{layer}/bias": (outputs,)}


def _norm(layer: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}/gamma": (width,), f"{layer}/beta": (width,)}


def tensor_names(path: str, names: dict[str, str]) -> list[str]:
    """How a checkpoint may call the weight at `path`, the usual name first; nothing for a layer not in `names`.

    Args:
        path: "transformer_layer_3/self_attention_layer/query/kernel".
        names: our layers -> their modules, with {} for the number of a Transformer layer.
    """
    layer, _, leaf = path.rpartition("/")
    first, _, rest = layer.partition("/")
    before, _, number = first.rpartition("_")
    if rest:
        layer = f"{before}_{{}}/{rest}"
    if layer not in names:
        return []
    module = names[layer].format(number)
    leaves = [_LEAVES[leaf], *([_OLD_LEAVES[leaf]] if leaf in _OLD_LEAVES else [])]
    return [f"{module}.{leaf}" for leaf in leaves]


def to_keras(path: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of a checkpoint as the weight at `path`, which has this shape."""
    return (value.T if path.endswith("/kernel") else value).reshape(shape)


def to_checkpoint(path: str, value: np.ndarray) -> np.ndarray:
    """The weight at `path` as a checkpoint stores it."""
    if path.endswith("attention_output/kernel"):
        value = value.reshape(-1, value.shape[-1])  # (H, K, D) -> (D, D)
    elif path.endswith("/kernel"):
        value = value.reshape(value.shape[0], -1)  # (D, H, K) -> (D, D)
    elif not path.endswith("/embeddings"):
        value = value.reshape(-1)  # (H, K) -> (D,)
    return np.ascontiguousarray(value.T if path.endswith("/kernel") else value)
