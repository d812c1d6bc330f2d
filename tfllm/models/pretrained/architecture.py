"""What an `Architecture` is: the names of its tensors, and its `config.json` both ways.

A layer of ours is named by its path in the model, "transformer_layer_{}/self_attention_layer/query"; {} stands for the
number of the layer. Theirs is the name of a module, "encoder.layer.{}.attention.self.query".
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tfllm.models.pretrained.config import ACTIVATIONS, Config

_NONE = MappingProxyType({})
OUR_ACTIVATIONS = {ours: theirs for theirs, ours in ACTIVATIONS.items()} | {"gelu_tanh": "gelu_new"}


class Architecture(NamedTuple):
    """One family of checkpoints.

    `heads` is by the end of a class's name: "Model" is the bare encoder, "ForMaskedLM" and so on have a head.
    """

    model_type: str  # as config.json has it
    classes: str  # how the names of its classes begin
    prefix: str  # before the names of the encoder's tensors, where there is a head
    names: dict[str, str]  # our layers -> their modules, in the encoder
    heads: dict[str, dict[str, str]]  # for each class: our layers -> their modules, outside the encoder
    pooler: str  # the activation of the dense layer on the first token, in the encoder or in the classifier's head
    read: Callable[[Config], dict]  # config.json -> arguments of `build_encoder`
    write: Callable[[dict], dict]  # and back
    is_made_by: Callable[[dict], bool]  # whether such arguments make this architecture
    first_position: Callable[[int], int] = lambda pad_id: 0  # rows of the position table before the first token's
    head_activation: str | None = None  # of the masked LM's dense layer, where it is not the encoder's
    copies: Mapping[str, str] = _NONE  # tensors that some files hold a second time, the prefix included -> the first
    unused: Mapping[str, str] = _NONE  # patterns of tensors that are left out -> the reason
    kinds: Mapping[str, str] = _NONE  # classes that are read as another: "ForPreTraining" -> "ForMaskedLM"


def read_bert(config: Config, *, segments: int = 2, epsilon: float = 1e-12, activation: str = "gelu") -> dict:
    """The arguments of `build_encoder` from the names BERT gave them, which most others took over.

    Args:
        config: the file.
        segments: default of `type_vocab_size`; 0 for an architecture that has none.
        epsilon, activation: defaults of `layer_norm_eps` and `hidden_act`.
    """
    return {
        "vocabulary_size": config.integer("vocab_size", "vocabulary"),
        "num_layers": config.integer("num_hidden_layers", "layers"),
        "num_heads": config.integer("num_attention_heads", "heads"),
        "hidden_dim": config.integer("hidden_size", "width"),
        "intermediate_dim": config.integer("intermediate_size", "width"),
        "max_sequence_length": config.integer("max_position_embeddings", "positions"),
        "num_segments": config.integer("type_vocab_size", "segments", segments) if segments else 0,
        "dropout": config.number("hidden_dropout_prob", default=0.1),
        "activation": config.activation("hidden_act", activation),
        "layer_norm_epsilon": config.number("layer_norm_eps", default=epsilon),
    }


def write_bert(arguments: dict) -> dict:
    """The values of config.json from the arguments of `build_encoder`."""
    return {
        "vocab_size": arguments["vocabulary_size"],
        "num_hidden_layers": arguments["num_layers"],
        "num_attention_heads": arguments["num_heads"],
        "hidden_size": arguments["hidden_dim"],
        "intermediate_size": arguments["intermediate_dim"],
        "max_position_embeddings": arguments["max_sequence_length"],
        "type_vocab_size": arguments["num_segments"],
        "hidden_dropout_prob": arguments["dropout"],
        "attention_probs_dropout_prob": arguments["dropout"],
        "hidden_act": OUR_ACTIVATIONS[arguments["activation"]],
        "layer_norm_eps": arguments["layer_norm_epsilon"],
    }


def embedding_names(prefix: str = "embeddings") -> dict[str, str]:
    """The names all architectures share; the segments' is not asked for where there are none."""
    return {
        "token_embedding": f"{prefix}.word_embeddings",
        "position_embedding": f"{prefix}.position_embeddings",
        "segment_embedding": f"{prefix}.token_type_embeddings",
        "embeddings_layer_norm": f"{prefix}.LayerNorm",
    }


def layer_names(layer: str, attention: Sequence[str], dense: Sequence[str], norms: Sequence[str]) -> dict[str, str]:
    """The names within a Transformer layer.

    Args:
        layer: "encoder.layer.{}".
        attention: query, key, value and the projection after them.
        dense: the intermediate layer and the one after it.
        norms: after attention, and at the layer's end.
    """
    ours = (
        *(f"self_attention_layer/{name}" for name in ("query", "key", "value", "attention_output")),
        *("feedforward_intermediate_dense", "feedforward_output_dense"),
        *("self_attention_layer_norm", "feedforward_layer_norm"),
    )
    theirs = (*attention, *dense, *norms)
    return {f"transformer_layer_{{}}/{our}": f"{layer}.{their}" for our, their in zip(ours, theirs, strict=True)}


BERT_LAYER = layer_names(
    "encoder.layer.{}",
    attention=("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    dense=("intermediate.dense", "output.dense"),
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
)
CONSTANTS = {  # buffers that older versions saved
    r"(.*\.)?embeddings\.position_ids": "the numbers 0, 1, 2 and so on",
    r"(.*\.)?embeddings\.token_type_ids": "zeros",
}
