"""What a person sees while a model trains: a live bar on a terminal, one line per interval elsewhere."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress(keras.callbacks.Callback):
    """Shows loss, tokens per second and the time left.

    Args:
        total_steps: steps of the whole run, for the time left.
        tokens_per_step: non-padding tokens in an average step.
        console: where to write; a terminal gets a live bar, anything else a line every `interval_seconds`.
        interval_seconds: pause between two lines.
    """

    def __init__(self, total_steps: int, tokens_per_step: float, console: Console, interval_seconds: float = 10.0):
        super().__init__()
        self._total, self._tokens, self._console = total_steps, tokens_per_step, console
        self._interval = interval_seconds
        self._done = self._first = 0
        self._task = None
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def go_on_from(self, step: int) -> None:
        """Count from a step on: a run that was killed goes on, or it has gone back behind a batch it leaves out."""
        if self._task is None:
            self._first = step
        self._done = step

    def on_train_begin(self, logs=None):
        if self._task is None:  # a run may call `fit` several times
            self._started = self._spoken = time.monotonic()
            self._task = self._bar.add_task("training", total=self._total, numbers="")
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        now = time.monotonic()
        if self._done == self._first + 1:  # tracing the first step says nothing of the others
            self._started = now
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, numbers=self._numbers(now, logs))
        elif now - self._spoken >= self._interval:
            self._spoken = now
            line = f"step {self._done}/{self._total}  {self._numbers(now, logs)}"
            if timed := self._done - self._first - 1:
                line += f"  {_duration((self._total - self._done) * (now - self._started) / timed)} left"
            self._console.print(line, highlight=False)

    def on_epoch_end(self, epoch, logs=None):
        shown = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        self._console.print(f"epoch {epoch + 1}  {shown}", highlight=False)

    def on_train_end(self, logs=None):
        self._bar.stop()

    def _numbers(self, now: float, logs: dict | None) -> str:
        loss = f"loss {(logs or {}).get('loss', float('nan')):.4f}"
        timed = self._done - self._first - 1
        return f"{loss}  {timed * self._tokens / max(now - self._started, 1e-9):,.0f} tokens/s" if timed else loss


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
