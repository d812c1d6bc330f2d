"""Runs of a graph in memory, and the threads that compute them.

A small model is computed by the thread that asks, and many rows by several: to hand the operations of a short text over
to other threads takes longer than it saves. TensorFlow's own threads compute a large model, or one that writes, whose
runs they end in the midst when their time is up.
"""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from types import EllipsisType

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from tfllm.serving.errors import ServingError

# Each session has threads of its own, as many as it is told. TensorFlow looks here once, before its first session.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "true")

_SMALL = 4_000_000_000  # parameters times the tokens of the longest text, which one thread then computes in 0.1 s
_LEAST_ROWS, _MOST_ROWS = 4, 32  # that a thread computes at once
_CALLABLES = 64  # kept: combinations of what is fed and what is fetched


class TensorFlowsThreads:
    """Runs of any model."""

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
            rows: that all feeds have, where each row's answer is its own; None: the run must not be divided.

        Raises:
            tf.errors.OpError, ServingError: what went wrong.
        """
        options = None
        if timeout_seconds is not None:  # TensorFlow takes 0 and less for no end at all
            options = tf.compat.v1.RunOptions(timeout_in_ms=max(math.ceil(timeout_seconds * 1000), 1))
        return self._session.run(list(fetches), dict(feeds), options=options)


class AskingThread(TensorFlowsThreads):
    """Runs of a small model. What has begun when the time is up is finished: at most 32 rows for each processor."""

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1)

    def __init__(self, session: tf.compat.v1.Session):
        super().__init__(session)
        self._callable = functools.lru_cache(_CALLABLES)(functools.partial(_make_callable, session))

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: tuple[str, ...], timeout_seconds: float | None, rows: int | None
    ) -> list:
        """As `TensorFlowsThreads.run`, which computes many rows that must not be divided."""
        if rows is None and any(array.ndim and len(array) > _MOST_ROWS for array in feeds.values()):
            return super().run(feeds, fetches, timeout_seconds, rows)
        end = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        names, wanted = sorted(feeds), sorted(set(fetches))  # one callable, in whatever order they are asked for
        compute = self._callable(tuple(names), tuple(wanted))

        def compute_part(part: slice | EllipsisType) -> list:
            if time.monotonic() >= end:
                raise ServingError("DEADLINE_EXCEEDED", "The run was not finished in time.")
            return compute(*(feeds[name][part] for name in names))

        parts = _parts(rows)
        arrays = _compute_all(compute_part, parts) if parts else compute_part(...)
        found = dict(zip(wanted, arrays, strict=True))
        return [found[name] for name in fetches]


def kind_of(facts: Mapping) -> type[TensorFlowsThreads]:
    """How a model is run, by what tfllm wrote beside its graph; a model of another program has TensorFlow's threads."""
    try:
        return AskingThread if _is_small(facts) else TensorFlowsThreads
    except (AttributeError, KeyError, TypeError):  # of another program, or damaged
        return TensorFlowsThreads


def _is_small(facts: Mapping) -> bool:
    """Whether a run is soon over and may be divided: nothing loops, no output is as wide as its longest row."""
    outputs = facts["signatures"]["serving_default"]["outputs"].values()
    parted = all(size >= 0 for output in outputs for size in output["shape"][1:])
    return parted and "While" not in facts["ops"] and facts["parameters"] * facts["sequence_length"] <= _SMALL


def _make_callable(session: tf.compat.v1.Session, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Callable:
    """What takes arrays for `feeds` and gives a list of arrays, computed by the thread that calls it."""
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = -1
    # `make_callable` would look at what is fed and fetched at each run anew, a fifth of a short text's time.
    return session._make_callable_from_options(options)


def _compute_all(compute_part: Callable[[slice], list], parts: list[slice]) -> list[np.ndarray]:
    """The outputs of all parts, put together; after an error no further part begins.

    A run has as many parts at work as there are processors, so that another run's come in between.
    """
    left, running, done = list(enumerate(parts))[::-1], {}, {}
    while left or running:
        while left and len(running) < _processors():
            place, part = left.pop()
            running[_threads().submit(compute_part, part)] = place
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            done[running.pop(future)] = future
            if future.exception():
                left.clear()
        del future
    try:
        found = [done[place].result() for place in sorted(done)]
    finally:
        done.clear()  # an error's frames hold it, and it the error
    return [np.concatenate(arrays) for arrays in zip(*found, strict=True)]


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
