"""Repeat requests to a SavedModel in a clean process and compare the answers with those expected.

In: a SavedModel directory and `Request`s. Out: nothing, or an `InputError` that names the first difference.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from tfllm.checks import InputError
from tfllm.export import clean_process
from tfllm.export.requests import Request

TOLERANCE = 1e-5  # of a score; of numbers above 1 it is relative


def replay(savedmodel: Path, requests: Sequence[Request]) -> None:
    """Ask a SavedModel through `tf.saved_model.load` and through a Session, in a process without Keras and tfllm.

    Raises:
        InputError: when it does not load or run there, when Keras or tfllm was imported after all, or when an answer
            differs: a string or an integer at all, a float by more than 1e-5.
    """
    answers = _ask(savedmodel, requests)
    if answers["modules"]:
        raise InputError(f"The clean process was not clean; it imported {', '.join(answers['modules'])}.")
    for way in ("loaded", "session"):
        for request, outputs in zip(requests, answers[way], strict=True):
            _compare(f"{request.signature} ({way})", request.outputs, outputs)


def _ask(savedmodel: Path, requests: Sequence[Request]) -> dict:
    job = {
        "packages": [str(Path(tf.__file__).parents[1])],
        "savedmodel": str(savedmodel.resolve()),
        "requests": [
            {"signature": request.signature, "inputs": {name: _text(value) for name, value in request.inputs.items()}}
            for request in requests
        ],
    }
    # The CPU, where every machine can repeat it, and because this process may hold the GPU's memory.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as scratch:
        job_file, answers_file = Path(scratch, "job.json"), Path(scratch, "answers.json")
        job_file.write_text(json.dumps(job), "utf-8")
        command = [sys.executable, "-I", clean_process.__file__, str(job_file), str(answers_file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise InputError(f"{savedmodel} does not run in a clean process:\n{done.stderr.strip()[-2000:]}")
        return json.loads(answers_file.read_text("utf-8"))


def _compare(place: str, expected: dict[str, bytes], found: dict[str, str]) -> None:
    if set(expected) != set(found):
        raise InputError(f"{place} gives {sorted(found)}; {sorted(expected)} was expected.")
    for name, value in expected.items():
        want, got = _array(value), _array(base64.b64decode(found[name]))
        if want.shape != got.shape or want.dtype != got.dtype:
            raise InputError(f"{place}: {name} is {got.dtype} {got.shape}; {want.dtype} {want.shape} was expected.")
        if want.dtype.kind != "f":
            equal = np.array_equal(want, got)
        else:
            equal = bool(np.all(np.abs(got - want) <= TOLERANCE * np.maximum(1, np.abs(want))))
        if not equal:
            raise InputError(f"{place}: {name} is\n{got}\nand was expected to be\n{want}")


def _array(tensor: bytes) -> np.ndarray:
    return tf.make_ndarray(tensor_pb2.TensorProto.FromString(tensor))


def _text(tensor: bytes) -> str:
    return base64.b64encode(tensor).decode()
