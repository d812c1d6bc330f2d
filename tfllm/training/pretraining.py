"""Pretraining: a masked language model and its batches -> trained weights."""

import logging
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.losses import masked_lm_loss, next_sentence_loss
from tfllm.training.checkpoint import Restored, restore
from tfllm.training.loop import fit_steps
from tfllm.training.run import Memory, Run

log = logging.getLogger("tfllm")


def train_masked_lm(
    model: keras.Model,
    batches: tf.data.Dataset | Callable[[int], tf.data.Dataset],
    optimizer: keras.optimizers.Optimizer,
    *,
    steps: int,
    micro_batches: int = 1,
    run: Run | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """Compile and fit for `steps` batches.

    Args:
        model: from `add_masked_lm_head` or `add_pretraining_heads`.
        batches: endless ones from `masked_lm_dataset(repeat=True)` with the same tasks; or a function from a batch
            number to the batches from there on, which a `run` needs to go on exactly.
        optimizer: see `adamw`.
        steps: batches in all.
        micro_batches: see `TrainableModel`.
        run: where checkpoints go; called again with the same arguments, the training goes on from the newest.
        callbacks: Keras callbacks, e.g. `Progress`.

    Returns:
        The mean training loss, and masked accuracy, since the training was last begun or gone on with.

    Raises:
        InputError: when the loss becomes NaN or infinite; training stops at that step.
    """
    compile_masked_lm(model, optimizer)
    return train_compiled(model, batches, steps=steps, micro_batches=micro_batches, run=run, callbacks=callbacks)


def train_compiled(
    model: keras.Model,
    batches: tf.data.Dataset | Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    micro_batches: int = 1,
    run: Run | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """`train_masked_lm` for a model that is compiled already, whatever its objective."""
    model.micro_batches = micro_batches
    memory, found = Memory(), run.read() if run else None
    if found:
        _check_steps(found, steps)
        restore(model, found)
        memory.recall(found)
        log.info("going on from %s, after %d of %d batches", found.path, memory.step, steps)
    from_start = batches if callable(batches) else batches.skip
    fit_steps(model, from_start, memory, last_step=steps, epoch_steps=steps, run=run, callbacks=callbacks)
    return memory.history[-1]


def _check_steps(found: Restored, steps: int) -> None:
    if steps < found.step:
        raise InputError(
            f"{found.path} was written after {found.step:,} batches: `steps` cannot be fewer. Received: {steps:,}."
        )


def compile_masked_lm(model: keras.Model, optimizer: keras.optimizers.Optimizer | str = "adamw") -> None:
    """Compile with the losses and accuracies of the model's tasks."""
    accuracy = keras.metrics.SparseCategoricalAccuracy
    if isinstance(model.output, dict):
        loss = {"masked_lm": masked_lm_loss(), "next_sentence": next_sentence_loss()}
        metrics = {"masked_lm": [accuracy(name="accuracy")], "next_sentence": [accuracy(name="accuracy")]}
    else:
        loss, metrics = masked_lm_loss(), [accuracy(name="accuracy")]
    model.compile(optimizer, loss=loss, weighted_metrics=metrics)
