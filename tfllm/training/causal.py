"""Causal language modelling: a model that predicts the next token, and its batches -> trained weights."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfllm.losses import causal_lm_loss
from tfllm.training.pretraining import train_compiled
from tfllm.training.run import Run


def train_causal_lm(
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
        model: from `add_causal_lm_head`.
        batches: endless ones from `causal_lm_dataset(repeat=True)`, or a function from a batch number to them.
        optimizer, steps, micro_batches, run, callbacks: see `train_masked_lm`.

    Returns:
        The mean training loss since the training was last begun or gone on with.

    Raises:
        InputError: when the loss becomes NaN or infinite; training stops at that step.
    """
    model.compile(optimizer, loss=causal_lm_loss())
    return train_compiled(model, batches, steps=steps, micro_batches=micro_batches, run=run, callbacks=callbacks)
