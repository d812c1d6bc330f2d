"""What a training needs so that it can be killed: where its checkpoints stand, and what it remembers.

In: a directory. Out: `Run` and `Memory`, which `loop.fit_steps` keeps up to date.
"""

import time
from pathlib import Path
from typing import Protocol

import numpy as np

from tfllm import checks
from tfllm.training.checkpoint import Checkpoints, Restored
from tfllm.training.strategy import check_same_everywhere

ON_DIVERGENCE = ("stop", "skip")


class Interrupted(SystemExit):
    """The run was asked to stop by a signal and has saved itself; `code` is the exit code a shell expects."""

    def __init__(self, signal_number: int):
        super().__init__(128 + signal_number)


class Run:
    """Where a training keeps what it needs to go on after it was killed.

    Args:
        directory: of this training alone.
        save_seconds: pause between two checkpoints; 0 writes one after every batch.
        keep: how many checkpoints stay.
        on_divergence: "stop" ends the training with an error at the first loss or gradient that is not finite; "skip"
            goes back to the last checkpoint and leaves the batch out.
        writes: False in all processes of a training but one; they read what that one has written.

    Attributes:
        seconds: how long the training took when it has ended, in all processes that had a part in it.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        save_seconds: float = 600.0,
        keep: int = 2,
        on_divergence: str = "stop",
        writes: bool = True,
    ):
        checks.check_at_least("save_seconds", save_seconds, 0)
        checks.check_at_least("keep", keep, 1)
        checks.check_one_of("on_divergence", on_divergence, ON_DIVERGENCE)
        self.directory = Path(directory)
        self.save_seconds, self.skips = save_seconds, on_divergence == "skip"
        self.writes = writes
        self.checkpoints = Checkpoints(self.directory, keep)
        self.seconds = 0.0

    def read(self) -> Restored | None:
        """The newest whole checkpoint, the same in every process of a training; None if there is none."""
        found = self.checkpoints.read()
        check_same_everywhere(found.step if found else 0)
        return found


class Memory:
    """What a training remembers besides the model: how far it is, its history, its time, and what its watcher knows.

    `pending` holds the logs of an epoch that is over but not yet scored; None otherwise.
    """

    def __init__(self, watch: "Watch | None" = None):
        self.step, self.history, self.skipped, self.pending, self.stopped = 0, [], [], None, False
        self._watch, self._seconds_before, self._begun = watch, 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it took to come here; time that was spent after the checkpoint it went on from is lost."""
        return self._seconds_before + time.monotonic() - self._begun

    def notes(self) -> dict:
        """JSON values from which `recall` brings everything back, with `arrays`."""
        own = {name: getattr(self, name) for name in ("history", "skipped", "pending", "stopped", "seconds")}
        return {**own, "watch": self._watch.notes() if self._watch else None}

    def arrays(self) -> list[np.ndarray]:
        """What the watcher wants kept."""
        return self._watch.arrays() if self._watch else []

    def skip(self, epoch_steps: int) -> None:
        """Pass over the batches that are left out, at most to the end of the epoch, which is then to be scored."""
        while self.step in self.skipped and self.pending is None:
            self.step += 1
            if self.step % epoch_steps == 0:
                self.pending = {}

    def recall(self, found: Restored) -> None:
        """Be as it was when the checkpoint was written; batches skipped since then stay skipped."""
        notes = found.notes
        self.step, self.history, self.pending, self.stopped = (
            found.step,
            notes["history"],
            notes["pending"],
            notes["stopped"],
        )
        self.skipped = sorted({*self.skipped, *notes["skipped"]})
        self._seconds_before, self._begun = notes["seconds"], time.monotonic()
        if self._watch:
            self._watch.recall(notes["watch"], found.arrays)


class Watch(Protocol):
    """A Keras callback that scores epochs and has a memory, which a checkpoint keeps."""

    def notes(self) -> dict:
        """JSON values."""

    def arrays(self) -> list[np.ndarray]:
        """What is too large for JSON."""

    def recall(self, notes: dict, arrays: list[np.ndarray]) -> None:
        """Be as it was when it gave these."""
