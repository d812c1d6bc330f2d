"""A model that gives scores, and texts with their true scores -> how well the two agree.

In: true and predicted scores. Out: a dict of JSON values. N examples.
"""

from collections.abc import Sequence

import keras
import numpy as np
from scipy import stats

from tfllm.checks import InputError
from tfllm.evaluation.outputs import predict_outputs
from tfllm.tokenizers import Tokenizer


def regression_scores(targets: Sequence[float], predictions: Sequence[float]) -> dict:
    """How well predicted scores agree with the true ones.

    Args:
        targets, predictions: float (N,).

    Returns:
        Dict of JSON values: `examples` (N), `pearson`, `spearman`, `mean_absolute_error`, `mean_squared_error`,
        `root_mean_squared_error`, and `error_of_the_mean`: the mean absolute error of who always says the mean of the
        true scores. A correlation is 0 where all true, or all predicted, scores are equal.

    Raises:
        InputError: if there is no example, the lengths differ, or a score is not a number.

    Example: targets 1, 2, 3 and predictions 2, 4, 6 -> both correlations 1, mean absolute error 2.
    """
    targets, predictions = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    if targets.ndim != 1 or not len(targets) or targets.shape != predictions.shape:
        raise InputError(
            "Scores need at least one example, and a prediction for each. "
            f"Received: targets {targets.shape}, predictions {predictions.shape}."
        )
    if not np.isfinite(targets).all() or not np.isfinite(predictions).all():
        raise InputError("The scores are not all numbers (NaN or infinity).")
    errors = predictions - targets
    return {
        "examples": len(targets),
        **correlations(targets, predictions),
        "mean_absolute_error": float(np.abs(errors).mean()),
        "mean_squared_error": float(np.square(errors).mean()),
        "root_mean_squared_error": float(np.sqrt(np.square(errors).mean())),
        "error_of_the_mean": float(np.abs(targets - targets.mean()).mean()),
    }


def correlations(targets: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """`pearson` and `spearman`; 0 where all true, or all predicted, scores are equal, for there is none then."""
    if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": float(stats.pearsonr(targets, predictions).statistic),
        "spearman": float(stats.spearmanr(targets, predictions).statistic),
    }


def evaluate_regression(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    scores: Sequence[float],
    *,
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
) -> dict:
    """Let a model from `add_regression_head` score each text, and hold that against the true scores.

    Args:
        model, tokenizer: as they were trained together.
        texts, scores: the text and the true score of each example.
        pairs: the second text of each example.
        sequence_length: longer texts are cut, and the log says how many.
        batch_size: texts predicted together.

    Returns:
        `regression_scores`, and `predictions`: the predicted scores, in order.
    """
    shapes = {"pairs": pairs, "sequence_length": sequence_length, "batch_size": batch_size}
    predictions = predict_outputs(model, tokenizer, texts, **shapes)[:, 0]
    return {**regression_scores(scores, predictions), "predictions": predictions.tolist()}
