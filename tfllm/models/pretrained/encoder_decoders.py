"""Families of published encoder-decoders: how their tensors become the weights of `build_encoder_decoder`, and back.

A layer of ours is named by its path in the model, as in `decoders`. What such a model multiplies its numbers by, and
ours does not, is multiplied into its weights.
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
from tfllm.models.pretrained.decoders import EMBEDDING, HEAD, LEAVES, OWN_MATRIX, Source, check_tensors
from tfllm.models.pretrained.files import Folder, read_json
from tfllm.models.pretrained.tensors import Tensor
from tfllm.models.saving import rebuild

LOGITS_BIAS, FINAL_BIAS = "token_embedding/logits_bias", "final_logits_bias"  # ours and theirs
_POSITIONS = ("source_position_embedding/embeddings", "position_embedding/embeddings")
_IDS = {"cls": "bos_token_id", "sep": "eos_token_id", "pad": "pad_token_id"}


class Seq2SeqFamily(NamedTuple):
    """One family of encoder-decoders."""

    model_type: str  # as config.json has it
    classes: tuple[str, str]  # with the head, and bare
    prefix: str  # before the names of tensors, where there is a head
    names: Callable[[dict], dict[str, tuple[str, ...]]]  # arguments -> our layers -> their modules
    read: Callable[[Config, Mapping[str, Tensor]], dict]  # config.json -> arguments of `build_encoder_decoder`
    write: Callable[[dict], dict]  # and back
    is_made_by: Callable[[dict], bool]  # whether such arguments make this family
    start: tuple[str, ...]  # the special tokens that targets begin with
    copies: tuple[str, ...]  # modules that hold the token embedding once more
    first_position: int = 0  # rows of the position tables before the first token's
    factors: Callable[[dict], dict[str, float]] = lambda arguments: {}  # patterns of their tensors -> ours / theirs
    unused: Mapping[str, str] = MappingProxyType({})  # patterns of tensors that are left out -> the reason


def sources(family: Seq2SeqFamily, arguments: dict, prefix: str) -> dict[str, Source]:
    """Path in the Keras model -> tensors of the checkpoint.

    Args:
        family: whose names.
        arguments: all those of `build_encoder_decoder`.
        prefix: that of the family, or nothing for a model without a head.
    """
    found, names = {}, family.names(arguments)
    for path, (outputs, inputs) in _sizes(arguments, family.first_position).items():
        if path in (OWN_MATRIX, LOGITS_BIAS):
            found[path] = Source((HEAD if path == OWN_MATRIX else FINAL_BIAS,), ((*outputs, *inputs),))
            continue
        layer, _, leaf = path.rpartition("/")
        number = re.search(r"\d+", layer)
        modules = names[re.sub(r"\d+", "{}", layer)]
        split = outputs if len(modules) == len(outputs) else (sum(outputs),)
        tensors = (f"{prefix}{module.format(number and number[0])}.{LEAVES[leaf]}" for module in modules)
        found[path] = Source(tuple(tensors), tuple((size, *inputs) for size in split))
    return found


def _sizes(arguments: dict, first_position: int) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Path in the Keras model -> the sizes of its parts along the outputs, and the other axes."""
    vocabulary, hidden, heads = arguments["vocabulary_size"], arguments["hidden_dim"], arguments["num_heads"]
    blocks = {"encoder": arguments["num_layers"], "decoder": arguments["num_decoder_layers"]}
    sizes = {EMBEDDING: ((vocabulary,), (hidden,))}
    for prefix in ("source_", ""):
        if arguments["positions"] == "learned":
            rows = arguments["max_sequence_length"] + first_position
            sizes[f"{prefix}position_embedding/embeddings"] = ((rows,), (hidden,))
        if arguments["positions"] == "relative":
            sizes[f"{prefix}relative_bias/embeddings"] = ((arguments["relative_buckets"],), (heads,))
        if arguments["normalize_embeddings"]:
            sizes |= _norm(f"{prefix}embedding_norm", arguments)
    for part, count in blocks.items():
        for number in range(count):
            sizes |= _block(f"{part}_block_{number}", arguments, source=part == "decoder")
    for number in range(blocks["decoder"]):
        keys = (arguments["num_key_value_heads"] or heads) * _width(arguments)
        sizes |= _dense(f"source_keys_{number}/dense", (keys, keys), hidden, arguments["biases"] != "none")
    if arguments["normalize_first"]:
        sizes |= _norm("encoder_norm", arguments) | _norm("final_norm", arguments)
    if not arguments["tie_embeddings"]:
        sizes[OWN_MATRIX] = ((vocabulary,), (hidden,))
    if arguments["logits_bias"]:
        sizes[LOGITS_BIAS] = ((1,), (vocabulary,))
    return sizes


