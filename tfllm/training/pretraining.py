"""Pretraining: a masked language model and its batches -> trained weights."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.losses import masked_lm_loss, next_sentence_loss


def train_masked_lm(
    model: keras.Model,
    dataset: tf.data.Dataset,
    optimizer: keras.optimizers.Optimizer,
    *,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, float]:
    """Compile and fit for `steps` batches of an endless dataset.

    Args:
        model: from `add_masked_lm_head` or `add_pretraining_heads`.
        dataset: from `masked_lm_dataset(repeat=True)`, with the same tasks.
        optimizer: see `adamw`.
        steps: batches in all.
        callbacks: Keras callbacks, e.g. `Progress`.

    Returns:
        The mean training loss, and masked accuracy, over the run.

    Raises:
        InputError: when the loss becomes NaN or infinite; training stops at that step.
    """
    compile_masked_lm(model, optimizer)
    history = model.fit(
        dataset,
        steps_per_epoch=steps,
        epochs=1,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN(), *callbacks],
        shuffle=False,
    )
    trained = {name: float(values[-1]) for name, values in history.history.items() if name != "gradient_norm"}
    if not math.isfinite(trained["loss"]):
        raise InputError(
            "Training has diverged: the loss is not a number. Lower the learning rate or lengthen the warm-up."
        )
    return trained


def compile_masked_lm(model: keras.Model, optimizer: keras.optimizers.Optimizer | str = "adamw") -> None:
    """Compile with the losses and accuracies of the model's tasks."""
    accuracy = keras.metrics.SparseCategoricalAccuracy
    if isinstance(model.output, dict):
        loss = {"masked_lm": masked_lm_loss(), "next_sentence": next_sentence_loss()}
        metrics = {"masked_lm": [accuracy(name="accuracy")], "next_sentence": [accuracy(name="accuracy")]}
    else:
        loss, metrics = masked_lm_loss(), [accuracy(name="accuracy")]
    model.compile(optimizer, loss=loss, weighted_metrics=metrics)
