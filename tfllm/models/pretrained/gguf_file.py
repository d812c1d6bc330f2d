"""GGUF files: what stands in the header, read with limits, and tensors as float32 when they are asked for.

In: a file. Out: values by name, and name -> `Tensor`. The numbers are made of the quantised ones by the `gguf` package;
the header is read here, because that package believes every length and count in it.

Source: docs/gguf.md of ggml-org/ggml.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tfllm.checks import InputError
from tfllm.models.pretrained.tensors import MOST_TENSORS, Tensor

_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # of `struct`
_MOST_VALUES = 4_000  # named ones
_MOST_BYTES = 256_000_000  # of names and values together; the largest published vocabularies have 10 million
_MOST_ELEMENTS = 4_000_000  # of an array
_MOST_AXES = 4
_LONGEST_NAME = 1_000


class Gguf(NamedTuple):
    """A file: `values` are numbers, texts, and lists of either, by name."""

    file: Path
    values: dict[str, Any]
    tensors: dict[str, Tensor]


class _Header:
    """Reads from the beginning of a file on, and never past its end."""

    def __init__(self, file: Path, stream: BinaryIO, size: int):
        self.file, self._stream, self._left = file, stream, size
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self._left or self.position + size > _MOST_BYTES:
            what = "ends within its header" if size > self._left else f"has a header of more than {_MOST_BYTES:,} bytes"
            raise InputError(f"{self.file} {what}: it is damaged or not whole.")
        self._left -= size
        self.position += size
        return self._stream.read(size)

    def numbers(self, kind: int, count: int) -> tuple:
        """The next numbers of a kind."""
        form = _NUMBERS[kind]
        return struct.unpack(f"<{count}{form}", self.take(count * struct.calcsize(form)))

    def number(self, kind: int) -> Any:
        """The next number of a kind."""
        return self.numbers(kind, 1)[0]

    def text(self, most: int = _MOST_BYTES) -> str:
        """The next text."""
        length = self.number(10)
        if length > most:
            raise InputError(f"{self.file} has a text of {length:,} bytes; at most {most:,} are read.")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise InputError(f"{self.file} has a text that is not UTF-8.") from None

    def value(self) -> Any:
        """The next value, of the kind that stands before it."""
        kind = self.number(4)
        if kind != _ARRAY:
            return self._single(kind)
        kind, count = self.number(4), self.number(10)
        if count > _MOST_ELEMENTS:
            raise InputError(f"{self.file} has a list of {count:,} values; at most {_MOST_ELEMENTS:,} are read.")
        if kind in _NUMBERS:
            return list(self.numbers(kind, count))
        return [self._single(kind) for _ in range(count)]

    def _single(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind not in _NUMBERS:
            raise InputError(f"{self.file} has a value of the unknown kind {kind}.")
        return self.number(kind)


def open_gguf(file: Path) -> Gguf:
    """The values of a GGUF file, and its tensors.

    Raises:
        InputError: if it is none, is damaged or not whole, or has more or larger parts than it may; without the `gguf`
            package.
    """
    try:
        import gguf
    except ModuleNotFoundError:
        raise InputError("Reading GGUF files needs the gguf package: pip install 'tfllm[gguf]'.") from None
    size = file.stat().st_size
    with file.open("rb") as stream:
        header = _Header(file, stream, size)
        if header.take(4) != _MAGIC:
            raise InputError(f"{file} is no GGUF file.")
        version = header.number(4)
        if version not in _VERSIONS:
            raise InputError(f"{file}: GGUF of version 2 or 3 is read, little-endian. Received: {version}.")
        tensor_count, value_count = header.numbers(10, 2)
        if tensor_count > MOST_TENSORS or value_count > _MOST_VALUES:
            raise InputError(
                f"{file} has {tensor_count:,} tensors and {value_count:,} values; at most {MOST_TENSORS:,} and "
                f"{_MOST_VALUES:,} are read."
            )
        values = _distinct(file, [(header.text(_LONGEST_NAME), header.value()) for _ in range(value_count)])
        entries = _distinct(file, [_entry(header) for _ in range(tensor_count)])
        alignment = values.get("general.alignment", 32)
        if type(alignment) is not int or not 1 <= alignment <= 1 << 20:
            raise InputError(f"{file}: `general.alignment` must be a number of bytes. Received: {alignment!r:.100}.")
        start = -(-header.position // alignment) * alignment
    return Gguf(file, values, {name: _tensor(file, gguf, name, *entry, start, size) for name, entry in entries.items()})


def _distinct(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InputError(f"{file} names a value or a tensor twice.")
    return found


def _entry(header: _Header) -> tuple[str, tuple[tuple[int, ...], int, int]]:
    """Name; shape, kind and offset of a tensor."""
    name, axes = header.text(_LONGEST_NAME), header.number(4)
    if axes > _MOST_AXES:
        raise InputError(f"{header.file}: {name!r:.100} has {axes:,} axes; at most {_MOST_AXES} are read.")
    shape = header.numbers(10, axes)[::-1]  # theirs begins with the axis whose numbers stand side by side
    return name, (shape, header.number(4), header.number(10))


def _tensor(
    file: Path, gguf: Any, name: str, shape: tuple[int, ...], kind: int, offset: int, start: int, size: int
) -> Tensor:
    try:
        quantization = gguf.GGMLQuantizationType(kind)
        block, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
    except (ValueError, KeyError):
        raise InputError(f"{file}: {name!r:.100} has the unknown type {kind}.") from None
    count = math.prod(shape)
    length = count // block * block_bytes
    if not shape or count == 0 or shape[-1] % block or start + offset + length > size:
        raise InputError(f"{file}: {name!r:.100} of the shape {shape} does not fit into the file: it is damaged.")
    return Tensor(shape, quantization.name, _reader(file, gguf, name, shape, quantization, start + offset, length))


def _reader(
    file: Path, gguf: Any, name: str, shape: tuple[int, ...], kind: Any, start: int, length: int
) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        stored = np.fromfile(file, np.uint8, length, offset=start).reshape(*shape[:-1], -1)
        try:
            numbers = gguf.quants.dequantize(stored, kind).astype(np.float32, copy=False).reshape(shape)
        except (NotImplementedError, ValueError):
            raise InputError(f"{file}: {name!r:.100} has the type {kind.name}, which cannot be dequantised.") from None
        if not np.isfinite(numbers).all():
            raise InputError(f"{file}: {name!r:.100} holds numbers that are infinite or none at all (NaN).")
        return numbers

    return read