def _block(block: str, arguments: dict, *, source: bool) -> dict:
    """The sizes within a block; `source`: one that attends to a source, too."""
    hidden, between, width = arguments["hidden_dim"], arguments["intermediate_dim"], _width(arguments)
    queries = arguments["num_heads"] * width
    keys = (arguments["num_key_value_heads"] or arguments["num_heads"]) * width
    biased, everywhere = arguments["biases"] != "none", arguments["biases"] == "all"
    gates = 2 if arguments["activation"] in GATED else 1
    sizes = _dense(f"{block}/attention_input", (queries, keys, keys), hidden, biased)
    sizes |= _dense(f"{block}/attention_output", (hidden,), queries, everywhere)
    sizes |= _dense(f"{block}/feedforward_input", (between,) * gates, hidden, everywhere)
    sizes |= _dense(f"{block}/feedforward_output", (hidden,), between, everywhere)
    sizes |= _norm(f"{block}/attention_norm", arguments) | _norm(f"{block}/feedforward_norm", arguments)
    if source:
        sizes |= _dense(f"{block}/source_query", (queries,), hidden, biased)
        sizes |= _dense(f"{block}/source_output", (hidden,), queries, everywhere)
        sizes |= _norm(f"{block}/source_norm", arguments)
    return sizes


def _width(arguments: dict) -> int:
    return arguments["head_dim"] or arguments["hidden_dim"] // arguments["num_heads"]


def _dense(layer: str, outputs: tuple[int, ...], inputs: int, has_bias: bool) -> dict:
    return {f"{layer}/kernel": (outputs, (inputs,))} | ({f"{layer}/bias": (outputs, ())} if has_bias else {})


def _norm(layer: str, arguments: dict) -> dict:
    leaves = ("gamma", "beta") if arguments["norm"] == "layer" else ("gamma",)
    return {f"{layer}/{leaf}": ((arguments["hidden_dim"],), ()) for leaf in leaves}


def fill_encoder_decoder(
    config: Config, family: Seq2SeqFamily, tensors: Mapping[str, Tensor]
) -> tuple[keras.Model, dict[str, str]]:
    """Build the model that `config` describes, with its head, and give it the tensors.

    Returns:
        The model, and tensors that are not in it -> the reason.

    Raises:
        InputError: for a tensor that is missing, left over, or of another shape than the file says.
    """
    left_out = {name: why for name in tensors for pattern, why in family.unused.items() if re.fullmatch(pattern, name)}
    tensors = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    prefix = family.prefix if any(name.startswith(family.prefix) for name in tensors) else ""
    arguments = family.read(config, tensors)
    if arguments["head_dim"] is None and arguments["hidden_dim"] % arguments["num_heads"]:
        heads, hidden = arguments["num_heads"], arguments["hidden_dim"]
        raise InputError(f"{config.file}: the width {hidden} cannot be shared by {heads} heads.")
    wanted = sources(family, arguments, prefix)
    copies = [f"{prefix}{module}.weight" for module in family.copies] + [HEAD] * arguments["tie_embeddings"]
    tensors = _without_copies(config, tensors, wanted[EMBEDDING].names[0], copies)
    if FINAL_BIAS in tensors and not arguments["logits_bias"]:
        left_out[FINAL_BIAS] = "zeros, which change no logit"
        del tensors[FINAL_BIAS]
    check_tensors(config, wanted, tensors)
    recipe = {"builder": "build_encoder_decoder", "arguments": arguments, "encoder": None}
    start = family.start[0] if len(family.start) == 1 else list(family.start)
    model, _ = rebuild({"builder": "add_seq2seq_head", "arguments": {"start": start}, "encoder": recipe})
    for weight in model.weights:
        source = wanted[weight.path]
        parts = [tensors[name].read() * _factor(family, arguments, name) for name in source.names]
        weight.assign(to_keras(family, weight.path, parts).reshape(weight.shape))
    return model, left_out


