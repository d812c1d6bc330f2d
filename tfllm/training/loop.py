"""A training that can be killed: `fit` from any batch on, with checkpoints, and a stop when numbers are no numbers.

In: a compiled model and a function from a batch number to the batches from there on. Out: the model as if it had been
trained in one go.
"""

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.training.checkpoint import build_optimizer, restore
from tfllm.training.progress import Progress
from tfllm.training.run import Interrupted, Memory, Run, Watch
from tfllm.training.stopping import Stop

log = logging.getLogger("tfllm")
_MOST_SKIPPED = 10
BAD_BATCH = "bad-batch-{step}.npz"


def fit_steps(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    memory: Memory,
    *,
    last_step: int,
    epoch_steps: int,
    run: Run | None = None,
    watch: Watch | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Fit from batch `memory.step` to batch `last_step`, whatever happens on the way.

    Args:
        model: compiled, in the state of `memory.step`.
        batches: a batch number -> the endless batches from there on.
        last_step: how many batches the model has seen at the end; a multiple of `epoch_steps` unless training stops.
        epoch_steps: batches in an epoch; after each the callbacks' `on_epoch_end` is called.
        run: where checkpoints go; None writes none.
        watch: scores every epoch, before the history is kept.
        callbacks: further Keras callbacks.

    Raises:
        InputError: when the loss or a gradient is not finite, the batch is kept in the run's directory; or when the
            batches end.
        Interrupted: after SIGTERM or SIGINT, when the run has saved itself.
    """
    keeper = _Keeper(model, memory, epoch_steps, run)
    everyone = [*([watch] if watch else []), keeper, *callbacks]
    model.stop_training = memory.stopped
    build_optimizer(model)
    with _signals_wait(keeper):
        while True:
            if memory.pending is not None:
                keeper.scoring = True
                _end_epoch(model, memory, everyone, epoch_steps)
            keeper.stop_if_asked()
            if memory.step >= last_step or model.stop_training:
                break
            before = memory.step
            try:
                _fit_once(model, batches, memory, last_step, epoch_steps, everyone)
            except _NotFinite as error:
                _handle_divergence(model, batches, memory, run, error.step, epoch_steps)
            else:
                _check_goes_on(before, memory.step, last_step)
    if run:
        run.seconds = memory.seconds


def _fit_once(model, batches, memory, last_step, epoch_steps, callbacks) -> None:
    """To the end of the epoch when in the midst of one, else to the last step."""
    epoch, done = divmod(memory.step, epoch_steps)
    end = min(last_step, (epoch + 1) * epoch_steps) if done else last_step
    skipped = [step for step in memory.skipped if memory.step <= step < end]
    if done or skipped:  # an epoch of another number of batches than the others
        end = min(end, (epoch + 1) * epoch_steps)
        skipped = [step for step in skipped if step < end]
    for callback in callbacks:
        if isinstance(callback, Progress):
            callback.go_on_from(memory.step)
    model.fit(
        _without(batches(memory.step), memory.step, skipped),
        initial_epoch=epoch,
        epochs=-(-end // epoch_steps),
        steps_per_epoch=min(epoch_steps, end - memory.step) - len(skipped),
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    )


def _check_goes_on(before: int, now: int, last_step: int) -> None:
    """Raise InputError if `fit` came to no further batch."""
    if now == before:
        raise InputError(
            f"The training data end after {now:,} of {last_step:,} batches. They must hold a row at least, and repeat "
            "without end (`repeat=True`)."
        )


def _without(dataset: tf.data.Dataset, start: int, skipped: Sequence[int]) -> tf.data.Dataset:
    if not skipped:
        return dataset
    numbers = tf.constant(skipped, tf.int64)
    kept = dataset.enumerate(start).filter(lambda number, batch: tf.reduce_all(number != numbers))
    return kept.map(lambda number, batch: batch)


def _end_epoch(model: keras.Model, memory: Memory, callbacks: list, epoch_steps: int) -> None:
    """Do what was to be done at the end of the epoch when the run was killed."""
    logs = dict(memory.pending)
    for callback in callbacks:
        callback.set_model(model)
        callback.on_epoch_end(memory.step // epoch_steps - 1, logs)


def _handle_divergence(model, batches, memory: Memory, run: Run | None, step: int, epoch_steps: int) -> None:
    file = None
    if run and run.writes:
        run.directory.mkdir(parents=True, exist_ok=True)
        file = run.directory / BAD_BATCH.format(step=step)
        np.savez(file, **_flat(next(iter(batches(step)))))
    kept = f" The batch is kept in {file}." if file else ""
    if not (run and run.skips and len(memory.skipped) < _MOST_SKIPPED):
        remedy = "Lower the learning rate or lengthen the warm-up, and begin anew elsewhere."
        if run and not run.skips:
            remedy += " Or go on without such batches: on_divergence='skip' (--on-divergence skip)."
        raise InputError(
            f"Training has diverged: the loss or a gradient at batch {step} is not a finite number.{kept} {remedy}"
        )
    memory.skipped.append(step)
    found = run.read()
    if found is None:
        raise InputError(f"Training has diverged at batch {step}, before the first checkpoint.{kept}")
    restore(model, found)
    memory.recall(found)
    memory.skip(epoch_steps)
    log.warning("batch %d gave numbers that are not finite: back to batch %d, without it.%s", step, memory.step, kept)


def _flat(batch) -> dict[str, np.ndarray]:
    inputs, *others = batch
    named = {**inputs, **{f"target_{number}": other for number, other in enumerate(others)}}
    flat = {}
    for name, value in named.items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        flat |= {f"{name}{'_' if key else ''}{key}": np.asarray(entry) for key, entry in entries}
    return flat


class _NotFinite(Exception):
    def __init__(self, step: int):
        super().__init__(step)
        self.step = step


class _Keeper(keras.callbacks.Callback):
    """Counts batches, writes checkpoints, keeps the history, and looks for numbers that are not finite.

    At the last batch of an epoch it writes before the epoch's validation, with the epoch's end marked as pending.
    """

    def __init__(self, model: keras.Model, memory: Memory, epoch_steps: int, run: Run | None):
        super().__init__()
        self.set_model(model)
        self._memory, self._epoch_steps, self._run = memory, epoch_steps, run
        self._saved = self._batch_end = time.monotonic()
        self._batch_seconds, self._stop = 1.0, Stop()
        self._scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        self.wait_for_signals = lambda: None  # called after every batch
        self.signal: int | None = None
        self.scoring = False  # between the checkpoint at the end of an epoch and its score: nothing would be lost
        self._first = memory.step
        self._standing = memory.step or None  # the number of batches in the newest checkpoint

    def on_train_begin(self, logs=None):
        if self._run and self._run.skips and self._memory.step == self._first:
            self._save()  # something to go back to; a checkpoint of the stage before has another optimizer

    def on_train_batch_end(self, batch, logs=None):
        self.wait_for_signals()
        memory, now = self._memory, time.monotonic()
        self._batch_seconds, self._batch_end = max(now - self._batch_end, 1e-3), now
        watched = ("loss",) if self._scaled else ("loss", "gradient_norm")  # loss scaling mends gradients by itself
        if not all(math.isfinite(float(logs.get(name, 0.0))) for name in watched):
            raise _NotFinite(memory.step)
        memory.step += 1
        if memory.step % self._epoch_steps:
            memory.skip(self._epoch_steps)
        at_end = memory.step % self._epoch_steps == 0
        if at_end:
            memory.pending = {name: float(value) for name, value in logs.items()}
        stops = self._stops()
        if stops or at_end or self._due():
            self._save()
        self.scoring = at_end
        if stops:
            self.stop()

    def on_epoch_end(self, epoch, logs=None):
        self.scoring = False
        memory = self._memory
        memory.history.append({name: float(value) for name, value in logs.items() if name != "gradient_norm"})
        memory.pending, memory.stopped = None, self.model.stop_training
        if memory.step in memory.skipped:
            memory.skip(self._epoch_steps)
        if self._due():
            self._save()

    def stop_if_asked(self) -> None:
        """Raise Interrupted when a signal has come, to this process or to another of the training."""
        if self._stops():
            self.stop()

    def stop(self) -> None:
        """Raise Interrupted."""
        standing = self._standing
        log.warning(
            "stopped by a signal after %d batches; %s",
            self._memory.step,
            "nothing was saved." if standing is None else f"the same command goes on from batch {standing}.",
        )
        raise Interrupted(self.signal or signal.SIGTERM)

    def _stops(self) -> bool:
        if self.signal:
            self._stop.ask(self._memory.step, self._batch_seconds)
        return self._stop.batch is not None and self._memory.step >= self._stop.batch

    def _due(self) -> bool:
        return self._run is not None and time.monotonic() - self._saved >= self._run.save_seconds

    def _save(self) -> None:
        memory, run = self._memory, self._run
        if run is None:
            return
        if not run.writes or run.checkpoints.save(self.model, memory.step, memory.notes(), memory.arrays()):
            self._standing = memory.step
        self._saved = time.monotonic()


@contextlib.contextmanager
def _signals_wait(keeper: _Keeper) -> Iterator[None]:
    """After the first batch SIGTERM and SIGINT wait for the end of the next; the second one does not.

    Before, while data are read up to where a training goes on and a step is compiled, there is nothing to be saved.
    """
    if threading.current_thread() is not threading.main_thread() or keeper._run is None:
        yield
        return
    before = {}

    def remember(number, frame):
        keeper.signal = number
        signal.signal(number, before[number])
        if keeper.scoring:
            keeper.stop()

    def begin():
        keeper.wait_for_signals = lambda: None
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, remember)

    keeper.wait_for_signals = begin
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
