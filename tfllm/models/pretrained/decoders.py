"""Families of published decoders: how their tensors become the weights of `build_decoder`, and back.

A layer of ours is named by its path in the model, "decoder_block_{}/attention_input"; {} stands for the number of the
block. Theirs are the modules whose matrices, one below the other, are that layer's: queries, keys and values.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import keras
import numpy as np

from tfllm.checks import InputError
from tfllm.models.decoder_parts import GATED
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.tensors import Tensor
from tfllm.models.saving import rebuild

EMBEDDING, OWN_MATRIX = "token_embedding/embeddings", "token_embedding/reverse_embeddings"
HEAD = "lm_head.weight"
LEAVES = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


class Family(NamedTuple):
    """One family of decoders."""

    model_type: str  # as config.json has it
    classes: tuple[str, str]  # with the head, and bare
    prefix: str  # before the names of the decoder's tensors, where there is a head
    names: dict[str, tuple[str, ...]]  # our layers -> their modules
    read: Callable[[Config], dict]  # config.json -> arguments of `build_decoder`
    write: Callable[[dict], dict]  # and back
    is_made_by: Callable[[dict], bool]  # whether such arguments make this family
    inputs_first: bool = False  # a matrix is stored as (in, out)
    unused: Mapping[str, str] = MappingProxyType({})  # patterns of tensors that are left out -> the reason


class Source(NamedTuple):
    """The tensors a weight is made of, laid end to end along its outputs."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]  # of each


def sources(family: Family, arguments: dict, prefix: str) -> dict[str, Source]:
    """Path in the Keras model -> tensors of the checkpoint.

    Args:
        family: whose names.
        arguments: all those of `build_decoder`.
        prefix: that of the family, or nothing for a bare decoder.
    """
    found = {}
    for path, (outputs, inputs) in _sizes(arguments).items():
        if path == OWN_MATRIX:
            found[path] = Source((HEAD,), ((sum(outputs), *inputs),))
            continue
        layer, _, leaf = path.rpartition("/")
        number = re.search(r"\d+", layer)
        modules = family.names[re.sub(r"\d+", "{}", layer)]
        names = [f"{prefix}{module.format(number and number[0])}.{LEAVES[leaf]}" for module in modules]
        split = outputs if len(modules) == len(outputs) else (sum(outputs),)
        turned = family.inputs_first and leaf == "kernel"
        shapes = [(*inputs, size) if turned else (size, *inputs) for size in split]
        found[path] = Source(tuple(names), tuple(shapes))
    return found


