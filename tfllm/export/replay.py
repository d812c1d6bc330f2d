"""Repeat requests to a SavedModel in clean processes and compare the answers with those expected.

In: a SavedModel directory and `Request`s. Out: what is wrong with each way to ask, or an `InputError` that says it.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfllm.checks import InputError
from tfllm.export import c_api_process, clean_process
from tfllm.export.ops import read_graph
from tfllm.export.requests import Request

# How far a float may be off, by the weights of an export; of numbers above 1 it is relative. Another processor rounds
# bfloat16 products otherwise.
TOLERANCES = {"float32": 1e-5, "int8": 1e-5, "bfloat16": 0.03}
# The ways a SavedModel is asked -> what each is.
WAYS = {
    "loaded": "tf.saved_model.load, in a process without Keras",
    "session": "the tf.compat.v1 loader and a Session, in a process without Keras",
    "c api": "TensorFlow's C API, XLA off, in a process without TensorFlow's Python",
}


def replay(savedmodel: Path, requests: Sequence[Request]) -> None:
    """Ask a SavedModel in all `WAYS`.

    Raises:
        InputError: when it does not load or run in one of them, when Keras or tfllm was imported after all, or when an
            answer differs: a string or an integer at all, a float by more than 1e-5; or is a string that is not UTF-8.
    """
    problems = [problem for problem in find_problems(savedmodel, requests).values() if problem]
    if problems:
        raise InputError(problems[0])


def find_problems(
    savedmodel: Path,
    requests: Sequence[Request],
    python: str = sys.executable,
    tolerance: float = TOLERANCES["float32"],
) -> dict[str, str]:
    """What `replay` raises for each of the `WAYS`; an empty text for those in which every answer is as expected.

    Args:
        python: what runs the processes; one of an environment with another TensorFlow shows whether that agrees.
        tolerance: one of `TOLERANCES`.
    """
    # Where this process has its packages from: an isolated one of the same Python need not look there.
    packages = [str(Path(tf.__file__).parents[1])] if python == sys.executable else []
    with tempfile.TemporaryDirectory() as folder:  # one process after the other: each holds the model in memory

        def ask() -> dict:
            came = _run(python, clean_process, _python_job(savedmodel, requests, packages), Path(folder))
            return _python_answers(savedmodel, came)

        def ask_c() -> dict:
            came = _run(python, c_api_process, _native_job(savedmodel, requests, packages), Path(folder))
            return {"c api": _native_answers(savedmodel, came)}

        found = _judge(requests, tolerance, ("loaded", "session"), ask)
        return {**found, **_judge(requests, tolerance, ("c api",), ask_c)}


def _judge(requests: Sequence[Request], tolerance: float, ways: tuple[str, ...], ask: Callable) -> dict[str, str]:
    try:
        answers = ask()
    except InputError as error:
        return dict.fromkeys(ways, str(error))
    return {way: _difference(way, requests, answers[way], tolerance) for way in ways}


def _difference(way: str, requests: Sequence[Request], answers: list[dict[str, np.ndarray]], tolerance: float) -> str:
    for request, answer in zip(requests, answers, strict=True):
        try:
            _compare(f"{request.signature} ({way})", request.outputs, answer, tolerance)
        except InputError as error:
            return str(error)
    return ""


def _run(python: str, program, job: dict, folder: Path) -> tuple[dict | list | None, str]:
    """The answers of a process to a job; or None, and what it said."""
    job_file, answers_file = folder / "job.json", folder / "answers.json"
    job_file.write_text(json.dumps(job), "utf-8")
    # The CPU, where every machine can repeat it, and because this process may hold the GPU's memory.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = run_isolated(python, program.__file__, [str(job_file), str(answers_file)], environment)
    if done.returncode:
        return None, done.stderr.strip()[-2000:]
    return json.loads(answers_file.read_text("utf-8")), ""


def run_isolated(python: str, program: str, arguments: list[str], environment: dict) -> subprocess.CompletedProcess:
    """Run a program that sees neither this directory nor what the environment adds to Python's path."""
    command = [python, "-I", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def _python_job(savedmodel: Path, requests: Sequence[Request], packages: list[str]) -> dict:
    return {
        "packages": packages,
        "savedmodel": str(savedmodel.resolve()),
        "requests": [
            {"signature": request.signature, "inputs": {name: _text(value) for name, value in request.inputs.items()}}
            for request in requests
        ],
    }


def _python_answers(savedmodel: Path, came: tuple[dict | None, str]) -> dict[str, list[dict[str, np.ndarray]]]:
    found, said = came
    if found is None:
        raise InputError(f"{savedmodel} does not run in a clean process:\n{said}")
    if found["modules"]:
        raise InputError(f"The clean process was not clean; it imported {', '.join(found['modules'])}.")
    return {
        way: [{name: _array(base64.b64decode(value)) for name, value in answer.items()} for answer in found[way]]
        for way in ("loaded", "session")
    }


def _native_job(savedmodel: Path, requests: Sequence[Request], packages: list[str]) -> dict:
    signatures = read_graph(savedmodel).signature_def
    return {
        "packages": packages,
        "savedmodel": str(savedmodel.resolve()),
        "requests": [
            {
                "inputs": {
                    signatures[request.signature].inputs[name].name: _value(_array(value))
                    for name, value in request.inputs.items()
                },
                "outputs": {name: info.name for name, info in signatures[request.signature].outputs.items()},
            }
            for request in requests
        ],
    }


def _native_answers(savedmodel: Path, came: tuple[list | None, str]) -> list[dict[str, np.ndarray]]:
    found, said = came
    if found is None:
        raise InputError(f"{savedmodel} does not run through TensorFlow's C API:\n{said}")
    return [{name: _from_value(value) for name, value in answer.items()} for answer in found]


def _value(array: np.ndarray) -> dict:
    """An array as `c_api_process` reads it."""
    strings = array.dtype == object
    data = [_text(one) for one in array.ravel()] if strings else _text(np.ascontiguousarray(array).tobytes())
    number = c_api_process.STRING if strings else tf.as_dtype(array.dtype).as_datatype_enum
    return {"dtype": number, "shape": list(array.shape), "data": data}


def _from_value(value: dict) -> np.ndarray:
    if value["dtype"] == c_api_process.STRING:
        strings = [base64.b64decode(one) for one in value["data"]]
        return np.array(strings, object).reshape(value["shape"])
    data = np.frombuffer(base64.b64decode(value["data"]), tf.as_dtype(value["dtype"]).as_numpy_dtype)
    return data.reshape(value["shape"])


def _compare(place: str, expected: dict[str, bytes], found: dict[str, np.ndarray], tolerance: float) -> None:
    if set(expected) != set(found):
        raise InputError(f"{place} gives {sorted(found)}; {sorted(expected)} was expected.")
    for name, value in expected.items():
        want, got = _array(value), found[name]
        if want.shape != got.shape or want.dtype != got.dtype:
            raise InputError(f"{place}: {name} is {got.dtype} {got.shape}; {want.dtype} {want.shape} was expected.")
        if want.dtype.kind != "f":
            equal = np.array_equal(want, got)
        else:
            equal = bool(np.all(np.abs(got - want) <= tolerance * np.maximum(1, np.abs(want))))
        if not equal:
            raise InputError(f"{place}: {name} is\n{got}\nand was expected to be\n{want}")
        if got.dtype == object and not name.endswith("_bytes"):
            _check_utf8(place, name, got)


def _check_utf8(place: str, name: str, strings: np.ndarray) -> None:
    """TF Serving writes the bytes of strings into JSON as they are, unless the output is called `..._bytes`."""
    for one in strings.ravel():
        try:
            one.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{place}: {name} is not UTF-8, so TF Serving's JSON would be broken: {one!r}") from None


def _array(tensor: bytes) -> np.ndarray:
    return tf.make_ndarray(tensor_pb2.TensorProto.FromString(tensor))


def _text(tensor: bytes) -> str:
    return base64.b64encode(tensor).decode()
