"""Tensors of a checkpoint: what there is, of what shape, read one by one as float32.

In: a directory with `model.safetensors`, or its shards and their index. Out: name -> `Tensor`. Of the files only the
headers are read at first, and checked; a tensor's numbers when it is asked for.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfllm.checks import InputError
from tfllm.models.pretrained.files import MOST_JSON_BYTES, Folder, parse_json, read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_TENSORS = 20_000
MOST_SHARDS = 1_000
_MOST_AXES = 8
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_READABLE = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "pytorch_model.pt")
_OTHERS = ("flax_model.msgpack", "model.onnx")


class Tensor(NamedTuple):
    """A tensor that has not been read yet."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]  # float32, of this shape


def open_tensors(folder: Folder) -> dict[str, Tensor]:
    """All tensors of a checkpoint directory.

    Raises:
        InputError: if there is no safetensors file, or one is damaged, or has more, larger or other tensors than it
            may.
    """
    single, index = folder.find(SINGLE), folder.find(INDEX)
    if single is not None:
        return read_header(single)
    if index is None:
        raise InputError(_no_weights(folder))
    return _open_shards(folder, index)


def _no_weights(folder: Folder) -> str:
    for name in (*_PICKLES, *_OTHERS):
        if (folder.path / name).exists():
            reason = "is a pickle, which can run any program when it is read" if name in _PICKLES else "is not read"
            return (
                f"{folder.path} has no {SINGLE}, and {name} {reason}. Where transformers and PyTorch are installed, "
                f"convert it: AutoModelForMaskedLM.from_pretrained({str(folder.path)!r}).save_pretrained('NEW'), with "
                "the class that config.json names under `architectures`."
            )
    return f"{folder.path} has no {SINGLE} and no {INDEX}: there are no weights to import."


def _open_shards(folder: Folder, index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InputError(f"{index} needs a `weight_map` from names of tensors to names of files.")
    names = sorted(set(weight_map.values()))
    if len(names) > MOST_SHARDS:
        raise InputError(f"{index} names {len(names):,} files; at most {MOST_SHARDS:,} are read.")
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"{index} may name only .safetensors files beside it. Received: {_short(name)}.")
    found: dict[str, Tensor] = {}
    for name in names:
        file = folder.find(name)
        if file is None:
            raise InputError(f"{folder.path} has no {name}, which {INDEX} names.")
        tensors = read_header(file)
        expected = {tensor for tensor, where in weight_map.items() if where == name}
        if set(tensors) != expected:
            raise InputError(f"{file} does not hold what {INDEX} says: {_some(set(tensors) ^ expected)}.")
        found |= tensors
    if len(found) > MOST_TENSORS:
        raise InputError(f"{folder.path} has {len(found):,} tensors; at most {MOST_TENSORS:,} are read.")
    return found


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: unless the header is whole, no longer than 8 MB, names each tensor once with a known type and a
            shape of its number of bytes, and the tensors fill the file without gap or overlap.
    """
    size = file.stat().st_size
    with open(file, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(MOST_JSON_BYTES, size - 8):
            raise InputError(
                f"{file} is no safetensors file, or not whole: its header should have {length:,} bytes, from 1 to "
                f"{min(MOST_JSON_BYTES, max(size - 8, 0)):,} can be."
            )
        header = parse_json(stream.read(length), file)
    header.pop("__metadata__", None)
    if not 0 < len(header) <= MOST_TENSORS:
        raise InputError(f"{file} has {len(header):,} tensors; from 1 to {MOST_TENSORS:,} are read.")
    data = 8 + length
    entries = {name: _entry(file, name, entry) for name, entry in header.items()}
    position = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != position:
            raise InputError(f"{file}: {name!r} overlaps another tensor or leaves a gap; the header is damaged.")
        position = end
    if position != size - data:
        raise InputError(f"{file} should have {data + position:,} bytes and has {size:,}: it is not whole.")
    return {
        name: Tensor(shape, dtype, _reader(file, name, dtype, shape, data + begin))
        for name, (dtype, shape, begin, _) in entries.items()
    }


def _entry(file: Path, name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, first byte and end of one tensor."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = isinstance(dtype, str) and all(
            type(number) is int and 0 <= number < 2**60 for number in (*shape, begin, end)
        )
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole or len(shape) > _MOST_AXES:
        raise InputError(f"{file}: {_short(name)} has no type, shape and offsets as a tensor has them.")
    if dtype not in _BYTES:
        raise InputError(f"{file}: {_short(name)} has the unknown type {_short(dtype)}.")
    if math.prod(shape) * _BYTES[dtype] != end - begin:
        raise InputError(f"{file}: {_short(name)} of type {dtype} and shape {shape} cannot have {end - begin:,} bytes.")
    return dtype, shape, begin, end


def _reader(file: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        if dtype not in _READABLE:
            raise InputError(f"{file}: {_short(name)} has type {dtype}; weights must be F32, F16 or BF16.")
        numbers = np.fromfile(file, _READABLE[dtype], math.prod(shape), offset=offset).reshape(shape)
        if dtype == "BF16":  # the upper half of a float32
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        numbers = numbers.astype(np.float32, copy=False)
        if not np.isfinite(numbers).all():
            raise InputError(f"{file}: {_short(name)} holds numbers that are infinite or none at all (NaN).")
        return numbers

    return read


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _some(names: set[str], most: int = 5) -> str:
    listed = ", ".join(map(_short, sorted(names)[:most]))
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")
