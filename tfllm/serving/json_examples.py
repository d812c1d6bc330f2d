"""The JSON of `:classify` and `:regress` <-> tf.Example messages and results.

Rules and messages are those of TF Serving. Source: tensorflow_serving/util/json_tensor.cc.
"""

import json

import numpy as np
import tensorflow as tf

from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.json_body import Repeated, shown
from tfllm.serving.json_tensors import check_rows, check_text, decode_base64, is_base64, json_type, short_floats
from tfllm.serving.limits import Limits

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: dict, limits: Limits) -> list[bytes]:
    """The serialized tf.Examples of a body; its `context` stands before each of them.

    Raises:
        ServingError: when the body holds no examples.
    """
    context = _read_example(body["context"], limits) if "context" in body else b""
    if "examples" not in body:
        raise invalid(
            f"JSON Value: {shown(body)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = body["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {shown(body)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {shown(body)} 'examples' value is an empty array")
    check_rows(len(examples), limits)
    return with_context(context, [_read_example(example, limits) for example in examples], limits)


def with_context(context: bytes, examples: list[bytes], limits: Limits) -> list[bytes]:
    """Serialized tf.Examples, each behind the one that all share, which a small request could make as many times.

    Raises:
        ServingError: where that takes more than a request may, or one of them more than a text may.
    """
    size, most = len(context) * len(examples), limits.body_bytes
    if most and size > most:
        raise invalid(f"The context takes {size} bytes in all examples; this server takes {most} (--max-body-bytes)")
    found = [context + example for example in examples]
    for example in found:
        check_text(example, limits)
    return found


def write_classes(classes: np.ndarray | None, scores: np.ndarray | None) -> bytes:
    """The JSON of classes, string (B, C), with their scores, float32 (B, C); either may be missing."""
    shape = (classes if classes is not None else scores).shape
    names = np.full(shape, b"", object) if classes is None else classes
    numbers = short_floats(np.zeros(shape, np.float32) if scores is None else scores)
    rows = [
        [[name.decode("utf-8", "surrogateescape"), number] for name, number in zip(*row, strict=True)]
        for row in zip(names.tolist(), numbers, strict=True)
    ]
    return _dump(rows)


def write_values(values: np.ndarray) -> bytes:
    """The JSON of regressions, float32 (B,)."""
    return _dump(short_floats(values))


def _read_example(value: object, limits: Limits) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    example = tf.train.Example()
    for name, content in (value.last if isinstance(value, Repeated) else value).items():
        feature = example.features.feature[name]
        for one in content if isinstance(content, list) else [content]:
            _add(one, name, feature, limits)
    return example.SerializeToString(deterministic=True)


def _add(value: object, name: str, feature: tf.train.Feature, limits: Limits) -> None:
    if isinstance(value, bool):
        _list_of("int64_list", name, feature).append(int(value))
    elif isinstance(value, str) or is_base64(value):
        text = value.encode() if isinstance(value, str) else decode_base64(value)
        check_text(text, limits)
        _list_of("bytes_list", name, feature).append(text)
    elif isinstance(value, float):
        if abs(value) > float(np.finfo(np.float32).max) and abs(value) != float("inf"):
            raise invalid(f"Cannot convert JSON value: {shown(value)} to float without loss of precision.")
        _list_of("float_list", name, feature).append(value)
    elif isinstance(value, int):
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        _list_of("int64_list", name, feature).append(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _list_of(kind: str, name: str, feature: tf.train.Feature):
    """The list of a feature, which holds values of one kind."""
    there = feature.WhichOneof("kind")
    if there not in (None, kind):
        raise _mixed(name, there)
    return getattr(feature, kind).value


def _mixed(name: str, there: str) -> ServingError:
    return invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[there]}")


def _dump(results: list) -> bytes:
    lines = ",\n        ".join(json.dumps(row, ensure_ascii=False) for row in results)
    return f'{{\n    "results": [\n        {lines}\n    ]\n}}'.encode("utf-8", "surrogateescape")
