"""A checkpoint directory of Hugging Face becomes a model of ours.

In: `config.json` and safetensors. Out: a Keras model with the same numbers, its head included. Names and shapes are
compared before anything is built: whatever does not fit is an error that names it.
"""

import re
from typing import NamedTuple

import keras
import numpy as np

from tfllm.checks import InputError, did_you_mean
from tfllm.models.pretrained.albert import ALBERT
from tfllm.models.pretrained.architecture import Architecture
from tfllm.models.pretrained.bart import BART, MARIAN
from tfllm.models.pretrained.bert import BERT
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import Family, fill_decoder
from tfllm.models.pretrained.distilbert import DISTILBERT
from tfllm.models.pretrained.electra import ELECTRA
from tfllm.models.pretrained.encoder_decoders import Seq2SeqFamily, check_start, fill_encoder_decoder
from tfllm.models.pretrained.files import Folder, read_json
from tfllm.models.pretrained.gpt2 import GPT2
from tfllm.models.pretrained.heads import Head, read_head
from tfllm.models.pretrained.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from tfllm.models.pretrained.mpnet import MPNET
from tfllm.models.pretrained.roberta import ROBERTA, XLM_ROBERTA
from tfllm.models.pretrained.sentences import read_modules
from tfllm.models.pretrained.t5 import T5
from tfllm.models.pretrained.tensorflow_names import H5, open_h5, renamed
from tfllm.models.pretrained.tensors import INDEX, SINGLE, Tensor, open_tensors
from tfllm.models.pretrained.weights import encoder_shapes, tensor_names, to_keras
from tfllm.models.recipe import read_recipe
from tfllm.models.saving import rebuild

ARCHITECTURES = {
    architecture.model_type: architecture
    for architecture in (BERT, ROBERTA, XLM_ROBERTA, DISTILBERT, ELECTRA, ALBERT, MPNET)
}
DECODERS = {family.model_type: family for family in (GPT2, LLAMA, QWEN2, QWEN3, MISTRAL)}
ENCODER_DECODERS = {family.model_type: family for family in (T5, BART, MARIAN)}
_UNREAD_POOLER = "a pooler that this head does not read"
POSITIONS = "position_embedding/embeddings"


class Checkpoint(NamedTuple):
    """A model that was read, and what of the files is not in it."""

    model: keras.Model
    class_name: str  # "BertForMaskedLM"
    left_out: dict[str, str]  # tensors -> the reason

    @property
    def writes(self) -> bool:
        """Whether it is a model that writes text."""
        return read_recipe(self.model)["builder"] in ("add_causal_lm_head", "add_seq2seq_head")


def load_checkpoint(folder: Folder, *, trust: bool = False) -> Checkpoint:
    """Read a directory that `save_pretrained` of transformers wrote, or `save` of sentence-transformers.

    A sentence-transformers directory becomes a model from `add_embedding_head`. With `trust` a `tf_model.h5` is read
    where there are no safetensors; see `open_h5`.

    Raises:
        InputError: if a file is missing, damaged or too large, the architecture is unknown, a tensor is missing or has
            another shape than config.json says, or a tensor is there that the model has no place for.
    """
    sentences = read_modules(folder)
    if sentences is not None:
        folder = sentences.encoder
    config = Config(folder.need("config.json"), read_json(folder.need("config.json")))
    found = _read_class(config)
    config.check_usual(encoder_decoder=isinstance(found, Seq2SeqFamily))
    if isinstance(found, Seq2SeqFamily):
        check_start(folder, config, found)
    tensors = _open(folder, trust)
    if isinstance(found, Family | Seq2SeqFamily):
        fill_all = fill_decoder if isinstance(found, Family) else fill_encoder_decoder
        model, left_out = fill_all(config, found, tensors)
        return Checkpoint(model, found.classes[0], left_out)
    architecture, kind = found
    if sentences is None:
        return fill(config, architecture, kind, tensors)
    arguments = {"pooling": sentences.pooling, "normalize": sentences.normalize}
    return fill(config, architecture, "Model", tensors, Head("add_embedding_head", arguments, {}))


