"""A request that fits a signature -> what to feed the graph and what to fetch; what came back -> the answer.

Rules and messages are those of TF Serving. Source: predict_util.cc, classifier.cc, regressor.cc and multi_inference.cc
in tensorflow_serving/servables/tensorflow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.loaded import DEFAULT

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
SignatureDef = meta_graph_pb2.SignatureDef


class Call(NamedTuple):
    """One run of a graph.

    Attributes:
        feeds: arrays by the names of tensors.
        fetches: names of tensors.
        rows: the first dimension of all feeds; None when they differ, and the call runs alone.
        batches: whether it may share a run with other calls, and its answers then are still those it gets alone.
        api: what it is counted as: "Predict", "Classify", "Regress" or "MultiInference".
    """

    feeds: dict[str, np.ndarray]
    fetches: tuple[str, ...]
    rows: int | None
    batches: bool
    api: str


def predict_call(signature: SignatureDef, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Call:
    """The run of a Predict request.

    Args:
        signature: what is asked.
        inputs: arrays by input name.
        outputs: the names of the outputs that are wanted; none: all.
    """
    inputs = {**inputs, **_defaults(signature, inputs)}
    _check_names(signature, inputs)
    for name, array in inputs.items():
        _check_array(name, array, signature.inputs[name])
    for place, name in enumerate(outputs):
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{_join(signature.outputs)}}}."
            )
        if name in outputs[:place]:
            raise invalid(f"duplicate output tensor alias: {name}")
    feeds = {signature.inputs[name].name: array for name, array in inputs.items()}
    wanted = [signature.outputs[name] for name in outputs or sorted(signature.outputs)]
    return _call("Predict", feeds, wanted, signature.inputs.values())


def predict_outputs(signature: SignatureDef, outputs: Sequence[str], found: Mapping) -> dict[str, np.ndarray]:
    """The arrays of a Predict answer by output name."""
    return {name: found[signature.outputs[name].name] for name in outputs or sorted(signature.outputs)}


def classify_call(signature: SignatureDef, examples: Sequence[bytes]) -> Call:
    """The run of a Classify request: serialized tf.Examples in."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise _precondition(f"No classification inputs found in SignatureDef: {_show(signature)}")
    wanted = [signature.outputs[name] for name in ("classes", "scores") if name in signature.outputs]
    if not wanted:
        raise _precondition(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature '
            f"was: {_show(signature)}"
        )
    return _example_call("Classify", signature, wanted, examples)