def to_keras(family: Seq2SeqFamily, path: str, parts: list[np.ndarray]) -> np.ndarray:
    """The weight at `path` from its tensors, in our numbers."""
    value = np.concatenate(parts)
    if path in _POSITIONS:
        return value[family.first_position :]
    return value.T if path.endswith("/kernel") or path == OWN_MATRIX else value


def to_checkpoint(
    family: Seq2SeqFamily, arguments: dict, path: str, value: np.ndarray, source: Source
) -> dict[str, np.ndarray]:
    """The tensors of the weight at `path`."""
    value = value.T if path.endswith("/kernel") or path == OWN_MATRIX else value
    if path in _POSITIONS:
        value = np.concatenate([np.zeros((family.first_position, value.shape[1]), value.dtype), value])
    value = value[None] if path == LOGITS_BIAS else value
    parts = np.split(value, np.cumsum([shape[0] for shape in source.shapes])[:-1])
    return {
        name: np.ascontiguousarray(part / np.float32(_factor(family, arguments, name)))
        for name, part in zip(source.names, parts, strict=True)
    }


def differs(tensors: Mapping[str, Tensor], name: str, other: str) -> bool:
    """Whether both tensors are there, and are not the same."""
    if name not in tensors or other not in tensors:
        return False
    first, second = tensors[name], tensors[other]
    return first.shape != second.shape or not np.array_equal(first.read(), second.read())


def has_logits_bias(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the file has a bias of the logits that is not zero."""
    return FINAL_BIAS in tensors and bool(tensors[FINAL_BIAS].read().any())


def one_size(config: Config, names: tuple[str, str], kind: str) -> int:
    """A size that encoder and decoder share; InputError if they have two."""
    first, second = (config.integer(name, kind) for name in names)
    if first != second:
        raise InputError(
            f"{config.file}: `{names[0]}` and `{names[1]}` must be equal: encoder and decoder are of one width here. "
            f"Received: {first} and {second}."
        )
    return first


def _factor(family: Seq2SeqFamily, arguments: dict, name: str) -> float:
    return next((value for pattern, value in family.factors(arguments).items() if re.fullmatch(pattern, name)), 1.0)


def check_start(folder: Folder, config: Config, family: Seq2SeqFamily) -> None:
    """Raise InputError if targets begin with another token than the family's do: config.json or, in newer directories,
    generation_config.json says it.
    """
    file, name = folder.find("generation_config.json"), _IDS[family.start[0]]
    for said in (config, Config(file, read_json(file))) if file else (config,):
        given, usual = said.values.get("decoder_start_token_id"), config.values.get(name)
        if given is not None and usual is not None and given != usual:
            raise InputError(
                f"{said.file}: `decoder_start_token_id` must be `{name}`, {usual!r:.20}. Received: {given!r:.20}."
            )
        forced, usual = said.values.get("forced_bos_token_id"), config.values.get("bos_token_id")
        if forced is not None and (len(family.start) == 1 or (usual is not None and forced != usual)):
            raise InputError(
                f"{said.file}: a {family.model_type} whose texts begin with a `forced_bos_token_id` of their own is "
                f"not read. Received: {forced!r:.20}."
            )


def _without_copies(config: Config, tensors: Mapping[str, Tensor], first: str, copies: list[str]) -> dict[str, Tensor]:
    """The tensors without those that hold the token embedding once more; InputError if one is not equal to it."""
    tensors = dict(tensors)
    for copy in copies:
        if differs(tensors, copy, first):
            raise InputError(
                f"{config.file.parent}: {copy} differs from {first}, and in such a model the two are one matrix."
            )
        if copy in tensors:
            tensors.setdefault(first, tensors.pop(copy))
    return tensors
