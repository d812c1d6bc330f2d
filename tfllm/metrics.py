"""Metrics that neither Keras nor scikit-learn has.

In: NumPy arrays of a whole test set. Out: a float. N examples, C classes.
"""

import numpy as np

from tfllm.checks import InputError, check_at_least


def expected_calibration_error(probabilities: np.ndarray, label_ids: np.ndarray, *, bins: int = 15) -> float:
    """How far a classifier's confidence is from its accuracy, on average over the examples.

    Examples are put into `bins` equal intervals by confidence, the probability of the predicted class; an interval
    holds its upper end. The error is the mean over examples of |accuracy - mean confidence| of their interval.

    Args:
        probabilities: float (N, C), rows sum to 1.
        label_ids: int (N,), the true classes.
        bins: number of intervals between 0 and 1.

    Returns:
        0.0 (confidence is accuracy) to 1.0.

    Raises:
        InputError: if the shapes do not agree, or there is no example.

    Example: two examples predicted with 0.9, one of them right -> |0.5 - 0.9| = 0.4.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    probabilities, label_ids = np.asarray(probabilities, np.float64), np.asarray(label_ids)
    check_at_least("bins", bins, 1)
    if probabilities.ndim != 2 or label_ids.shape != probabilities.shape[:1] or not len(label_ids):
        raise InputError(
            "`probabilities` must be (N, C) and `label_ids` (N,), with N at least 1. "
            f"Received: {probabilities.shape} and {label_ids.shape}."
        )
    confidence = probabilities.max(axis=1)  # (N,)
    right = probabilities.argmax(axis=1) == label_ids
    interval = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = np.bincount(interval, weights=right - confidence, minlength=bins)  # per interval, times its examples
    return float(np.abs(gaps).sum() / len(label_ids))
