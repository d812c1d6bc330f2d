"""A SavedModel's signature `tokens` as an OpenVINO graph, with fewer nodes than TensorFlow's.

In: a version's directory. Out: a model with the same inputs and outputs.

The graph that `tfllm export` writes gathers the real tokens of all rows behind each other, so that TensorFlow computes
no padding. OpenVINO takes some microseconds for each node, however small, and more when the texts' length changes: for
one text, which has no padding, the nodes that find the places took a third of the time. So they leave, and padding is
computed as any token. What a rule below does not find as it expects it stays as it is.

Shapes: B rows, T tokens, D hidden_dim, H heads, K head width.
"""

import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

sys.modules.setdefault("openvino_telemetry", None)  # by default it tells Intel that OpenVINO was imported
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

_STEP = 8  # tokens
_BIGRAMS = "bigrams"


class CompiledGraph:
    """What `read_graph` reads, ready to run on this processor, in any number of threads.

    A text is filled up to a multiple of 8 tokens, and each such length up to `longest` has a graph of its own: one
    graph for all lengths takes up to half as long again whenever the length is another than before.

    Args:
        directory: the version's.
        output: of the signature `tokens`.
        rounds: to bfloat16, where the processor multiplies that.
        longest: tokens up to which a length has its own graph, which takes half as much again as the layers' matrices.

    Attributes:
        precision: what is multiplied, "bf16" or "f32".
    """

    def __init__(self, directory: Path, output: str, rounds: bool, longest: int):
        core, (model, self._bigrams) = ov.Core(), read_graph(directory, output)
        rounds = rounds and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if rounds else "f32"
        self._inputs = [one.any_name.removesuffix(":0") for one in model.inputs]
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self.precision,
            "SNIPPETS_MODE": "DISABLE",  # as fast, and OpenVINO 2026.4 ends the process where it makes some of them
        }
        self._graphs = {None: core.compile_model(model, "CPU", options)}
        for length in range(_STEP, longest + 1, _STEP):
            one = model.clone()
            one.reshape({place: [1, length] for place in range(len(self._inputs))})
            self._graphs[length] = core.compile_model(one, "CPU", options)
        self._of_thread = threading.local()  # a request of OpenVINO's serves one thread at a time

    def run(self, token_ids: np.ndarray) -> np.ndarray:
        """The output for the ids of one text, int32 (1, T).

        Raises:
            RuntimeError: what OpenVINO raises.
        """
        tokens = token_ids.shape[1]
        length = -(-tokens // _STEP) * _STEP
        key = length if length in self._graphs else None
        width = key or tokens
        fed = {name: np.zeros((1, width), np.int32) for name in self._inputs}
        fed["token_ids"][:, :tokens] = token_ids
        fed["padding_mask"][:, :tokens] = 1
        if self._bigrams:
            fed[_BIGRAMS][:, :tokens] = self._bigrams.of(token_ids)
        requests = self._of_thread.__dict__
        if key not in requests:
            requests[key] = self._graphs[key].create_infer_request()
        return requests[key].infer(list(fed.values()), share_inputs=True)[0]


class Bigrams(NamedTuple):
    """How bigrams are numbered, as `tfllm.models.bigrams` does, which a server without Keras cannot import."""

    factor: int
    buckets: int

    def of(self, token_ids: np.ndarray) -> np.ndarray:
        """int32 (1, T), of one text -> int32 (1, T)."""
        before = np.zeros_like(token_ids)
        before[:, 1:] = token_ids[:, :-1] + 1
        return (before * np.int32(self.factor) + token_ids) % np.int32(self.buckets)


def read_graph(directory: Path, output: str) -> tuple[ov.Model, Bigrams | None]:
    """What an output of the signature `tokens` is computed by: padding_mask, segment_ids, token_ids, int32 (B, T).

    Of an encoder with embeddings of bigrams also by `bigrams`, int32 (B, T): their numbers, as the second result says.
    """
    saved = tf.saved_model.load(str(directory))
    signature = saved.signatures["tokens"]
    frozen = convert_variables_to_constants_v2(signature)
    wanted = frozen.outputs[sorted(signature.structured_outputs).index(output)].name
    with tempfile.TemporaryDirectory() as folder:  # `openvino.convert_model` would import Keras
        file = Path(folder, "tokens.pb")
        file.write_bytes(_in_float32(frozen.graph.as_graph_def()).SerializeToString())
        read = ov.Core().read_model(file)
    model = ov.Model([read.output(wanted).get_node().input_value(0)], read.get_parameters(), "tokens")
    mask = read.input("padding_mask:0").get_node()
    rules = {
        "Gather": _keep_padding,
        "ReduceSum": partial(_count_positions, mask=mask),
        "Softmax": partial(_transpose_heads, mask=mask),
        "SquaredDifference": _normalize,
    }
    bigrams = None
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FloorMod":
            bigrams = _feed_bigrams(node, model) or bigrams
        if node.get_type_name() in rules:
            rules[node.get_type_name()](node)
    model.validate_nodes_and_infer_types()
    return model, bigrams


def takes(signature) -> bool:
    """Whether a SignatureDef has the inputs that `read_graph` reads."""
    return sorted(signature.inputs) == ["padding_mask", "segment_ids", "token_ids"]


def _in_float32(graph):
    """A GraphDef without bfloat16, which OpenVINO does not read: what it rounds is decided when it compiles."""
    for node in graph.node:
        types = [attribute for attribute in node.attr.values() if attribute.type == types_pb2.DT_BFLOAT16]
        for attribute in types:
            attribute.type = types_pb2.DT_FLOAT
        if types and node.op == "Const":
            value = tf.make_ndarray(node.attr["value"].tensor).astype(np.float32)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        elif node.op == "Cast" and node.attr["SrcT"].type == node.attr["DstT"].type:
            node.op = "Identity"
            node.attr["T"].type = node.attr["DstT"].type
    return graph


def _keep_padding(gather) -> None:
    """(B * T, ...) -> (N, ...), the real tokens alone, and back: both become all tokens."""
    node = _source(gather, 1)
    while node.get_type_name() in ("Convert", "Maximum", "Reshape", "Subtract", "Transpose"):
        node = _source(node, 0)
    if node.get_type_name() == "NonZero":
        _replace(gather, gather.input_value(0))
    elif node.get_type_name() == "CumSum" and _kind(product := _only_user(gather)) == "Multiply":
        _replace(product, gather.input_value(0))  # what stands at padding has no meaning, 0 or not


def _feed_bigrams(modulo, model) -> Bigrams | None:
    """Make the numbers of bigrams an input: OpenVINO takes remainders in float32, which has 24 bits of the 31."""
    total = _source(modulo, 0)
    if _kind(total) != "Add" or _kind(product := _source(total, 0)) != "Multiply":
        return None  # of the tokens' places, which are few
    parameter = ops.parameter([-1, -1], np.int32)
    parameter.output(0).set_names({f"{_BIGRAMS}:0"})
    model.add_parameters([parameter])
    _replace(modulo, parameter.output(0))
    return Bigrams(*(int(_source(node, 1).get_data().item()) for node in (product, modulo)))


def _count_positions(total, mask) -> None:
    """The place of a token in its text, from 1 as long as 1 is taken from it: how many tokens the row has up to it."""
    # The lower triangle of (B, T, T), where both tokens are of one text; where nothing is taken, without the diagonal.
    if _kind(_source(total, 0)) == "Select" and _kind(_only_user(total)) == "Subtract":
        _replace(total, ops.cum_sum(mask, 1).output(0))


def _transpose_heads(softmax, mask) -> None:
    """Attention as one node; its inputs, and the tokens behind it, by transposing, in place of places computed."""
    before = _sources(softmax, "Add", "Multiply", "MatMul", "Squeeze", "Split", "Gather", "Reshape")
    after = _users(softmax, "MatMul", "Reshape", "Gather", "Reshape")
    if not before or not after:
        return
    masked, scaled, _, query, _, _, heads = before
    products, tokens = heads.input_value(0), after[-1]  # (B * T, 3D), (B * T, D)
    _, count, _, width = (one.get_max_length() for one in query.output(0).get_partial_shape())  # (B, H, T, K)
    shape = ops.concat([ops.shape_of(mask), ops.constant(np.array([3 * count, width]))], 0)
    order = ops.constant(np.array([0, 2, 1, 3]))
    parts = ops.split(ops.transpose(ops.reshape(products, shape, False), order), ops.constant(1), 3)
    outputs = ops.scaled_dot_product_attention(
        *parts.outputs(), attention_mask=masked.input_value(1), scale=scaled.input_value(1)
    )
    _replace(tokens, ops.reshape(ops.transpose(outputs, order), tokens.input_value(1), False).output(0))


def _normalize(difference) -> None:
    """A layer norm as one node, where it is x * inverse - mean * inverse + beta."""
    chain = _users(difference, "ReduceMean", "Add", "Power", "Multiply")
    if not chain:
        return
    variance, biased, power, inverse = chain
    x, epsilon = difference.input_value(0), float(_source(biased, 1).get_data().item())
    normal = ops.mvn(x, variance.input_value(1), True, epsilon, "inside_sqrt")
    gamma = next(one for one in inverse.input_values() if one.get_node() != power)
    for user in inverse.output(0).get_target_inputs():
        product = user.get_node()
        scales_x = any(one.get_node() == x.get_node() for one in product.input_values())
        _replace(product, (ops.multiply(normal, gamma) if scales_x else ops.constant(np.float32(0))).output(0))


def _kind(node) -> str:
    return node.get_type_name() if node else ""


def _source(node, place: int):
    return node.input_value(place).get_node()


def _only_user(node):
    """The node that reads another one's only output; None where there are several."""
    users = list(node.output(0).get_target_inputs())
    return users[0].get_node() if len(users) == 1 else None


def _sources(node, *kinds: str) -> list:
    """The nodes before a node, each the first input of the one after it; [] where they are of other kinds."""
    chain = []
    for kind in kinds:
        node = _source(node, 0)
        if _kind(node) != kind:
            return []
        chain.append(node)
    return chain


def _users(node, *kinds: str) -> list:
    """The nodes behind a node, each the only reader of the one before; [] where they are of other kinds."""
    chain = []
    for kind in kinds:
        node = _only_user(node)
        if _kind(node) != kind:
            return []
        chain.append(node)
    return chain


def _replace(node, output) -> None:
    """Have all that read a node read `output`."""
    for target in node.output(0).get_target_inputs():
        target.replace_source_output(output)