def _sizes(arguments: dict) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Path in the Keras model -> the sizes of its parts along the outputs, and the other axes."""
    hidden, between = arguments["hidden_dim"], arguments["intermediate_dim"]
    width = arguments["head_dim"] or hidden // arguments["num_heads"]
    queries, keys = arguments["num_heads"] * width, (arguments["num_key_value_heads"] or arguments["num_heads"]) * width
    matrices = {
        "attention_input": ((queries, keys, keys), hidden, arguments["biases"] != "none"),
        "attention_output": ((hidden,), queries, arguments["biases"] == "all"),
        "feedforward_input": ((between,) * (2 if arguments["activation"] in GATED else 1), hidden, None),
        "feedforward_output": ((hidden,), between, None),
    }
    sizes = {EMBEDDING: ((arguments["vocabulary_size"],), (hidden,))}
    if arguments["positions"] == "learned":
        sizes["position_embedding/embeddings"] = ((arguments["max_sequence_length"],), (hidden,))
    for number in range(arguments["num_layers"]):
        block = f"decoder_block_{number}"
        for name, (outputs, inputs, has_bias) in matrices.items():
            sizes[f"{block}/{name}/kernel"] = (outputs, (inputs,))
            if arguments["biases"] == "all" or has_bias:
                sizes[f"{block}/{name}/bias"] = (outputs, ())
        for name in ("attention_norm", "feedforward_norm"):
            sizes |= _norm(f"{block}/{name}", hidden, arguments["norm"])
        for name in ("query_norm", "key_norm") if arguments.get("norm_queries_and_keys") else ():
            sizes |= _norm(f"{block}/{name}", width, "rms")
    sizes |= _norm("final_norm", hidden, arguments["norm"])
    if not arguments["tie_embeddings"]:
        sizes[OWN_MATRIX] = ((arguments["vocabulary_size"],), (hidden,))
    return sizes


def _norm(layer: str, size: int, kind: str) -> dict:
    leaves = ("gamma", "beta") if kind == "layer" else ("gamma",)
    return {f"{layer}/{leaf}": ((size,), ()) for leaf in leaves}


def fill_decoder(config: Config, family: Family, tensors: Mapping[str, Tensor]) -> tuple[keras.Model, dict[str, str]]:
    """Build the model that `config` describes, with its head, and give it the tensors.

    Returns:
        The model, and tensors that are not in it -> the reason.

    Raises:
        InputError: for a tensor that is missing, left over, or of another shape than the file says.
    """
    arguments = _read(config, family)
    left_out = {name: why for name in tensors for pattern, why in family.unused.items() if re.fullmatch(pattern, name)}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    prefix = family.prefix if any(name.startswith(family.prefix) for name in tensors) else ""
    wanted = sources(family, arguments, prefix)
    if arguments["tie_embeddings"]:
        tensors = _without_copy(config, tensors, wanted[EMBEDDING].names[0])
    check_tensors(config, wanted, tensors)
    recipe = {"builder": "build_decoder", "arguments": arguments, "encoder": None}
    model, _ = rebuild({"builder": "add_causal_lm_head", "arguments": {}, "encoder": recipe})
    for weight in model.weights:
        parts = [tensors[name].read() for name in wanted[weight.path].names]
        weight.assign(to_keras(family, weight.path, parts))
    return model, left_out


def _read(config: Config, family: Family) -> dict:
    arguments = family.read(config)
    heads, groups = arguments["num_heads"], arguments["num_key_value_heads"] or arguments["num_heads"]
    if arguments["head_dim"] is None and arguments["hidden_dim"] % heads:
        raise InputError(f"{config.file}: the width {arguments['hidden_dim']} cannot be shared by {heads} heads.")
    if heads % groups:
        raise InputError(f"{config.file}: {heads} heads of queries cannot share {groups} of keys and values.")
    return arguments


def to_keras(family: Family, path: str, parts: list[np.ndarray]) -> np.ndarray:
    """The weight at `path` from its tensors."""
    if path.endswith("/kernel") and family.inputs_first:
        return np.concatenate(parts, axis=-1)
    value = np.concatenate(parts)
    return value.T if path.endswith("/kernel") or path == OWN_MATRIX else value


def to_checkpoint(family: Family, path: str, value: np.ndarray, source: Source) -> dict[str, np.ndarray]:
    """The tensors of the weight at `path`."""
    turned = path.endswith("/kernel") or path == OWN_MATRIX
    axis = 1 if turned and family.inputs_first else 0
    value = value.T if turned and not family.inputs_first else value
    ends = np.cumsum([shape[axis] for shape in source.shapes])[:-1]
    parts = np.split(value, ends, axis=axis)
    return {name: np.ascontiguousarray(part) for name, part in zip(source.names, parts, strict=True)}


def _without_copy(config: Config, tensors: dict[str, Tensor], first: str) -> dict[str, Tensor]:
    """The tensors without the head's, which is that of the token embedding; InputError if the two are not equal."""
    tensors = dict(tensors)
    copy = tensors.pop(HEAD, None)
    if copy is not None and first not in tensors:
        tensors[first] = copy
    elif copy is not None and (copy.shape != tensors[first].shape or (copy.read() != tensors[first].read()).any()):
        raise InputError(
            f"{config.file.parent}: {HEAD} differs from {first}, and by config.json the two are one matrix "
            "(`tie_word_embeddings`)."
        )
    return tensors


def check_tensors(config: Config, wanted: dict[str, Source], tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError if a tensor is missing, left over, or of another shape than that of its `Source`."""
    shapes = {name: shape for one in wanted.values() for name, shape in zip(*one, strict=True)}
    missing, left = [name for name in shapes if name not in tensors], sorted(set(tensors) - set(shapes))
    if missing or left:
        raise InputError(
            f"{config.file.parent} is not the model its {config.file.name} describes."
            + (f" Missing: {_listed(missing)}." if missing else "")
            + (f" The model has no place for: {_listed(left)}." if left else "")
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise InputError(
                f"{config.file.parent}: {name} has the shape {tensors[name].shape}; "
                f"by {config.file.name} it is {shape}."
            )


def _listed(names: list[str], most: int = 12) -> str:
    shown = [name if len(name) <= 120 else f"{name[:117]}..." for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
