"""A SavedModel's graph with every operation once.

In: a SavedModel directory. Out: the same functions with fewer nodes. Python makes the -1 of a slice anew for each
slice, and the shape of a tensor for each use: of what is traced, a quarter to two fifths stands there already. A server
merges that, too, but only after it has read all of it, and again for every signature.
"""

from collections.abc import Mapping
from pathlib import Path

from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.saved_model.fingerprinting_utils import write_fingerprint

from tfllm.export.versions import GRAPH_FILE

_LARGE = 1 << 16  # bytes of a constant that is not compared


def merge_equal_nodes(directory: Path) -> None:
    """Replace every operation of a function by an earlier one that computes the same of the same inputs.

    Operations with a state, or that wait for others, stay: reading a variable, checking, drawing random numbers.
    """
    file = directory / GRAPH_FILE
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for function in saved.meta_graphs[0].graph_def.library.function:
        while _merge(function):
            pass
    file.write_bytes(saved.SerializeToString())
    write_fingerprint(str(directory))


def _merge(function: function_pb2.FunctionDef) -> bool:
    """Merge what is equal from the first node to the last; whether there was any."""
    first, replaced = {}, {}
    for node in function.node_def:
        node.input[:] = [_renamed(one, replaced) for one in node.input]
        if _depends_on_inputs_alone(node):
            name = first.setdefault(_content(node), node.name)
            if name != node.name:
                replaced[node.name] = name
    for place in reversed(range(len(function.node_def))):
        if function.node_def[place].name in replaced:
            del function.node_def[place]
    for node in function.node_def:  # one that stands before what it reads
        node.input[:] = [_renamed(one, replaced) for one in node.input]
    for outputs in (function.ret, function.control_ret):
        for name in outputs:
            outputs[name] = _renamed(outputs[name], replaced)
    return bool(replaced)


def _renamed(reference: str, replaced: Mapping[str, str]) -> str:
    """Example: "slice/stack_1:output:0" -> "slice/stack:output:0"; also "^node", after which another one runs."""
    name, colon, output = reference.removeprefix("^").partition(":")
    return "^" * reference.startswith("^") + replaced.get(name, name) + colon + output


def _depends_on_inputs_alone(node: node_def_pb2.NodeDef) -> bool:
    known = op_def_registry.get(node.op)
    waits = any(one.startswith("^") for one in node.input)
    return known is not None and not known.is_stateful and not waits and node.ByteSize() < _LARGE


def _content(node: node_def_pb2.NodeDef) -> bytes:
    """What a node computes: all but its name and the line of Python it comes from."""
    copy = node_def_pb2.NodeDef()
    copy.CopyFrom(node)
    copy.ClearField("name")
    copy.ClearField("experimental_debug_info")
    return copy.SerializeToString(deterministic=True)
