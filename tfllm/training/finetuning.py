"""Fine-tuning for any task: epochs with validation, early stopping, the best weights kept.

In: a model with a head, batches, a loss, and a function that scores the model. Out: the trained model and its history.
"""

import logging
import operator
import re
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.training.checkpoint import restore
from tfllm.training.loop import fit_steps
from tfllm.training.optimizer import adamw
from tfllm.training.run import Memory, Run

log = logging.getLogger("tfllm")
BETTER = ("max", "min")


def fine_tune(
    model: keras.Model,
    train: tf.data.Dataset | Callable[[int], tf.data.Dataset],
    *,
    loss: keras.losses.Loss,
    validate: Callable[[], dict[str, float]] | None = None,
    monitor: str = "loss",
    better: str = "min",
    epochs: int = 4,
    learning_rate: float = 3e-4,
    layer_decay: float = 1.0,
    warmup_share: float = 0.1,
    weight_decay: float = 0.01,
    patience: int = 2,
    frozen_layers: int = 0,
    unfreeze_gradually: bool = False,
    micro_batches: int = 1,
    packed: keras.Model | None = None,
    run: Run | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict[str, float]]:
    """Train, and leave the weights of the best epoch in the model.

    Args:
        model: an encoder with a head.
        train: `PackedBatches` or `GroupedBatches`, which a `run` needs to go on exactly; or a dataset that ends.
        loss: for the model's output and the batches' values and weights.
        validate: scores the model as it is now; called after each epoch. Without it the last epoch's weights stay.
        monitor: the name of the score that decides which epoch is best; of equal ones the lower `loss` does, where
            `validate` gives it.
        better: "max" when a higher score is better, "min" when a lower one is.
        epochs: passes over the training data, at most.
        learning_rate: the peak; it is reached after `warmup_share` of the steps and falls linearly to 0.
        layer_decay: each Transformer layer's learning rate is that of the layer above it times this, and the
            embeddings' the lowest; the head has the full one. 1 treats all alike (Sun et al. 2019, arXiv:1905.05583,
            section 5.3.3, with 0.95; Clark et al. 2020, arXiv:2003.10555, appendix B, with 0.8).
        weight_decay: see `adamw`.
        patience: epochs without a better value until training stops.
        frozen_layers: the embeddings and this many of the lowest layers are not trained; 0 trains everything.
        unfreeze_gradually: begin with the head alone and add one layer from the top with each epoch (Howard and Ruder
            2018, arXiv:1801.06146, section 3.3); the learning rate then rises and falls anew with every added layer.
        micro_batches: see `TrainableModel`.
        packed: the same model for packed rows, from `packed_classifier(model, ...)`, which is then trained in place of
            `model`; they share their weights.
        run: where checkpoints go; called again with the same arguments, the training goes on from the newest.
        callbacks: further Keras callbacks.

    Returns:
        One dict per epoch: `loss`, and with validation `val_` and each name that `validate` returns.

    Raises:
        InputError: for a bad argument, or when training diverges.
    """
    checks.check_one_of("better", better, BETTER)
    checks.check_at_least("epochs", epochs, 1)
    checks.check_at_least("patience", patience, 1)
    checks.check_between("layer_decay", layer_decay, 0, 1)
    blocks = encoder_blocks(model)
    checks.check_between("frozen_layers", frozen_layers, 0, len(blocks) - 1)
    lowest_frozen = frozen_layers + 1 if frozen_layers else 0  # the embeddings are a block of their own
    stages = _stages(len(blocks), lowest_frozen, epochs) if unfreeze_gradually else [(lowest_frozen, epochs)]

    trained = packed or model
    batches, epoch_steps = _restartable(train)
    watch = _BestEpoch(model, validate, monitor, better, patience) if validate is not None else None
    memory, found = Memory(watch), run.read() if run else None
    if found:
        memory.recall(found)
        log.info("going on from %s, after %d of %d batches", found.path, memory.step, epochs * epoch_steps)
    end = 0
    for frozen, stage_epochs in stages:
        end += stage_epochs * epoch_steps
        if end < memory.step:  # done before the training was killed
            continue
        for number, block in enumerate(blocks):
            for layer in block:
                layer.trainable = number >= frozen
        steps = stage_epochs * epoch_steps
        warmup_steps = int(steps * warmup_share)
        optimizer = adamw(learning_rate, total_steps=steps, warmup_steps=warmup_steps, weight_decay=weight_decay)
        optimizer.rate_factors = _rate_factors(blocks, layer_decay)
        trained.compile(optimizer, loss=loss)
        trained.micro_batches = micro_batches
        if found:
            restore(trained, found)
            found = None
        fit_steps(
            trained,
            batches,
            memory,
            last_step=end,
            epoch_steps=epoch_steps,
            run=run,
            watch=watch,
            callbacks=callbacks,
        )
        memory.stopped = False
        if watch:
            watch.end_stage()
    if watch:
        watch.restore()
    for block in blocks:
        for layer in block:
            layer.trainable = True
    return memory.history


