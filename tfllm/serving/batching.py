"""Requests that arrive together are computed together: one run of a graph for the rows of several.

In: `Call`s. Out: futures of arrays by tensor name. A run holds rows of one version and one signature only.
"""

import contextlib
import dataclasses
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from tfllm.serving.calls import Call
from tfllm.serving.errors import ServingError
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Version


class Batching(NamedTuple):
    """How runs are put together.

    Attributes:
        max_batch_size: rows of a run; a request of more runs alone.
        timeout_seconds: how long a run waits for more rows. 0: what came while the workers were busy goes together.
        num_threads: runs at a time.
    """

    max_batch_size: int = 32
    timeout_seconds: float = 0.0
    num_threads: int = 2


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    version: Version
    call: Call
    deadline: float
    arrived: float
    future: Future


class Batcher:
    """The queue before the graphs, and the threads that run them.

    Args:
        batching: how runs are put together.
        queue: how many requests may wait; 0: any number.
        metrics: where the time of runs is counted.
    """

    def __init__(self, batching: Batching, queue: int, metrics: Metrics):
        self._batching, self._most, self._metrics = batching, queue, metrics
        self._queues: dict[tuple, deque[_Task]] = {}
        self._waiting, self._closing = 0, False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(batching.num_threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, version: Version, call: Call, deadline: float) -> Future:
        """Ask for a run; the future gives arrays by tensor name, or raises ServingError.

        Args:
            version: held until the future is done.
            call: what to run.
            deadline: by `time.monotonic`; who still waits then gets DEADLINE_EXCEEDED.

        Raises:
            ServingError: RESOURCE_EXHAUSTED when too many wait.
        """
        task = _Task(version, call, deadline, time.monotonic(), Future())
        with self._changed:
            if self._closing:
                raise ServingError("UNAVAILABLE", "The server is stopping.")
            if self._most and self._waiting >= self._most:
                raise ServingError(
                    "RESOURCE_EXHAUSTED", "The batch scheduling queue to which this task was submitted is full"
                )
            version.hold()
            self._waiting += 1
            self._queues.setdefault(_key(task), deque()).append(task)
            self._changed.notify()
        task.future.add_done_callback(lambda _: version.release())
        key = _key(task)  # not the task: it holds the future
        task.future.add_done_callback(lambda future: self._leave(key, future) if future.cancelled() else None)
        return task.future

    def close(self) -> None:
        """Run what waits, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while tasks := self._take():
            self._run([task for task in tasks if _is_wanted(task)])
            del tasks  # with the model, which may be unloaded before the next come

    def _take(self) -> list[_Task]:
        """The tasks of the next run; none when the server stops."""
        with self._changed:
            while True:
                now = time.monotonic()
                ready = {key: self._ready_at(key) for key in self._queues}
                key = min(ready, key=ready.get, default=None)
                if key is not None and (ready[key] <= now or self._closing):
                    return self._pop(key)
                if key is None and self._closing:
                    return []
                self._changed.wait(None if key is None else ready[key] - now)

    def _ready_at(self, key: tuple) -> float:
        """When the run of a queue should begin: of several that could, the one whose first task waits longest."""
        queue = self._queues[key]
        full = sum(task.call.rows or 1 for task in queue) >= self._batching.max_batch_size
        alone = not queue[0].call.batches
        return queue[0].arrived + (0 if full or alone else self._batching.timeout_seconds)

    def _leave(self, key: tuple, future: Future) -> None:
        """Free the place of a task that nobody waits for any more."""
        with self._changed, contextlib.suppress(KeyError, StopIteration):  # a thread may have taken it just now
            self._queues[key].remove(next(task for task in self._queues[key] if task.future is future))
            self._waiting -= 1
            if not self._queues[key]:
                del self._queues[key]

    def _pop(self, key: tuple) -> list[_Task]:
        queue = self._queues[key]
        tasks = [queue.popleft()]
        rows = tasks[0].call.rows or 1
        while queue and tasks[0].call.batches and rows + queue[0].call.rows <= self._batching.max_batch_size:
            rows += queue[0].call.rows
            tasks.append(queue.popleft())
        if not queue:
            del self._queues[key]
        self._waiting -= len(tasks)
        return tasks

    def _run(self, tasks: list[_Task]) -> None:
        """Compute the tasks together; where that fails each alone, so that nobody gets another's error."""
        if not tasks:
            return
        try:
            answers = self._compute(tasks)
        except ServingError as error:
            if len(tasks) > 1 and error.code != "DEADLINE_EXCEEDED":
                for task in tasks:
                    self._run([task])
                return
            for task in tasks:  # a new one: of this one's frames, one holds the model
                task.future.set_exception(ServingError(error.code, error.message))
        except BaseException as error:
            for task in tasks:
                task.future.set_exception(error)
        else:
            for task, answer in zip(tasks, answers, strict=True):
                task.future.set_result(answer)

    def _compute(self, tasks: list[_Task]) -> list[Mapping[str, np.ndarray]]:
        call, version = tasks[0].call, tasks[0].version
        feeds = call.feeds
        if len(tasks) > 1:
            feeds = {name: np.concatenate([task.call.feeds[name] for task in tasks]) for name in feeds}
        began = time.monotonic()
        remaining = max(task.deadline for task in tasks) - began
        rows = [task.call.rows or 1 for task in tasks]
        parted = sum(rows) if call.batches else None
        found = version.model.run(feeds, call.fetches, remaining if remaining < float("inf") else None, parted)
        self._metrics.ran(version.name, [task.call.api for task in tasks], time.monotonic() - began, sum(rows))
        if len(tasks) == 1:
            return [found]
        if any(len(array) != sum(rows) for array in found.values()):
            raise ServingError("INTERNAL", "An output has another number of rows than the inputs.")
        ends = np.cumsum(rows)
        return [
            {name: array[end - count : end] for name, array in found.items()}
            for end, count in zip(ends, rows, strict=True)
        ]


def _key(task: _Task) -> tuple:
    """What tasks of one run have in common; a task that may not share has a key of its own."""
    if not task.call.batches:
        return (id(task),)
    shapes = sorted((name, array.dtype.str, array.shape[1:]) for name, array in task.call.feeds.items())
    return (id(task.version), task.call.fetches, tuple(shapes))


def _is_wanted(task: _Task) -> bool:
    """Whether someone still waits for a task; says so where its time is up."""
    if not task.future.set_running_or_notify_cancel():
        return False
    if task.deadline <= time.monotonic():
        task.future.set_exception(ServingError("DEADLINE_EXCEEDED", "The request waited too long for its turn."))
        return False
    return True
