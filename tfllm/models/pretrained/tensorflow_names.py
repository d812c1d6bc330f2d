"""What the TensorFlow classes of transformers wrote (`TFBertFor...`): `tf_model.h5`, or safetensors with their names.

In: the file. Out: tensors under the names the other checkpoints have, matrices turned as theirs are.
"""

import math
import re
from pathlib import Path

import h5py
import numpy as np

from tfllm.checks import InputError
from tfllm.models.pretrained.tensors import MOST_TENSORS, Tensor

H5 = "tf_model.h5"
_LEAVES = {"kernel": "weight", "embeddings": "weight", "gamma": "weight", "beta": "bias"}
_TYPES = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16"}


def open_h5(file: Path) -> dict[str, Tensor]:
    """The tensors of a `tf_model.h5`.

    The library that reads the file's structure was not made for hostile files: ask whether this one is trusted. What
    stands elsewhere than in the file is not read.

    Raises:
        InputError: if it is no such file, or holds links, compressed or other than float numbers.
    """
    found: dict[str, list[Tensor]] = {}
    try:
        with h5py.File(file, "r") as stream:
            names = _datasets(stream)
            if len(names) > MOST_TENSORS:
                raise InputError(f"{file} has {len(names):,} tensors; at most {MOST_TENSORS:,} are read.")
            for name in names:
                # A group for each layer, the name of the model, then what the variable is called.
                variable = name.split("/", 2)[2] if name.count("/") > 1 else name
                found.setdefault(rename(variable), []).append(_turned(variable, _tensor(file, name, stream[name])))
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not a whole HDF5 file: {str(error)[:200]}.") from None
    return {name: _one(file, name, tensors) for name, tensors in found.items()}


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a safetensors file under the usual names, if TensorFlow wrote it; it names variables with ":0"."""
    if not any(name.endswith(":0") for name in tensors):
        return tensors
    return {rename(name): _turned(name, tensor) for name, tensor in tensors.items()}


def rename(variable: str) -> str:
    """The usual name: "bert/encoder/layer_._0/output/dense/kernel:0" -> "bert.encoder.layer.0.output.dense.weight".

    A layer called "mlm___cls" is `cls` there.
    """
    *layers, leaf = variable.removesuffix(":0").split("/")
    layers = [re.sub(r".*___", "", layer).replace("_._", ".") for layer in layers]
    return ".".join([*layers, _LEAVES.get(leaf, leaf)])


def _datasets(group: h5py.Group, prefix: str = "") -> list[str]:
    """The names of all datasets; InputError for a link, which might lead into another file."""
    names = []
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"{group.file.filename}: {prefix}{name} is a link; only what stands in the file is read.")
        value = group[name]
        names += _datasets(value, f"{prefix}{name}/") if isinstance(value, h5py.Group) else [prefix + name]
    return names


def _tensor(file: Path, name: str, dataset: h5py.Dataset) -> Tensor:
    offset, shape = dataset.id.get_offset(), tuple(dataset.shape)
    size = math.prod(shape) * dataset.dtype.itemsize
    if dataset.external or dataset.is_virtual or offset is None or offset + size > file.stat().st_size:
        raise InputError(f"{file}: {name} does not stand in the file as plain numbers.")
    if dataset.dtype not in _TYPES:
        raise InputError(f"{file}: {name} has type {dataset.dtype}; weights must be float32 or float16.")
    dtype = dataset.dtype

    def read() -> np.ndarray:
        numbers = np.fromfile(file, dtype, math.prod(shape), offset=offset).reshape(shape).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise InputError(f"{file}: {name} holds numbers that are infinite or none at all (NaN).")
        return numbers

    return Tensor(shape, _TYPES[dtype], read)


def _turned(variable: str, tensor: Tensor) -> Tensor:
    if not variable.removesuffix(":0").endswith("/kernel"):
        return tensor
    return Tensor(tensor.shape[::-1], tensor.dtype, lambda: tensor.read().T)


def _one(file: Path, name: str, tensors: list[Tensor]) -> Tensor:
    """The tensor, which a head that uses the embeddings makes stand there twice."""
    first, *others = tensors
    if any(other.shape != first.shape or not np.array_equal(other.read(), first.read()) for other in others):
        raise InputError(f"{file} holds {name} twice, with different numbers.")
    return first
