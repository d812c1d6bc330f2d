"""Which ops a SavedModel may hold, so that TF Serving can run it and it does nothing but compute.

In: a SavedModel directory. Out: the names of its ops, or an `InputError` that names those that are not allowed; and
which versions of TF Serving have them all.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2, node_def_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from tfllm.checks import InputError
from tfllm.export.versions import GRAPH_FILE

SERVERS = ("2.18", "2.19", "2.20")  # releases of TF Serving; a later one has all ops of those before it
# Ops beyond TensorFlow's own that every one of them links: `tensorflow_text:ops_lib`.
# Source: SUPPORTED_TENSORFLOW_OPS in tensorflow_serving/model_servers/BUILD; names as registered by the libraries of
# tensorflow-text 2.12.1, which TF Serving 2.18 and 2.19 embed, and of 2.20 (TF Serving 2.20). RougeL is left out: the
# libraries of 2.20 no longer register it.
TEXT_OPS = frozenset(
    [
        "CaseFoldUTF8",
        "ConstrainedSequence",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "FindSourceOffsets",
        "MaxSpanningTree",
        "NormalizeUTF8",
        "NormalizeUTF8WithOffsetsMap",
        "PhraseTokenize",
        "RegexSplitWithOffsets",
        "SentenceFragments",
        "SentenceFragmentsV2",
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
        "SplitMergeTokenizeWithOffsets",
        "TFText>BoiseTagsToOffsets",
        "TFText>ByteSplitByOffsets",
        "TFText>ByteSplitWithOffsets",
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
        "TFText>FastWordpieceDetokenize",
        "TFText>NgramsStringJoin",
        "TFText>OffsetsToBoiseTags",
        "TFText>PhraseDetokenize",
        "TFText>WhitespaceTokenizeWithOffsetsV2",
        "TokenizerFromLogits",
        "UnicodeScriptTokenizeWithOffsets",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    ]
)
# Ops that a release of TF Serving was the first to have; `None`: none known has it.
# Source: the ops that TensorFlow 2.18.1, 2.20.0 and 2.21.0 and tensorflow-text 2.12.1, 2.20.1 and 2.21.1 register.
FIRST_IN = {
    "TFText>RoundRobinGenerateMasks": "2.20",
    "TFText>RoundRobinTrim": "2.20",
    "TFText>Utf8Binarize": "2.20",
    "DecodeWebP": "2.20",
    "TPUDummyInput": "2.20",
    "DecodeJxl": None,
}
# TensorFlow's own ops that a served graph must not hold: TF Serving turns XLA off and has no Python, and an answer
# needs no file. What every SavedModel restores its variables with is the exception.
_RESTORING = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"})
_FORBIDDEN = re.compile(
    r"Xla|PyFunc|File|Reader|Record|Dataset|Debug|Print|Save|Restore|Checkpoint|ImmutableConst|Remap|Summary"
)


def check_ops(directory: str | Path) -> list[str]:
    """The names of all ops of a SavedModel, those of its functions included, when a TF Serving runs all of them.

    Raises:
        InputError: when it holds an op that is unknown to every TF Serving, an XLA, Python or file op, or a function
            compiled with `jit_compile=True`.
    """
    graph = read_graph(directory).graph_def
    ops = sorted({node.op for node in _nodes(graph)})
    forbidden = [op for op in ops if not _is_allowed(op)]
    if forbidden:
        raise InputError(
            f"{directory} holds ops that TF Serving does not run, or that read or write files: {', '.join(forbidden)}."
        )
    compiled = [item.name for item in _nodes(graph) if item.attr["_XlaMustCompile"].b]
    compiled += [item.signature.name for item in graph.library.function if item.attr["_XlaMustCompile"].b]
    if compiled:
        raise InputError(
            f"{directory} holds functions compiled with `jit_compile=True`, and TF Serving turns XLA off: "
            f"{', '.join(sorted(set(compiled)))}. Build the model without it to export it."
        )
    return ops


def servers_for(ops: Iterable[str]) -> list[str]:
    """The versions of `SERVERS` that have all of these ops.

    Example: ["StringStrip", "TFText>Utf8Binarize"] -> ["2.20"].
    """
    needed = max((FIRST_IN[op] for op in ops if op in FIRST_IN), default=SERVERS[0])
    return list(SERVERS[SERVERS.index(needed) :])


def read_graph(directory: str | Path) -> meta_graph_pb2.MetaGraphDef:
    """The graph, functions and signatures of a SavedModel; nothing of it is run.

    Raises:
        InputError: when `saved_model.pb` is damaged.
    """
    file = Path(directory) / GRAPH_FILE
    try:
        return saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]
    except (DecodeError, IndexError) as error:
        raise InputError(f"{file} is damaged: {error}.") from None


def bfloat16_matrices(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[list[int]]:
    """The shapes of the matrices of bfloat16 that stand in the graph as constants (see `lean.LeanEncoder`)."""
    constants = [node.attr for node in _nodes(meta_graph.graph_def) if node.op == "Const"]
    shapes = [one["value"].tensor.tensor_shape for one in constants if one["dtype"].type == types_pb2.DT_BFLOAT16]
    return [[dimension.size for dimension in shape.dim] for shape in shapes if len(shape.dim) == 2]


def _nodes(graph: graph_pb2.GraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _is_allowed(op: str) -> bool:
    if op in TEXT_OPS or op in _RESTORING:
        return True
    if op in FIRST_IN:
        return FIRST_IN[op] is not None
    return hasattr(tf.raw_ops, op) and not _FORBIDDEN.search(op)
