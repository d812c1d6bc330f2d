"""Fine-tuning a classifier: epochs with validation, early stopping, the best weights kept.

In: a model from `add_classifier_head`, batches from `classification_dataset`. Out: the trained model and its history.
"""

import logging
import operator
import re
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

from tfllm import checks
from tfllm.checks import InputError
from tfllm.losses import ClassificationLoss
from tfllm.training.checkpoint import restore
from tfllm.training.loop import fit_steps
from tfllm.training.optimizer import adamw
from tfllm.training.run import Memory, Run

log = logging.getLogger("tfllm")
MONITORS = {"accuracy": "max", "macro_f1": "max", "matthews": "max", "loss": "min"}
_HEAD_LAYERS = ("pooled_dense", "logits")


def train_classifier(
    model: keras.Model,
    train: tf.data.Dataset | Callable[[int], tf.data.Dataset],
    validation: tf.data.Dataset | None = None,
    *,
    epochs: int = 4,
    learning_rate: float = 3e-4,
    warmup_share: float = 0.1,
    weight_decay: float = 0.01,
    label_smoothing: float = 0.0,
    monitor: str = "macro_f1",
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
        model: from `add_classifier_head`.
        train: from `classification_dataset`; or `ClassificationBatches` or `PackedBatches`, which know class weights
            and which a `run` needs to go on exactly.
        validation: from `classification_dataset`. Without it the last epoch's weights stay.
        epochs: passes over the training data, at most.
        learning_rate: the peak; it is reached after `warmup_share` of the steps and falls linearly to 0.
        weight_decay: see `adamw`.
        label_smoothing: see `ClassificationLoss`.
        monitor: "accuracy", "macro_f1", "matthews" or "loss" of the validation data decides which epoch is best.
        patience: epochs without a better value until training stops.
        frozen_layers: the embeddings and this many of the lowest layers are not trained; 0 trains everything.
        unfreeze_gradually: begin with the head alone and add one layer from the top with each epoch (Howard and Ruder
            2018, arXiv:1801.06146, section 3.3); the learning rate then rises and falls anew with every added layer.
        micro_batches: see `TrainableModel`.
        packed: from `packed_classifier(model, ...)`, which is then trained on `train`, from `PackedBatches`, in place
            of `model`; they share their weights.
        run: where checkpoints go; called again with the same arguments, the training goes on from the newest.
        callbacks: further Keras callbacks.

    Returns:
        One dict per epoch: `loss`, and with validation `val_` and each name of `monitor`.

    Raises:
        InputError: for a bad argument.
    """
    checks.check_one_of("monitor", monitor, MONITORS)
    checks.check_at_least("epochs", epochs, 1)
    blocks = encoder_blocks(model)
    checks.check_between("frozen_layers", frozen_layers, 0, len(blocks) - 1)
    lowest_frozen = frozen_layers + 1 if frozen_layers else 0  # the embeddings are a block of their own
    stages = _stages(len(blocks), lowest_frozen, epochs) if unfreeze_gradually else [(lowest_frozen, epochs)]

    trained = packed or model
    batches, epoch_steps = _restartable(train)
    watch = _BestEpoch(model, validation, monitor, patience) if validation is not None else None
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
        trained.compile(
            adamw(learning_rate, total_steps=steps, warmup_steps=int(steps * warmup_share), weight_decay=weight_decay),
            loss=ClassificationLoss(
                label_smoothing, reduction="mean_with_sample_weight" if packed else "sum_over_batch_size"
            ),
        )
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


def best_epoch(history: Sequence[dict[str, float]], monitor: str) -> dict[str, float]:
    """The validation scores of the best epoch in what `train_classifier` returned, names without `val_`."""
    choose = max if MONITORS[monitor] == "max" else min
    best = choose(history, key=lambda epoch: epoch[f"val_{monitor}"])
    return {name.removeprefix("val_"): float(value) for name, value in best.items() if name.startswith("val_")}


def balanced_class_weights(label_ids: Sequence[int], num_labels: int) -> list[float]:
    """Weights that give every label the same total: n / (C * count). A label without examples gets 0.

    Example: 3 of label 0 and 1 of label 1 -> 4/6 and 4/2.
    """
    counts = np.bincount(np.asarray(label_ids), minlength=num_labels)
    return [float(len(label_ids) / (num_labels * count)) if count else 0.0 for count in counts]


def encoder_blocks(model: keras.Model) -> list[list[keras.layers.Layer]]:
    """The encoder's layers with weights from the bottom up: the embeddings, then each Transformer layer.

    The pooler and the head belong to no block: they are always trained.
    """
    blocks: dict[int, list] = {}
    for layer in model.layers:
        match = re.fullmatch(r"transformer_layer_(\d+)", layer.name)
        if match:
            blocks.setdefault(int(match[1]) + 1, []).append(layer)
        elif layer.weights and layer.name not in _HEAD_LAYERS:
            blocks.setdefault(0, []).append(layer)
    return [blocks[number] for number in sorted(blocks)]


def _stages(num_blocks: int, lowest_frozen: int, epochs: int) -> list[tuple[int, int]]:
    """(blocks frozen, epochs) of each stage: one more block is trained each epoch, the last stage takes the rest."""
    frozen = list(range(num_blocks, lowest_frozen - 1, -1))[:epochs]
    return [(count, 1) for count in frozen[:-1]] + [(frozen[-1], epochs - len(frozen) + 1)]


class _BestEpoch(keras.callbacks.Callback):
    """Scores the whole validation set after each epoch, keeps the best epoch's weights, stops when patience ends.

    Unlike Keras's EarlyStopping it lasts over several calls of `fit`. The `val_` scores go to the epoch's logs.
    """

    def __init__(self, scored: keras.Model, validation: tf.data.Dataset, monitor: str, patience: int):
        super().__init__()
        self._scored, self._monitor, self._patience = scored, monitor, patience
        self._better = operator.gt if MONITORS[monitor] == "max" else operator.lt
        self._best, self._weights, self._waited = None, [], 0
        self._inputs = validation.map(lambda inputs, label_ids: inputs)
        self._label_ids = np.concatenate([label_ids.numpy() for _, label_ids in validation])

    def on_epoch_end(self, epoch, logs=None):
        scores = self._scores()
        logs.update({f"val_{name}": value for name, value in scores.items()})
        if self._best is None or self._better(scores[self._monitor], self._best):
            self._best, self._weights, self._waited = float(scores[self._monitor]), self._scored.get_weights(), 0
        else:
            self._waited += 1
            if self._waited >= self._patience:
                self.model.stop_training = True

    def notes(self) -> dict:
        return {"best": self._best, "waited": self._waited}

    def arrays(self) -> list[np.ndarray]:
        return self._weights

    def recall(self, notes: dict, arrays: list[np.ndarray]) -> None:
        self._best, self._waited, self._weights = notes["best"], notes["waited"], arrays

    def end_stage(self) -> None:
        """Begin to wait anew: layers that were not trained yet may still help."""
        self._waited = 0

    def restore(self) -> None:
        """Put the best epoch's weights into the model."""
        self._scored.set_weights(self._weights)

    def _scores(self) -> dict[str, float]:
        logits = self._scored.predict(self._inputs, verbose=0)
        if not np.isfinite(logits).all():
            raise InputError("Training has diverged: the model's outputs are not numbers. Lower the learning rate.")
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits.astype("float64")))
        predicted, labels = probabilities.argmax(-1), range(probabilities.shape[-1])
        return {
            "loss": log_loss(self._label_ids, probabilities, labels=labels),
            "accuracy": accuracy_score(self._label_ids, predicted),
            "macro_f1": f1_score(self._label_ids, predicted, labels=labels, average="macro", zero_division=0),
            "matthews": matthews_corrcoef(self._label_ids, predicted),
        }
