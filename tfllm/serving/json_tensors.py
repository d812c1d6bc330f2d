"""The JSON of `:predict` <-> arrays: row format (`instances`) and columnar format (`inputs`).

Rules and messages are those of TF Serving. Source: tensorflow_serving/util/json_tensor.cc.
"""

import base64
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.json_body import Repeated, shown
from tfllm.serving.limits import Limits

ROW, COLUMNAR = "row", "columnar"
_BASE64 = "b64"
_NO_SPACES = str.maketrans("", "", " \t\n\v\f\r")
_RANGES = {  # of the integers a dtype takes; int8, int16 and uint8 are numbers of 32 bits for TF Serving's parser
    np.int8: (-(2**31), 2**31 - 1),
    np.int16: (-(2**31), 2**31 - 1),
    np.uint8: (-(2**31), 2**31 - 1),
    np.int32: (-(2**31), 2**31 - 1),
    np.int64: (-(2**63), 2**63 - 1),
    np.uint32: (0, 2**32 - 1),
    np.uint64: (0, 2**64 - 1),
}
_DIGITS = {np.float32: 24, np.float64: 53}


class Asked(NamedTuple):
    """What a `:predict` body asks."""

    inputs: dict[str, np.ndarray]
    form: str


def read_predict(body: dict, tensors: Mapping, limits: Limits) -> Asked:
    """The inputs of a `:predict` body.

    Args:
        body: the JSON object.
        tensors: TensorInfo by input name, of the signature.
        limits: on rows and texts.

    Raises:
        ServingError: when the body does not fit the signature.
    """
    if "instances" in body and "inputs" in body:
        raise invalid(
            f"JSON Value: {shown(body)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to "
            "exist "
        )
    if "instances" in body:
        instances = body["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {shown(body)} Excepting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {shown(body)} No values in 'instances' array")
        check_rows(len(instances), limits)
        return Asked(_read_rows(instances, tensors, limits), ROW)
    if "inputs" in body:
        return Asked(_read_columns(body["inputs"], tensors, limits), COLUMNAR)
    raise invalid("Missing 'inputs' or 'instances' key")


def write_predict(outputs: Mapping[str, np.ndarray], form: str) -> bytes:
    """The JSON of an answer, one row a line.

    A single output loses its name. Strings of outputs named `*_bytes` are base64; all others are written as they are.
    """
    names = sorted(outputs)
    if form == COLUMNAR:
        columns = {name: _to_json(name, outputs[name]) for name in names}
        value = columns if len(names) > 1 else columns[names[0]]
        return _dump_object("outputs", _dumps(value))
    rows = {name: len(outputs[name]) if outputs[name].ndim else None for name in names}
    for name, count in rows.items():
        if count is None:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if count != rows[names[0]]:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {count} expecting: {rows[names[0]]}")
    columns = [_to_json(name, outputs[name]) for name in names]
    if len(names) == 1:
        predictions = columns[0]
    else:
        predictions = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    lines = ",\n        ".join(_dumps(row) for row in predictions)
    return _dump_object("predictions", f"[{lines and chr(10) + '        '}{lines}\n    ]")


def check_rows(count: int, limits: Limits) -> None:
    """Raise ServingError if a request has more rows than this server takes."""
    if limits.instances and count > limits.instances:
        raise invalid(f"{count} instances; this server takes {limits.instances} a request (--max-instances)")


def check_text(text: bytes, limits: Limits) -> None:
    """Raise ServingError if a string is longer than this server takes."""
    if limits.text_bytes and len(text) > limits.text_bytes:
        raise invalid(f"A text of {len(text)} bytes; this server takes {limits.text_bytes} (--max-text-bytes)")


