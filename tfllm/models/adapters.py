"""Low-rank adapters (LoRA): a few new weights are trained beside the encoder's, which stay as they are.

In: a model with a head on an encoder or decoder of ours. Out: the same model, of which adapters and head are trained;
the adapters are then merged into the weights, or saved alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.models.decoder_block import DecoderBlock
from tfllm.models.recipe import read_encoder, read_recipe
from tfllm.models.saving import KIND as MODEL
from tfllm.models.saving import WEIGHTS, load_encoder, rebuild
from tfllm.models.transformer import TransformerEncoder

KIND = "adapters"
FILE = "adapters.npz"
TARGETS = ("query", "key", "value", "output", "intermediate", "feedforward")
USUAL = ("query", "value")
_LAYERS = (TransformerEncoder, DecoderBlock)


def add_adapters(model: keras.Model, rank: int, targets: Sequence[str] = USUAL) -> None:
    """Have only adapters of the encoder be trained, and the head, with its pooler if it reads one.

    Each chosen kernel W becomes W + A B, where A has `rank` columns and B, which begins with zeros, as many rows: the
    model computes what it did before. Under attention A has a part for each head. They are float32 under every policy.

    Args:
        model: an encoder from `build_encoder`, or a decoder from `build_decoder`, with a head.
        rank: of the product A B.
        targets: which kernels of every Transformer layer: query, key, value, output (of attention), intermediate,
            feedforward (the layer after it). In a decoder query, key and value are one kernel, with one adapter.

    Raises:
        InputError: for a bad argument, a rank above the width of a kernel, a model without layers of tfllm's own, or
            one that has adapters already.

    Source: Hu et al. 2021, arXiv:2106.09685; Keras's `enable_lora`.
    """
    checks.check_at_least("rank", rank, 1)
    for target in targets:
        checks.check_one_of("targets", target, TARGETS)
    layers = [layer for layer in model.layers if isinstance(layer, _LAYERS)]
    if not layers:
        raise InputError(
            f"Only layers of tfllm's own encoders and decoders can have adapters; {model.name!r} has none."
        )
    if any(True for _ in _adapted(model)):
        raise InputError(f"The model {model.name!r} has adapters already: merge them first.")
    chosen = [_distinct(_kernel_layer(layer, target) for target in targets) for layer in layers]
    checks.check_between("rank", rank, 1, min((one._kernel.shape[0] for row in chosen for one in row), default=rank))
    encoder = {layer.name for layer in read_encoder(model).layers} - {"pooled_dense"}
    for layer in model.layers:
        if layer.name in encoder:
            for weight in layer.weights:
                weight.trainable = False
    for row in chosen:
        for kernel_layer in row:
            kernel_layer.enable_lora(rank)
    _forget_graphs(model)


def merge_adapters(model: keras.Model) -> None:
    """Add the adapters to the weights they stand beside, and take them away: the model computes the same without them.

    All weights are trainable again. Compile the model anew before it is trained again.
    """
    for layer in list(_adapted(model)):
        product = keras.ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
        layer._kernel.assign(layer._kernel + product * (layer.lora_alpha / layer.lora_rank))
        layer._untrack_variable(layer.lora_kernel_a)
        layer._untrack_variable(layer.lora_kernel_b)
        layer.lora_enabled = False
    for weight in model.weights:
        weight.trainable = True
    _forget_graphs(model)


def save_adapters(model: keras.Model, directory: str | Path, base: str | Path) -> None:
    """Write what was trained, adapters and head, without the encoder's weights.

    Args:
        model: with adapters, its encoder from `load_encoder(base)`.
        directory: where; it must not exist yet.
        base: the model directory of the encoder, which `load_adapters` reads again; its hash is recorded.

    Raises:
        InputError: when the directory exists, the model has no adapters, or `base` is no model directory.
    """
    adapted = list(_adapted(model))
    if not adapted:
        raise InputError(f"The model {model.name!r} has no adapters: `add_adapters` adds them.")
    hashes = manifest.read_manifest(base, MODEL)["files"]
    names = [name for name in TARGETS if _kernel_layer(_first(model), name).lora_enabled]
    arguments = {
        "recipe": read_recipe(model),
        "rank": adapted[0].lora_rank,
        "targets": names,
        "base": str(base),
        "base_weights": hashes[WEIGHTS],
    }
    values = {weight.path: np.asarray(weight.value, np.float32) for weight in model.trainable_variables}
    with manifest.write_directory(directory, KIND, arguments) as beside:
        np.savez(beside / FILE, **values)


def load_adapters(directory: str | Path, base: str | Path | None = None) -> keras.Model:
    """The model that `save_adapters` was given, with its adapters.

    Args:
        directory: what `save_adapters` wrote.
        base: where the encoder's model directory stands now; None: where it stood then.

    Raises:
        InputError: if a file is damaged, or the encoder has other weights than the adapters were trained with.
    """
    directory = Path(directory)
    found = manifest.read_manifest(directory, KIND)
    manifest.check_files(directory, found)
    arguments = found["arguments"]
    base = Path(base or arguments["base"])
    if manifest.read_manifest(base, MODEL)["files"][WEIGHTS] != arguments["base_weights"]:
        raise InputError(f"{base} has other weights than those the adapters in {directory} were trained with.")
    model, encoder = rebuild(arguments["recipe"])
    for ours, theirs in zip(encoder.layers, load_encoder(base).layers, strict=True):
        ours.set_weights(theirs.get_weights())
    add_adapters(model, arguments["rank"], arguments["targets"])
    with np.load(directory / FILE, allow_pickle=False) as values:
        for weight in model.trainable_variables:
            weight.assign(values[weight.path])
    return model


def _forget_graphs(model: keras.Model) -> None:
    """Drop what `fit` and `predict` have compiled: it has the adapters in it, or lacks them."""
    model.train_function = model.test_function = model.predict_function = None


def _adapted(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers whose kernels have adapters."""
    for layer in model.layers:
        if isinstance(layer, _LAYERS):
            found = _distinct(_kernel_layer(layer, name) for name in TARGETS)
            yield from (each for each in found if each.lora_enabled)


def _first(model: keras.Model) -> keras.layers.Layer:
    return next(layer for layer in model.layers if isinstance(layer, _LAYERS))


def _distinct(layers: Iterable[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return list({id(layer): layer for layer in layers}.values())


def _kernel_layer(layer: keras.layers.Layer, name: str) -> keras.layers.Layer:
    if isinstance(layer, DecoderBlock):
        return {
            "query": layer.attention_input,
            "key": layer.attention_input,
            "value": layer.attention_input,
            "output": layer.attention_output,
            "intermediate": layer.feedforward_input,
            "feedforward": layer.feedforward_output,
        }[name]
    attention = layer._self_attention_layer
    return {
        "query": attention.query_dense,
        "key": attention.key_dense,
        "value": attention.value_dense,
        "output": attention.output_dense,
        "intermediate": layer._feedforward_intermediate_dense,
        "feedforward": layer._feedforward_output_dense,
    }[name]