def _restartable(train: tf.data.Dataset | Callable) -> tuple[Callable[[int], tf.data.Dataset], int]:
    """The batches from any number on, and how many make an epoch."""
    if callable(train):
        return train, train.epoch_steps
    if int(train.cardinality()) < 1:
        raise InputError("`train` must hold a known number of batches, at least one. It is empty, endless or unknown.")
    return lambda start: train.repeat().skip(start), int(train.cardinality())


def best_epoch(history: Sequence[dict[str, float]], monitor: str, better: str) -> dict[str, float]:
    """The validation scores of the best epoch in what `fine_tune` returned, names without `val_`."""
    sign = 1 if better == "max" else -1
    best = max(history, key=lambda epoch: (sign * epoch[f"val_{monitor}"], -epoch.get("val_loss", 0)))
    return {name.removeprefix("val_"): float(value) for name, value in best.items() if name.startswith("val_")}


def encoder_blocks(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The encoder's layers with weights from the bottom up: the embeddings, then each Transformer layer.

    What comes after the last Transformer layer, a pooler and the head, belongs to no block: it is always trained.
    """
    embeddings, transformers = [], {}
    for layer in model.layers:  # in the order of the computation
        match = re.fullmatch(r"(?:transformer_layer|decoder_block)_(\d+)", layer.name)
        if match:
            transformers.setdefault(int(match[1]), []).append(layer)
        elif layer.weights and not transformers:
            embeddings.append(layer)
    return [embeddings, *(transformers[number] for number in sorted(transformers))]


def _stages(num_blocks: int, lowest_frozen: int, epochs: int) -> list[tuple[int, int]]:
    """(blocks frozen, epochs) of each stage: one more block is trained each epoch, the last stage takes the rest."""
    frozen = list(range(num_blocks, lowest_frozen - 1, -1))[:epochs]
    return [(count, 1) for count in frozen[:-1]] + [(frozen[-1], epochs - len(frozen) + 1)]


def _rate_factors(blocks: list[list[keras.layers.Layer]], layer_decay: float) -> dict[str, float]:
    """Path of a variable -> what its learning rate is multiplied by; those of the head are not in it."""
    if layer_decay == 1:
        return {}
    return {
        weight.path: layer_decay ** (len(blocks) - number)
        for number, block in enumerate(blocks)
        for layer in block
        for weight in layer.trainable_weights
    }


class _BestEpoch(keras.callbacks.Callback):
    """Scores the model after each epoch, keeps the best epoch's weights, stops when patience ends.

    Unlike Keras's EarlyStopping it lasts over several calls of `fit`. The `val_` scores go to the epoch's logs.
    """

    def __init__(
        self, scored: keras.Model, validate: Callable[[], dict[str, float]], monitor: str, better: str, patience: int
    ):
        super().__init__()
        self._scored, self._validate, self._monitor, self._patience = scored, validate, monitor, patience
        self._better = operator.gt if better == "max" else operator.lt
        self._best, self._loss, self._weights, self._waited = None, None, [], 0

    def on_epoch_end(self, epoch, logs=None):
        scores = self._validate()
        if self._monitor not in scores:
            raise InputError(f"`monitor` must be one of {', '.join(sorted(scores))}. Received: {self._monitor!r}.")
        logs.update({f"val_{name}": value for name, value in scores.items()})
        score, loss = float(scores[self._monitor]), scores.get("loss")
        better = self._best is None or self._better(score, self._best)
        equal = score == self._best and loss is not None
        if better or (equal and (self._loss is None or loss < self._loss)):
            self._best, self._weights = score, self._scored.get_weights()
            self._loss = None if loss is None else float(loss)
        self._waited = 0 if better else self._waited + 1
        if self._waited >= self._patience:
            self.model.stop_training = True

    def notes(self) -> dict:
        return {"best": self._best, "loss": self._loss, "waited": self._waited}

    def arrays(self) -> list[np.ndarray]:
        return self._weights

    def recall(self, notes: dict, arrays: list[np.ndarray]) -> None:
        self._best, self._waited, self._weights = notes["best"], notes["waited"], arrays
        self._loss = notes.get("loss")  # earlier versions noted none

    def end_stage(self) -> None:
        """Begin to wait anew: layers that were not trained yet may still help."""
        self._waited = 0

    def restore(self) -> None:
        """Put the best epoch's weights into the model."""
        self._scored.set_weights(self._weights)
