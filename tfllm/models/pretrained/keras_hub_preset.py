"""`keras-hub:PRESET`: a backbone of KerasHub becomes an encoder of ours with the same numbers.

In: the name of a preset, or a directory that `save_to_preset` wrote. Out: the encoder. Its layers have the same names
and weights as ours, but for those in `_THEIR_NAMES`.
"""

import keras
import keras_hub

from tfllm.checks import InputError
from tfllm.models.encoder import ACTIVATIONS, build_encoder
from tfllm.models.pretrained.load import Checkpoint

_SIZES = (
    *("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim"),
    *("max_sequence_length", "dropout"),
)
_KINDS = {  # their class -> arguments of `build_encoder` that it does not tell itself
    "BertBackbone": {},
    "RobertaBackbone": {"num_segments": 1, "pooler_activation": None},  # its segment is in the positions
    "XLMRobertaBackbone": {"num_segments": 1, "pooler_activation": None},
    "DistilBertBackbone": {"num_segments": 0, "pooler_activation": None},
    "ElectraBackbone": {"pooler_activation": None},  # it has one, which no ELECTRA was trained with
    "AlbertBackbone": {"share_layers": True},
}
_THEIR_NAMES = {
    "embedding_projection": ("embedding_projection", "embeddings_projection"),
    "transformer_layer_0": ("transformer_layer_0", "group_0_inner_layer_0"),
}


def load_keras_hub(preset: str) -> Checkpoint:
    """Load a KerasHub preset as an encoder of ours.

    Raises:
        InputError: if KerasHub cannot load it, or it is none of BERT, RoBERTa, XLM-R, DistilBERT, ELECTRA and ALBERT.
    """
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset, dtype="float32")
    except Exception as error:  # its own, those of three download libraries, and of Keras
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"KerasHub cannot load {preset!r}: {reason}") from None
    name = type(backbone).__name__
    if name not in _KINDS:
        raise InputError(f"tfllm takes over {', '.join(_KINDS)} from KerasHub. Received: {name}.")
    encoder = build_encoder(**_arguments(backbone, _KINDS[name]))
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(_weights(backbone, layer))
    left_out = {"pooled_dense": "a pooler that no ELECTRA was trained with"} if name == "ElectraBackbone" else {}
    return Checkpoint(encoder, name, left_out)


def _arguments(backbone: keras.Model, known: dict) -> dict:
    config = backbone.get_config()
    if config.get("num_groups", 1) != 1 or config.get("num_inner_repetitions", 1) != 1:
        raise InputError(
            "tfllm shares one layer among all or none: `num_groups` and `num_inner_repetitions` must be 1."
        )
    config.setdefault("vocabulary_size", config.get("vocab_size"))
    narrow = config.get("embedding_dim", config["hidden_dim"]) != config["hidden_dim"] or "num_groups" in config
    layer = next(layer for layer in backbone.layers if isinstance(layer, keras_hub.layers.TransformerEncoder))
    return {
        **{name: config[name] for name in _SIZES},
        "num_segments": config.get("num_segments", 2),
        "embedding_dim": config["embedding_dim"] if narrow else None,
        "activation": _activation(layer.activation),
        "layer_norm_epsilon": layer.layer_norm_epsilon,
        **known,
    }


def _activation(function) -> str:
    """The name of the activation that computes what theirs does."""
    points = keras.ops.linspace(-3.0, 3.0, 25)
    for name, ours in ACTIVATIONS.items():
        if keras.ops.max(keras.ops.abs(ours(points) - function(points))) < 1e-6:
            return name
    raise InputError(f"tfllm has no activation like {function!r}.")


def _weights(backbone: keras.Model, layer: keras.layers.Layer) -> list:
    """The weights of their layer that is the same as ours."""
    if layer.name == "segment_embedding" and layer.input_dim == 1:
        return [keras.ops.zeros(layer.embeddings.shape)]
    if layer.name in ("token_embedding", "position_embedding"):
        for holder in (backbone, getattr(backbone, "embeddings", None)):
            if hasattr(holder, layer.name):
                return getattr(holder, layer.name).get_weights()
    names = {theirs.name: theirs for theirs in backbone.layers}
    return next(names[name] for name in _THEIR_NAMES.get(layer.name, (layer.name,)) if name in names).get_weights()