def _open(folder: Folder, trust: bool) -> dict[str, Tensor]:
    """All tensors, under the names that PyTorch's classes give them."""
    h5 = None if folder.find(SINGLE) or folder.find(INDEX) else folder.find(H5)
    if h5 is None:
        return renamed(open_tensors(folder))
    if not trust:
        raise InputError(
            f"{h5} is read by a library that was not made for hostile files: import it with --trust (trust=True) "
            "if you know where it comes from."
        )
    return open_h5(h5)


def fill(
    config: Config, architecture: Architecture, kind: str, tensors: dict[str, Tensor], head: Head | None = None
) -> Checkpoint:
    """Build the model that `config` describes and give it the tensors.

    Args:
        config: the values of config.json.
        architecture, kind: what it is, "ForMaskedLM"; see `Architecture.heads`.
        tensors: all there are, by name.
        head: what is put on a bare encoder.
    """
    tensors, left_out = _without_unused(architecture, kind, head, tensors)
    tensors = _without_copies(architecture, config, tensors)
    prefix = architecture.prefix if any(name.startswith(architecture.prefix) for name in tensors) else ""
    encoder, first_position = _read_encoder(config, architecture, kind, prefix, tensors)
    head = head if kind == "Model" else read_head(config, kind, encoder)
    shapes = {**encoder_shapes(encoder), **(head.shapes if head else {})}
    rows, width = shapes[POSITIONS]
    shapes[POSITIONS] = (rows + first_position, width)
    sources = _match(config, _names(architecture, kind, prefix, shapes), shapes, tensors)
    model = _build(encoder, head)
    for weight in model.weights:
        value = sources[weight.path].read()
        if weight.path == POSITIONS:
            value = value[first_position:]
        elif head is not None and head.order and weight.path.startswith("logits/"):
            value = value[head.order]
        weight.assign(to_keras(weight.path, value, tuple(weight.shape)))
    return Checkpoint(model, architecture.classes + kind, left_out)


def _read_class(config: Config) -> tuple[Architecture, str] | Family | Seq2SeqFamily:
    """The architecture and how the name of the class ends; or the family of a model that writes."""
    model_type, families = config.word("model_type"), {**ARCHITECTURES, **DECODERS, **ENCODER_DECODERS}
    if model_type not in families:
        raise InputError(
            f"{config.file}: tfllm reads {', '.join(families)}, not {model_type!r:.100}"
            f"{did_you_mean(model_type[:100], families)}."
        )
    family = families[model_type]
    if isinstance(family, Family | Seq2SeqFamily):
        first, known = family.classes[0], dict.fromkeys(family.classes)
    else:
        first, known = family.classes + "Model", {family.classes + kind: kind for kind in family.heads}
        known |= {family.classes + other: kind for other, kind in family.kinds.items()}
    classes = config.values.get("architectures") or [first]
    if not isinstance(classes, list) or len(classes) != 1 or not isinstance(classes[0], str) or classes[0] not in known:
        raise InputError(
            f"{config.file}: `architectures` must be one of {', '.join(known)}. Received: {classes!r:.100}."
        )
    return (family, known[classes[0]]) if isinstance(family, Architecture) else family


