"""A classifier and labelled texts -> scores.

In: true label ids and the probabilities the model gives. Out: a dict of JSON values. N examples, C classes.
"""

from collections.abc import Sequence

import keras
import numpy as np
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from tfllm import checks
from tfllm.checks import InputError
from tfllm.evaluation.outputs import predict_outputs
from tfllm.metrics import expected_calibration_error
from tfllm.tokenizers import Tokenizer


def classification_scores(label_ids: Sequence[int], probabilities: np.ndarray, label_names: Sequence[str]) -> dict:
    """Scores of single-label classification; the class with the highest probability is the prediction.

    Args:
        label_ids: int (N,), the true classes.
        probabilities: float (N, C), rows sum to 1.
        label_names: C names, in the order of the ids.

    Returns:
        Dict of JSON values: `examples` (N), `accuracy`, `matthews_correlation`, `log_loss` in nats,
        `expected_calibration_error`, `macro`, `micro` and `weighted` (each a dict of `precision`, `recall`, `f1`),
        `per_class` (name -> `precision`, `recall`, `f1`, `support`), `labels` (the C names), `confusion_matrix` (C x C
        counts, rows are true, columns predicted classes) and `absent_labels`: classes without an example.
        A precision or recall without anything to divide by is 0, and so is its F1: absent classes pull the macro
        average down.

    Raises:
        InputError: if there is no example, the shapes do not agree, or a probability is not a number.
    """
    label_ids, probabilities = np.asarray(label_ids), np.asarray(probabilities, np.float64)
    _check_arrays(label_ids, probabilities, label_names)
    classes = np.arange(len(label_names))
    predicted = probabilities.argmax(axis=1)
    columns = sklearn_metrics.precision_recall_fscore_support(label_ids, predicted, labels=classes, zero_division=0)
    per_class = {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "support": int(support)}
        for name, precision, recall, f1, support in zip(label_names, *columns, strict=True)
    }
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return {
        "examples": len(label_ids),
        "accuracy": float(sklearn_metrics.accuracy_score(label_ids, predicted)),
        "matthews_correlation": _matthews(label_ids, predicted),
        "log_loss": float(sklearn_metrics.log_loss(label_ids, probabilities, labels=classes)),
        "expected_calibration_error": expected_calibration_error(probabilities, label_ids),
        **{average: _averaged(label_ids, predicted, classes, average) for average in ("macro", "micro", "weighted")},
        "per_class": per_class,
        "labels": list(label_names),
        "confusion_matrix": sklearn_metrics.confusion_matrix(label_ids, predicted, labels=classes).tolist(),
        "absent_labels": [name for name, row in per_class.items() if row["support"] == 0],
    }


def evaluate_classifier(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    labels: Sequence[str],
    label_names: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
) -> dict:
    """Let a classifier predict the label of each text, and score it.

    Args:
        model: inputs as the encoder's, output logits (B, C).
        tokenizer: the one the model was trained with.
        texts, labels: the text and the true label name of each example.
        label_names: C names, in the order of the logits.
        pairs: the second text of each example.
        sequence_length: longer texts are cut, and the log says how many.
        batch_size: texts predicted together.

    Returns:
        `classification_scores`, and `predictions`: the predicted label name of each text, in order.

    Raises:
        InputError: if there is no text, or a label is not one of `label_names`.
    """
    label_ids = _to_ids(labels, label_names)
    if not len(texts) or len(texts) != len(label_ids):
        raise InputError(f"Evaluation needs texts, and a label for each. Received: {len(texts)}, {len(label_ids)}.")
    shapes = {"pairs": pairs, "sequence_length": sequence_length, "batch_size": batch_size}
    probabilities = softmax(predict_outputs(model, tokenizer, texts, **shapes), axis=1)
    scores = classification_scores(label_ids, probabilities, label_names)
    return {**scores, "predictions": [label_names[index] for index in probabilities.argmax(axis=1)]}


def _to_ids(labels: Sequence[str], label_names: Sequence[str]) -> np.ndarray:
    index = {name: position for position, name in enumerate(label_names)}
    for number, label in enumerate(labels, 1):
        if label not in index:
            near = checks.did_you_mean(label, index)
            raise InputError(f"example {number}: {label!r} is not one of the model's labels{near}: {list(index)}.")
    return np.array([index[label] for label in labels], np.int64)


def _check_arrays(label_ids: np.ndarray, probabilities: np.ndarray, label_names: Sequence[str]) -> None:
    if not len(label_ids) or probabilities.shape != (len(label_ids), len(label_names)):
        raise InputError(
            "`probabilities` must have a row for each of at least one example, and a column for each label. "
            f"Received: {len(label_ids)} label_ids, {len(label_names)} labels, probabilities {probabilities.shape}."
        )
    if not np.isfinite(probabilities).all():
        raise InputError("The model's outputs are not all numbers (NaN or infinity): its training has diverged.")


def _matthews(label_ids: np.ndarray, predicted: np.ndarray) -> float:
    """0.0 by convention where there is only one class; scikit-learn warns there."""
    if np.union1d(label_ids, predicted).size == 1:
        return 0.0
    return float(sklearn_metrics.matthews_corrcoef(label_ids, predicted))


def _averaged(label_ids: np.ndarray, predicted: np.ndarray, classes: np.ndarray, average: str) -> dict[str, float]:
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        label_ids, predicted, labels=classes, average=average, zero_division=0
    )
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
