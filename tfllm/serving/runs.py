"""Runs of a graph in memory, and the threads that compute them.

A small model is computed by the thread that asks, and of many rows every processor computes some: to hand the
operations of a short text over to other threads takes longer than it saves. TensorFlow's own threads compute a large
model, or one that writes, whose runs they end in the midst when their time is up.
"""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from types import EllipsisType

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tfllm.serving.errors import ServingError

# Each session has threads of its own, as many as it is told. TensorFlow looks here once, before its first session.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "true")

_SMALL = 4_000_000_000  # parameters, times the tokens of the longest text: a twentieth of a second or so
_LEAST_ROWS, _MOST_ROWS = 4, 32  # that a thread computes at once
_CALLABLES = 64  # kept: combinations of what is fed and what is fetched


class TensorFlowsThreads:
    """Runs of a large model."""

    config = None

    def __init__(self, session: tf.compat.v1.Session):
        self._session = session

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: tuple[str, ...], timeout_seconds: float | None, rows: int | None
    ) -> list:
        """What is fetched, in its order.

        Args:
            feeds: arrays by the names of tensors.
            fetches: names of tensors.
            timeout_seconds: until the run is ended; None: never.
            rows: of all feeds, where each row's answer is its own; None: the run must not be divided.

        Raises:
            tf.errors.OpError, ServingError: what went wrong.
        """
        options = None
        if timeout_seconds is not None:  # TensorFlow takes 0 and less for no end at all
            options = tf.compat.v1.RunOptions(timeout_in_ms=max(math.ceil(timeout_seconds * 1000), 1))
        return self._session.run(list(fetches), dict(feeds), options=options)


class AskingThread:
    """Runs of a small model; `run` as above, but that what has begun, at most 32 rows, is finished."""

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)

    def __init__(self, session: tf.compat.v1.Session):
        self._session = session
        self._callable = functools.lru_cache(_CALLABLES)(self._make_callable)

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: tuple[str, ...], timeout_seconds: float | None, rows: int | None
    ) -> list:
        end = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        compute = self._callable(tuple(feeds), fetches)

        def compute_part(part: slice | EllipsisType) -> list:
            if time.monotonic() >= end:
                raise ServingError("DEADLINE_EXCEEDED", "The run was not finished in time.")
            return compute(*(array[part] for array in feeds.values()))

        parts = _parts(rows)
        if not parts:
            return compute_part(...)
        futures = [_threads().submit(compute_part, part) for part in parts]
        wait(futures)
        return [np.concatenate(arrays) for arrays in zip(*(future.result() for future in futures), strict=True)]

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable[..., list]:
        # `make_callable` would look at what is fed and fetched at each run anew, a fifth of a short text's time.
        return self._session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))


def kind_of(facts: Mapping) -> type[TensorFlowsThreads] | type[AskingThread]:
    """How a model is run, by what tfllm wrote beside its graph; a model of another program has TensorFlow's threads."""
    parameters, tokens, ops = (facts.get(name) for name in ("parameters", "sequence_length", "ops"))
    small = isinstance(parameters, int) and isinstance(tokens, int) and parameters * tokens <= _SMALL
    if not small or not isinstance(ops, list) or "While" in ops:
        return TensorFlowsThreads
    outputs = facts["signatures"]["serving_default"]["outputs"].values()
    parted = all(size >= 0 for output in outputs for size in output["shape"][1:])  # none is as wide as its longest row
    return AskingThread if parted else TensorFlowsThreads


def _parts(rows: int | None) -> list[slice]:
    """The parts that threads compute at the same time; none where one thread computes all rows."""
    count = max(min(_processors(), (rows or 0) // _LEAST_ROWS), math.ceil((rows or 0) / _MOST_ROWS))
    if count < 2:
        return []
    ends = [rows * place // count for place in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_processors(), "run")


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