def _read_encoder(
    config: Config, architecture: Architecture, kind: str, prefix: str, tensors: dict[str, Tensor]
) -> tuple[dict, int]:
    """All arguments of `build_encoder`, and how many rows of the position table come before the first token's."""
    defaults = {"normalize_first": False, "embedding_dim": None, "share_layers": False, "relative_buckets": None}
    arguments = {**defaults, **architecture.read(config)}
    first_position = architecture.first_position(config.identifier("pad_token_id", 1))
    arguments["max_sequence_length"] -= first_position
    if arguments["max_sequence_length"] < 1:
        raise InputError(f"{config.file}: `max_position_embeddings` leaves no position beyond that of the padding.")
    if arguments["hidden_dim"] % arguments["num_heads"]:
        raise InputError(
            f"{config.file}: the width {arguments['hidden_dim']} cannot be shared by {arguments['num_heads']} heads."
        )
    if kind == "ForMaskedLM" and architecture.head_activation not in (None, arguments["activation"]):
        raise InputError(
            f"{config.file}: the head of such a masked language model has the activation "
            f"{architecture.head_activation}, and tfllm gives it that of the layers. "
            f"Received: {arguments['activation']}."
        )
    own = "pooled_dense" in architecture.heads[kind] or kind == "ForSequenceClassification"
    there = f"{prefix}{architecture.names.get('pooled_dense')}.weight" in tensors
    return {**arguments, "pooler_activation": architecture.pooler if own or there else None}, first_position


def _without_unused(
    architecture: Architecture, kind: str, head: Head | None, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    patterns, pooler = dict(architecture.unused), architecture.names.get("pooled_dense")
    own = "pooled_dense" in architecture.heads[kind]
    reads_pooler = (kind == "Model" and head is None) or (kind == "ForSequenceClassification" and not own)
    if pooler and not reads_pooler:
        patterns[rf"({re.escape(architecture.prefix)})?{re.escape(pooler)}\..*"] = _UNREAD_POOLER
    left_out = {name: reason for name in tensors for pattern, reason in patterns.items() if re.fullmatch(pattern, name)}
    return {name: tensor for name, tensor in tensors.items() if name not in left_out}, left_out


def _without_copies(architecture: Architecture, config: Config, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those that stand there twice once; InputError if the two are not equal."""
    tensors = dict(tensors)
    for copy, first in architecture.copies.items():
        if copy not in tensors:
            continue
        second = tensors.pop(copy)
        if first not in tensors:
            tensors[first] = second
        elif second.shape != tensors[first].shape or not np.array_equal(second.read(), tensors[first].read()):
            raise InputError(
                f"{config.file.parent}: {copy} differs from {first}. In tfllm's models the two are one matrix (tied), "
                "so this checkpoint cannot be imported with its head."
            )
    return tensors


def _names(architecture: Architecture, kind: str, prefix: str, shapes: dict) -> dict[str, list[str]]:
    """What the tensor of each weight may be called."""
    head = architecture.heads[kind]
    encoder = {our: prefix + their for our, their in architecture.names.items() if our not in head}
    return {path: tensor_names(path, {**encoder, **head}) for path in shapes}


def _match(
    config: Config, names: dict[str, list[str]], shapes: dict[str, tuple[int, ...]], tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensor of each weight; InputError names those that are missing, left over, or of another shape."""
    found = {path: next((name for name in choices if name in tensors), None) for path, choices in names.items()}
    missing = [names[path][0] for path, name in found.items() if name is None]
    left = sorted(set(tensors) - set(found.values()))
    if missing or left:
        raise InputError(
            f"{config.file.parent} is not the model its config.json describes."
            + (f" Missing: {_listed(missing)}." if missing else "")
            + (f" The model has no place for: {_listed(left)}." if left else "")
        )
    for path, name in found.items():
        if tensors[name].shape != shapes[path]:
            raise InputError(
                f"{config.file.parent}: {name} has the shape {tensors[name].shape}; "
                f"by config.json it is {shapes[path]}."
            )
    return {path: tensors[name] for path, name in found.items()}


def _build(encoder: dict, head: Head | None) -> keras.Model:
    recipe = {"builder": "build_encoder", "arguments": encoder, "encoder": None}
    if head is not None:
        recipe = {"builder": head.builder, "arguments": head.arguments, "encoder": recipe}
    return rebuild(recipe)[0]


def _listed(names: list[str], most: int = 12) -> str:
    shown = [name if len(name) <= 120 else f"{name[:117]}..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
