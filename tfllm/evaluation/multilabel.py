"""A model that gives texts any number of labels -> scores, and the thresholds that suit it.

In: true labels and the probabilities the model gives. Out: a dict of JSON values. N examples, C labels.
"""

from collections.abc import Sequence

import keras
import numpy as np
from scipy.special import expit
from sklearn import metrics

from tfllm.checks import InputError
from tfllm.data.multilabel import encode_label_sets
from tfllm.evaluation.outputs import predict_outputs
from tfllm.models import read_recipe
from tfllm.tokenizers import Tokenizer

_FEWEST_EXAMPLES = 5  # of a label, for a threshold of its own
_COUNTED = ("precision", "recall", "f1")
_HALVES = 5  # times the examples are cut in two to see whether tuned thresholds help


def multilabel_scores(
    targets: np.ndarray,
    probabilities: np.ndarray,
    label_names: Sequence[str],
    thresholds: Sequence[float] | None = None,
) -> dict:
    """Scores of labels that are decided each by itself.

    Args:
        targets: 0 or 1, (N, C).
        probabilities: float (N, C).
        label_names: C names.
        thresholds: C probabilities; a label is predicted when its probability reaches its threshold. Default: 0.5.

    Returns:
        Dict of JSON values: `examples` (N); `micro_f1`, `macro_f1`; `average_precision`, the mean over the labels that
        occur, and `micro_average_precision`, both whatever the thresholds; `subset_accuracy`: the share of examples
        with exactly the right labels; `hamming_loss`: the share of wrong decisions; `loss`: the mean cross-entropy in
        nats; `macro`, `micro` and `weighted` (each a dict of `precision`, `recall`, `f1`); `per_class` (name -> those,
        `average_precision`, `threshold`, `support`); `labels`, the C names, and `absent_labels`: those without an
        example. A precision or recall without anything to divide by is 0, and so is its F1.

    Raises:
        InputError: if there is no example, the shapes do not agree, or a probability is not a number.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, np.float64)
    if not len(targets) or targets.shape != probabilities.shape or targets.shape[1] != len(label_names):
        raise InputError(
            "Scores need at least one example, and a probability for each of its labels. "
            f"Received: targets {targets.shape}, probabilities {probabilities.shape}, {len(label_names)} labels."
        )
    if not np.isfinite(probabilities).all():
        raise InputError("The probabilities are not all numbers (NaN or infinity).")
    targets = targets.astype(bool)
    thresholds = np.full(len(label_names), 0.5) if thresholds is None else np.asarray(thresholds, np.float64)
    predicted = probabilities >= thresholds
    of_label = _precision_recall_f1(targets, predicted)
    of_label["average_precision"] = np.array(
        [
            metrics.average_precision_score(right, scores) if right.any() else 0.0
            for right, scores in zip(targets.T, probabilities.T, strict=True)
        ]
    )
    support = targets.sum(axis=0)
    averages = {
        "macro": {name: float(of_label[name].mean()) for name in _COUNTED},
        "micro": {name: float(value) for name, value in _precision_recall_f1(targets, predicted, axis=None).items()},
        "weighted": {name: float(of_label[name] @ support / max(support.sum(), 1)) for name in _COUNTED},
    }
    of_label |= {"threshold": thresholds}
    return {
        "examples": len(targets),
        "micro_f1": averages["micro"]["f1"],
        "macro_f1": averages["macro"]["f1"],
        "average_precision": float(of_label["average_precision"].sum() / max(np.count_nonzero(support), 1)),
        "micro_average_precision": (
            float(metrics.average_precision_score(targets.ravel(), probabilities.ravel())) if support.any() else 0.0
        ),
        "subset_accuracy": float((targets == predicted).all(axis=1).mean()),
        "hamming_loss": float((targets != predicted).mean()),
        "loss": _cross_entropy(targets, probabilities),
        **averages,
        "per_class": {
            name: {
                **{column: float(values[label]) for column, values in of_label.items()},
                "support": int(support[label]),
            }
            for label, name in enumerate(label_names)
        },
        "labels": list(label_names),
        "absent_labels": [name for name, count in zip(label_names, support, strict=True) if not count],
    }


def choose_thresholds(targets: np.ndarray, probabilities: np.ndarray, seed: int = 0) -> list[float]:
    """A threshold for each label that gives it the best F1, if such thresholds help; else 0.5 for all.

    Whether they help is seen on examples they were not chosen on: the examples are cut in two, five times anew, the
    thresholds of one half decide the other, and the mean of their macro F1 must be above that of 0.5.

    Args:
        targets: 0 or 1, (N, C).
        probabilities: float (N, C), of examples the model was not trained on.
        seed: decides the cuts.

    Returns:
        C numbers, each above 0 and below 1. A label with fewer than five examples, or without five others, keeps 0.5.
    """
    targets, probabilities = np.asarray(targets).astype(bool), np.asarray(probabilities, np.float64)
    random, plain, tuned = np.random.default_rng(seed), [], []
    for _ in range(_HALVES):
        order = random.permutation(len(targets))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for chosen_on, scored_on in (halves, halves[::-1]):
            thresholds = _best_thresholds(targets[chosen_on], probabilities[chosen_on])
            for f1, tried in ((tuned, thresholds), (plain, 0.5)):
                f1.append(_precision_recall_f1(targets[scored_on], probabilities[scored_on] >= tried)["f1"].mean())
    helps = np.mean(tuned) > np.mean(plain)
    return (_best_thresholds(targets, probabilities) if helps else np.full(targets.shape[1], 0.5)).tolist()


def evaluate_multilabel(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    *,
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
    tune: bool = False,
) -> dict:
    """Let a model from `add_multilabel_head` find the labels of each text, and score it.

    Args:
        model, tokenizer: as they were trained together.
        texts, labels: the text and the true names of each example.
        pairs: the second text of each example.
        sequence_length: longer texts are cut, and the log says how many.
        batch_size: texts predicted together.
        tune: score it with the thresholds of `choose_thresholds` for these examples; `set_thresholds` makes them the
            model's own.

    Returns:
        `multilabel_scores`, and `predictions`: the names found in each text, in the order of the model's labels.
    """
    arguments = read_recipe(model)["arguments"]
    names, thresholds = arguments["labels"], arguments["thresholds"]
    targets = encode_label_sets(labels, names)
    shapes = {"pairs": pairs, "sequence_length": sequence_length, "batch_size": batch_size}
    probabilities = expit(predict_outputs(model, tokenizer, texts, **shapes))
    if tune:
        thresholds = choose_thresholds(targets, probabilities)
    found = [[names[c] for c in np.flatnonzero(row)] for row in probabilities >= np.asarray(thresholds)]
    return {**multilabel_scores(targets, probabilities, names, thresholds), "predictions": found}


def _best_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """float (C,): of each label the threshold with the best F1, in the middle of the gap it stands in."""
    thresholds = np.full(targets.shape[1], 0.5)
    for label, (right, scores) in enumerate(zip(targets.T, probabilities.T, strict=True)):
        if min(right.sum(), (~right).sum()) < _FEWEST_EXAMPLES:
            continue
        precision, recall, candidates = metrics.precision_recall_curve(right, scores)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = int(np.argmax(f1[:-1]))
        below = candidates[best - 1] if best else 0.0
        thresholds[label] = (candidates[best] + below) / 2
    return np.clip(thresholds, 1e-6, 1 - 1e-6)


def _cross_entropy(targets: np.ndarray, probabilities: np.ndarray) -> float:
    right = np.where(targets, probabilities, 1 - probabilities)
    return float(-np.log(np.maximum(right, 1e-15)).mean())


def _precision_recall_f1(targets: np.ndarray, predicted: np.ndarray, axis: int | None = 0) -> dict[str, np.ndarray]:
    """`precision`, `recall` and `f1` of each label, float (C,), or over all decisions; 0 where nothing can be divided.

    scikit-learn has them, but takes a single label for two classes.
    """
    both, found, there = (np.sum(counted, axis=axis) for counted in (targets & predicted, predicted, targets))
    pairs = zip(_COUNTED, ((both, found), (both, there), (2 * both, found + there)), strict=True)
    return {name: part / np.maximum(whole, 1) for name, (part, whole) in pairs}