def is_base64(value: object) -> bool:
    """Whether a JSON value is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_BASE64), str)


def decode_base64(value: dict) -> bytes:
    """The bytes of `{"b64": "..."}`; with or without padding, in one line or several."""
    text = value[_BASE64].translate(_NO_SPACES)
    digits = text.rstrip("=")
    padding = -len(digits) % 4
    try:
        if len(text) - len(digits) in (0, padding):
            return base64.b64decode(digits + "=" * padding, validate=True)
    except ValueError:
        pass
    raise invalid("Unable to base64 decode")


def short_floats(values: np.ndarray) -> list:
    """Nested lists of doubles with no more digits than a float32 needs: 0.2, not 0.20000000298023224."""
    flat = values.astype(np.float32).ravel()
    short = [float(f"{value:.6g}") for value in flat.tolist()]
    wrong = np.flatnonzero(np.array(short, np.float32) != flat)
    for place in wrong.tolist():
        short[place] = float(f"{flat[place]:.9g}")
    return np.array(short, np.float64).reshape(values.shape).tolist()


def _read_rows(instances: list, tensors: Mapping, limits: Limits) -> dict[str, np.ndarray]:
    first = instances[0]
    if len(tensors) > 1 and not isinstance(first, dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = isinstance(first, dict) and not is_base64(first)
    names = sorted(tensors)
    columns = {name: _Column(name, tensors[name], limits) for name in names}
    for number, instance in enumerate(instances):
        if (isinstance(instance, dict) and not is_base64(instance)) != named:
            found = "Expecting object but got list at item" if named else "Expecting value/list but got object at item"
            raise invalid(f"{found} {number} of input list")
        if isinstance(instance, Repeated):  # TF Serving takes the second value for another row's
            raise invalid(f"Failed to process element: {number} of 'instances' list. It names {instance.name!r} twice.")
        for name, item in instance.items() if named else ((names[0], instance),):
            try:
                if name not in columns:
                    raise invalid(f"JSON object: does not have named input: {name}")
                columns[name].add(item)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {error.code}: "
                    f"{error.message}"
                ) from None
        if named and sorted(instance) != names:
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: {shown(instance)} keys must be "
                f"equal to: {','.join(names)}"
            )
    return {name: column.array() for name, column in columns.items() if named or name == names[0]}


def _read_columns(value: object, tensors: Mapping, limits: Limits) -> dict[str, np.ndarray]:
    names = sorted(tensors)
    if not isinstance(value, dict) or is_base64(value):
        if len(names) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {names[0]: value}
    for name in names:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    arrays = {}
    for name in names:
        if isinstance(value[name], list):
            check_rows(len(value[name]), limits)
        column = _Column(name, tensors[name], limits)
        column.add(value[name])
        arrays[name] = column.array()[0, ...]  # an array, even of a single string
    return arrays


class _Column:
    """The values of one input, row by row; all rows have the shape of the first."""

    def __init__(self, name: str, tensor, limits: Limits):
        self._dtype = tf.dtypes.as_dtype(tensor.dtype)
        self._dtype_name = types_pb2.DataType.Name(tensor.dtype).removeprefix("DT_").lower()
        self._limits = limits
        self._shape: list[int] | None = None
        self._values: list = []
        self._rows = 0

    def add(self, item: object) -> None:
        """Add a row."""
        shape = _shape_of(item)
        count = len(self._values)
        self._fill(item, 0, shape)
        added = len(self._values) - count
        if self._shape is None:
            self._shape = shape
        elif added != count // self._rows:
            raise invalid(f"Expecting tensor size: {count // self._rows} but got: {added}")
        elif shape != self._shape:
            raise invalid(f"Expecting shape {_show_shape(self._shape)} but got: {_show_shape(shape)}")
        self._rows += 1

    def array(self) -> np.ndarray:
        """All rows, (rows, ...)."""
        kind = object if self._dtype == tf.string else self._dtype.as_numpy_dtype
        try:
            flat = np.array(self._values, np.int64) if kind in (np.int8, np.int16, np.uint8) else None
            flat = np.array(self._values, kind) if flat is None else flat.astype(kind)
        except (OverflowError, ValueError, TypeError) as error:
            raise invalid(str(error)) from None
        return flat.reshape([self._rows, *self._shape])

    def _fill(self, item: object, level: int, shape: list[int]) -> None:
        if not isinstance(item, list):
            if level != len(shape):
                raise invalid(
                    f"JSON Value: {shown(item)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                    f"level: {len(shape)}"
                )
            self._values.append(self._value(item))
            return
        if level >= len(shape):
            raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(item) != shape[level]:
            raise invalid(
                f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}"
            )
        for one in item:
            self._fill(one, level + 1, shape)

    def _value(self, item: object) -> object:
        if self._dtype == tf.string:
            return self._string(item)
        kind = self._dtype.as_numpy_dtype
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if kind in _DIGITS:
            if is_number:
                return self._decimal(item, kind)
        elif kind in _RANGES:
            low, high = _RANGES[kind]
            if is_number and isinstance(item, int) and low <= item <= high:
                return item
        elif kind is np.bool_:
            if isinstance(item, bool):
                return item
        else:
            raise ServingError("UNIMPLEMENTED", f"Conversion of JSON Value: {shown(item)} to type: {self._dtype_name}")
        raise self._type_error(item)

    def _string(self, item: object) -> bytes:
        if isinstance(item, dict):
            if not is_base64(item):
                raise invalid(f"JSON Value: {shown(item)} not formatted correctly for base64 data")
            text = decode_base64(item)
        elif isinstance(item, str):
            text = item.encode()
        else:
            raise self._type_error(item)
        check_text(text, self._limits)
        return text

    def _decimal(self, item: int | float, kind: type) -> float:
        most = 2 ** _DIGITS[kind] - 1
        target = "float" if kind is np.float32 else "double"
        fits = abs(item) <= most if isinstance(item, int) else not abs(item) > float(np.finfo(kind).max)
        if not fits and abs(item) != float("inf"):
            raise invalid(f"Cannot convert JSON value: {shown(item)} to {target} without loss of precision.")
        return float(item)

    def _type_error(self, item: object) -> ServingError:
        return invalid(f"JSON Value: {shown(item)} Type: {json_type(item)} is not of expected type: {self._dtype_name}")


def json_type(value: object) -> str:
    """The name RapidJSON has for the type of a value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = {dict: "Object", list: "Array", str: "String"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "Number")


def _shape_of(item: object) -> list[int]:
    shape = []
    while isinstance(item, list):
        shape.append(len(item))
        if not item:
            break
        item = item[0]
    return shape


def _show_shape(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _to_json(name: str, array: np.ndarray) -> object:
    """Nested lists of an output's values."""
    if array.dtype == object:
        encode = (lambda text: {_BASE64: base64.b64encode(text).decode()}) if name.endswith("_bytes") else _as_text
        return np.vectorize(encode, otypes=[object])(array).tolist() if array.size else array.tolist()
    if array.dtype == np.float32 or array.dtype == np.float16 or array.dtype.name == "bfloat16":
        return short_floats(array)
    if array.dtype.kind in "fiub":
        return array.tolist()
    raise invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")


def _as_text(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _dump_object(key: str, value: str) -> bytes:
    """`{key: value}`; bytes that are not UTF-8 leave as they came."""
    return f'{{\n    "{key}": {value}\n}}'.encode("utf-8", "surrogateescape")
