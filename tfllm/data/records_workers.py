"""Processes that share the work: tasks in, results out, as many in flight as there are workers and one more.

In: a function that can be pickled and its tasks. Out: the results, in the order in which they are ready.
"""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import IO

from tfllm.checks import InputError


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A context in which `run` spreads tasks over processes; they end with it, and with this process however it ends.

    Args:
        count: how many processes; 1 = no other than this one. Each imports TensorFlow anew and gives it one thread.
    """

    def __init__(self, count: int):
        self._count = count
        self._pool = None

    def __enter__(self) -> "Workers":
        if self._count > 1:
            self._said = tempfile.TemporaryFile()
            spawn = multiprocessing.get_context("spawn")  # a fork of a process that runs TensorFlow can hang
            self._pool = concurrent.futures.ProcessPoolExecutor(self._count, spawn, _start)
        return self

    def __exit__(self, *stop) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._said.close()

    def run(self, function: Callable, tasks: Iterable[tuple]) -> Iterator:
        """`function(*task)` of each task. Tasks are drawn only when a worker is about to be free.

        Raises:
            InputError: a worker was killed, or could not start.
        """
        if self._pool is None:
            yield from (function(*task) for task in tasks)
            return
        tasks, running = iter(tasks), set()
        try:
            while True:
                for task in tasks:
                    with _standard_error(self._said):  # a worker that starts now keeps it: TensorFlow is noisy
                        running.add(self._pool.submit(function, *task))
                    if len(running) > self._count:
                        break
                if not running:
                    return
                done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool:
            self._said.seek(0)
            raise InputError(
                "A worker process ended at once or was killed, by lack of memory perhaps: ask for fewer `workers` or "
                "smaller shards. A script that uses workers must do its work under `if __name__ == '__main__':`. "
                f"Its last words: {self._said.read().decode(errors='replace')[-500:].strip() or 'none'}"
            ) from None


@contextlib.contextmanager
def _standard_error(file: IO) -> Iterator[None]:
    """What native code and new processes write to standard error goes into `file`."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _start() -> None:
    """Begin a worker: one thread, no GPU, no Ctrl-C of its own, and no life after its parent's."""
    import tensorflow as tf

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices([], "GPU")


def _end_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
