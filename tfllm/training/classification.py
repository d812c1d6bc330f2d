"""Fine-tuning a classifier from Python: `fine_tune` with the loss and the scores of classification."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

from tfllm import checks
from tfllm.checks import InputError
from tfllm.losses import ClassificationLoss
from tfllm.training.finetuning import fine_tune

MONITORS = {"macro_f1": "max", "accuracy": "max", "matthews": "max", "loss": "min"}


def train_classifier(
    model: keras.Model,
    train: tf.data.Dataset | Callable[[int], tf.data.Dataset],
    validation: tf.data.Dataset | None = None,
    *,
    label_smoothing: float = 0.0,
    monitor: str = "macro_f1",
    packed: keras.Model | None = None,
    **arguments,
) -> list[dict[str, float]]:
    """Train, and leave the weights of the best epoch in the model.

    Args:
        model: from `add_classifier_head`.
        train: from `classification_dataset`; or from `classification_batches`, which knows class weights and which a
            `run` needs to go on exactly.
        validation: from `classification_dataset`. Without it the last epoch's weights stay.
        label_smoothing: see `ClassificationLoss`.
        monitor: "macro_f1", "accuracy", "matthews" or "loss" of the validation data decides which epoch is best.
        packed: from `packed_classifier(model, ...)`, for packed batches.
        arguments: those of `fine_tune`: `epochs`, `learning_rate`, `patience`, `run`, ...

    Returns:
        One dict per epoch: `loss`, and with validation `val_` and each name of `monitor`.

    Raises:
        InputError: for a bad argument.
    """
    checks.check_one_of("monitor", monitor, MONITORS)
    # Batches count by their weights; in a dataset a weight counts against the whole of it.
    reduction = "mean_with_sample_weight" if callable(train) else "sum_over_batch_size"
    return fine_tune(
        model,
        train,
        loss=ClassificationLoss(label_smoothing, reduction=reduction),
        validate=None if validation is None else lambda: _scores(model, validation),
        monitor=monitor,
        better=MONITORS[monitor],
        packed=packed,
        **arguments,
    )


def balanced_class_weights(label_ids: Sequence[int], num_labels: int) -> list[float]:
    """Weights that give every label the same total: n / (C * count). A label without examples gets 0.

    Example: 3 of label 0 and 1 of label 1 -> 4/6 and 4/2.
    """
    counts = np.bincount(np.asarray(label_ids), minlength=num_labels)
    return [float(len(label_ids) / (num_labels * count)) if count else 0.0 for count in counts]


def classification_monitors(label_ids: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The scores of MONITORS, of label ids (N,) and logits float (N, C).

    Raises:
        InputError: when a logit is not a number.
    """
    if not np.isfinite(logits).all():
        raise InputError("Training has diverged: the model's outputs are not numbers. Lower the learning rate.")
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits.astype("float64")))
    predicted, labels = probabilities.argmax(-1), range(probabilities.shape[-1])
    return {
        "loss": log_loss(label_ids, probabilities, labels=labels),
        "accuracy": accuracy_score(label_ids, predicted),
        "macro_f1": f1_score(label_ids, predicted, labels=labels, average="macro", zero_division=0),
        "matthews": matthews_corrcoef(label_ids, predicted),
    }


def _scores(model: keras.Model, validation: tf.data.Dataset) -> dict[str, float]:
    label_ids = np.concatenate([element[1].numpy() for element in validation])
    logits = model.predict(validation.map(lambda inputs, *targets: inputs), verbose=0)
    return classification_monitors(label_ids, logits)
