"""`check_savedmodel`: is a SavedModel whole, and will TF Serving run it?

In: a directory that `export_savedmodel` wrote. Out: one finding per check; `assets.extra/proofs.json` has those of the
export.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.export.ops import SERVERS, bfloat16_matrices, check_ops, read_graph, servers_for
from tfllm.export.replay import TOLERANCES, WAYS, find_problems
from tfllm.export.requests import Request, read_warm_up
from tfllm.export.versions import GRAPH_FILE, find_version, numbers

KIND = "savedmodel"
FACTS_FILE = "assets.extra/tfllm.json"
PROOFS_FILE = "assets.extra/proofs.json"
_INTERNAL = "__saved_model_init_op"  # every SavedModel has it beside its signatures


class Finding(NamedTuple):
    """What one check found."""

    check: str
    passed: bool
    detail: str


def check_savedmodel(directory: str | Path) -> list[Finding]:
    """Check a SavedModel that tfllm exported.

    Args:
        directory: `savedmodels/NAME`, whose highest version is checked, or `savedmodels/NAME/VERSION`.

    Returns:
        Findings on `files` (their SHA-256), `signatures` (those stated, every tensor with a first dimension of any
        size), `ops` (and which TF Serving has them all), `weights` (each stored once), `warm-up` (its requests ask
        every signature), and of each of the `WAYS` in which these requests are repeated in a clean process: `loaded`,
        `session`, `c api`: the answers are those of the Python model, and UTF-8. When the files are not those that
        were written, nothing of them is run and `files` is the only finding.

    Raises:
        InputError: when there is no SavedModel, or not one of tfllm.
    """
    savedmodel = find_version(directory)
    written = manifest.read_manifest(savedmodel, KIND)
    files = _finding("files", lambda: _check_files(savedmodel, written))
    if not files.passed:
        return [files]
    found = [files, *(_finding(name, lambda step=step: step(savedmodel)) for name, step in CONTENT_CHECKS.items())]
    try:
        requests = read_warm_up(savedmodel)
    except InputError as error:
        return [*found, Finding("warm-up", False, str(error))]
    tolerance = TOLERANCES[_facts(savedmodel).get("weights", "float32")]
    return [
        *found,
        _finding("warm-up", lambda: _check_warm_up(savedmodel, requests)),
        *prove(savedmodel, requests, tolerance),
    ]


def prove(savedmodel: Path, requests: list[Request], tolerance: float) -> list[Finding]:
    """A finding for each of the `WAYS` to ask a SavedModel in a clean process: its answers are those expected."""
    return [
        Finding(way, not problem, problem or f"{len(requests)} requests answered as by the Python model: {WAYS[way]}")
        for way, problem in find_problems(savedmodel, requests, tolerance=tolerance).items()
    ]


def check_contents(savedmodel: Path) -> list[Finding]:
    """The findings that need nothing to be run; an export makes them before it is called done.

    Raises:
        InputError: for the first check that fails.
    """
    return [Finding(name, True, step(savedmodel)) for name, step in CONTENT_CHECKS.items()]


def check_successor(version: Path, savedmodel: Path) -> None:
    """Can the next version stand in for the one before it, which a server that runs would swap for it?

    Args:
        version: where the next one belongs; the versions before it stand in the same directory.
        savedmodel: the next one, as it is written.

    Raises:
        InputError: when it lacks a signature, or one has other inputs or lacks an output.
    """
    before = [number for number in numbers(version.parent) if (version.parent / str(number) / GRAPH_FILE).is_file()]
    if not before:
        return
    previous, asked = version.parent / str(max(before)), read_signatures(savedmodel)
    lost = [name for name, one in read_signatures(previous).items() if not _answers_as(asked.get(name), one)]
    if lost:
        raise InputError(
            f"{previous} answers {', '.join(lost)} and this model does not, or not with the same inputs and outputs: "
            f"a server would swap it for {version.name}, and who asks it would get errors. Export it elsewhere."
        )


def _answers_as(signature: dict | None, before: dict) -> bool:
    if signature is None or set(signature["inputs"]) != set(before["inputs"]):
        return False
    return set(signature["outputs"]) >= set(before["outputs"])


def find_servers(savedmodel: Path) -> list[str]:
    """The versions of TF Serving that have every op of a SavedModel: some of `tfllm.export.ops.SERVERS`, or a later."""
    return servers_for(check_ops(savedmodel))


def read_signatures(savedmodel: Path) -> dict[str, dict]:
    """Name -> {"inputs": {name: {"dtype", "shape"}}, "outputs": ...} of a SavedModel; -1 is any size."""
    signatures = read_graph(savedmodel).signature_def
    return {
        name: {"inputs": _tensors(signatures[name].inputs), "outputs": _tensors(signatures[name].outputs)}
        for name in sorted(signatures)
        if name != _INTERNAL
    }


def count_stored_numbers(savedmodel: Path) -> int:
    """How many numbers a SavedModel stores: its variables on disk, and the bfloat16 matrices in its graph."""
    reader = tf.train.load_checkpoint(str(savedmodel / "variables" / "variables"))
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    in_variables = sum(math.prod(shape) for name, shape in shapes.items() if dtypes[name] != tf.string)
    return in_variables + sum(math.prod(shape) for shape in bfloat16_matrices(read_graph(savedmodel)))


def _check_files(savedmodel: Path, written: dict) -> str:
    manifest.check_files(savedmodel, written)
    return f"{len(written['files'])} files are those that were written"


def _check_signatures(savedmodel: Path) -> str:
    stated, found = _facts(savedmodel)["signatures"], read_signatures(savedmodel)
    if stated != found:
        raise InputError(f"{FACTS_FILE} and the graph differ: {sorted(stated)} and {sorted(found)}.")
    for name, signature in found.items():
        for tensor, kind in {**signature["inputs"], **signature["outputs"]}.items():
            if kind["shape"][:1] != [-1]:
                raise InputError(f"{name}: {tensor} has shape {kind['shape']}; TF Serving batches need [-1, ...].")
    return ", ".join(found)


def _check_ops(savedmodel: Path) -> str:
    ops = check_ops(savedmodel)
    servers = servers_for(ops)
    newest = f", not in {SERVERS[0]}" if servers[0] != SERVERS[0] else ""
    return f"{len(ops)} kinds, all in TF Serving {', '.join(servers)} and later{newest}; no XLA, Python or file op"


def _check_weights(savedmodel: Path) -> str:
    facts = _facts(savedmodel)
    stored, expected = count_stored_numbers(savedmodel), facts["parameters"] + facts.get("scales", 0)
    if stored != expected:
        raise InputError(f"{stored:,} numbers are stored; the model has {expected:,}.")
    return f"{stored:,} parameters, each stored once"


def _check_warm_up(savedmodel: Path, requests: list[Request]) -> str:
    idle = set(_facts(savedmodel)["signatures"]) - {request.signature for request in requests}
    if idle:
        raise InputError(f"The warm-up file does not ask {', '.join(sorted(idle))}.")
    return f"{len(requests)} requests, to every signature, one text each"


# What can be checked without running anything.
CONTENT_CHECKS: dict[str, Callable[[Path], str]] = {
    "signatures": _check_signatures,
    "ops": _check_ops,
    "weights": _check_weights,
}


def _finding(name: str, step: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, step())
    except InputError as error:
        return Finding(name, False, str(error))


def _facts(savedmodel: Path) -> dict:
    return json.loads((savedmodel / FACTS_FILE).read_text("utf-8"))


def _tensors(tensors) -> dict[str, dict]:
    return {
        name: {
            "dtype": tf.dtypes.as_dtype(tensors[name].dtype).name,
            "shape": [dimension.size for dimension in tensors[name].tensor_shape.dim],
        }
        for name in sorted(tensors)
    }