def classify_outputs(
    signature: SignatureDef, count: int, found: Mapping
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Classes, string (B, C), and scores, float32 (B, C), of a Classify answer; one of them may be None."""
    arrays = {name: found[signature.outputs[name].name] for name in ("classes", "scores") if name in signature.outputs}
    for name, array in arrays.items():
        kind, dtype = ("DT_STRING", object) if name == "classes" else ("DT_FLOAT", np.float32)
        if array.ndim != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {list(array.shape)}")
        if array.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of {kind}. Got: {array.dtype.name}")
        if len(array) != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    if len({array.shape[1] for array in arrays.values()}) > 1:
        sizes = " vs. ".join(str(array.shape[1]) for array in arrays.values())
        raise invalid(f"Tensors class and score should match in dim_size(1). Got {sizes}")
    return arrays.get("classes"), arrays.get("scores")


def regress_call(signature: SignatureDef, examples: Sequence[bytes]) -> Call:
    """The run of a Regress request: serialized tf.Examples in."""
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise _precondition(f"No regression inputs found in SignatureDef: {_show(signature)}")
    if "outputs" not in signature.outputs:
        raise _precondition(f"No regression outputs found in SignatureDef: {_show(signature)}")
    return _example_call("Regress", signature, [signature.outputs["outputs"]], examples)


def regress_outputs(signature: SignatureDef, count: int, found: Mapping) -> np.ndarray:
    """The values of a Regress answer, float32 (B,)."""
    array = found[signature.outputs["outputs"].name]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(array.shape)}"
        )
    if len(array) != count:
        raise invalid(f"Input batch size did not match output batch size: {count} vs. {len(array)}")
    if array.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {array.dtype.name}")
    return array.reshape(-1)


def multi_call(tasks: Sequence[tuple[str, SignatureDef]], examples: Sequence[bytes]) -> Call:
    """One run for several Classify and Regress tasks: (method name, signature) of each."""
    calls = []
    for method, signature in tasks:
        if method not in (CLASSIFY, REGRESS):
            raise ServingError("UNIMPLEMENTED", f"Unsupported signature method_name: {method}")
        calls.append((classify_call if method == CLASSIFY else regress_call)(signature, examples))
    fetches = tuple(sorted({name for call in calls for name in call.fetches}))
    # Signatures of TensorFlow 2 have an input tensor each, which all hold the same examples.
    feeds = {name: array for call in calls for name, array in call.feeds.items()}
    return Call(feeds, fetches, calls[0].rows, all(call.batches for call in calls), "MultiInference")


def find_signature(signatures: Mapping[str, SignatureDef], name: str, error: ServingError) -> SignatureDef:
    """A signature by its name; "" is the default one. `error` if there is none."""
    if (name or DEFAULT) not in signatures:
        raise error
    return signatures[name or DEFAULT]


def _example_call(api: str, signature: SignatureDef, wanted: list, examples: Sequence[bytes]) -> Call:
    if not examples:
        raise invalid("Input is empty.")
    tensor = signature.inputs["inputs"]
    array = np.array(examples, object)
    _check_array("inputs", array, tensor)
    return _call(api, {tensor.name: array}, wanted, [tensor])


def _call(api: str, feeds: dict[str, np.ndarray], wanted: Sequence, inputs: Iterable) -> Call:
    """A run; shared where all inputs and outputs are [batch, ...] and no output is as wide as the batch makes it."""
    counts = {len(array) if array.ndim else None for array in feeds.values()}
    rows = counts.pop() if len(counts) == 1 else None
    batches = bool(rows) and all(_is_batched(tensor) for tensor in (*inputs, *wanted))
    batches = batches and all(dimension.size >= 0 for tensor in wanted for dimension in tensor.tensor_shape.dim[1:])
    return Call(feeds, tuple(tensor.name for tensor in wanted), rows, batches, api)


def _is_batched(tensor) -> bool:
    shape = tensor.tensor_shape
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1


def _defaults(signature: SignatureDef, inputs: Mapping) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(value) for name, value in signature.defaults.items() if name not in inputs}


def _check_names(signature: SignatureDef, inputs: Mapping) -> None:
    if len(inputs) != len(signature.inputs):
        extra, missing = set(inputs) - set(signature.inputs), set(signature.inputs) - set(inputs)
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)} len({{{_join(inputs)}}}) != "
            f"len({{{_join(signature.inputs)}}}). Sent extra: {{{_join(extra)}}}. Missing but required: "
            f"{{{_join(missing)}}}."
        )
    for name in inputs:
        if name not in signature.inputs:
            raise invalid(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the set "
                f"{{{_join(signature.inputs)}}}."
            )


def _check_array(name: str, array: np.ndarray, tensor) -> None:
    dtype = tf.dtypes.as_dtype(tensor.dtype)
    if array.dtype != (object if dtype == tf.string else dtype.as_numpy_dtype):
        found = "string" if array.dtype == object else array.dtype.name
        raise invalid(f"input {name}: the signature has dtype {dtype.name}, not {found}")
    shape = tensor.tensor_shape
    sizes = [dimension.size for dimension in shape.dim]
    fits = len(sizes) == array.ndim and all(size in (-1, found) for size, found in zip(sizes, array.shape, strict=True))
    if not shape.unknown_rank and not fits:
        raise invalid(f"input {name}: the signature has shape {sizes}, not {list(array.shape)}")


def _precondition(message: str) -> ServingError:
    return ServingError("FAILED_PRECONDITION", message)


def _show(signature: SignatureDef) -> str:
    """A signature in a message: names and dtypes."""
    sides = (
        " ".join(f"{name}: {types_pb2.DataType.Name(side[name].dtype)}" for name in sorted(side))
        for side in (signature.inputs, signature.outputs)
    )
    return "inputs {{ {} }} outputs {{ {} }}".format(*sides)


def _join(names: Iterable[str]) -> str:
    return ",".join(sorted(names))
