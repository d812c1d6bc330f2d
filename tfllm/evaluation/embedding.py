"""A model that gives vectors, and pairs of texts -> scores: how near the two are, or how well one finds the other.

In: vectors of texts. Out: a dict of JSON values. N pairs, D hidden_dim, P texts in the pool.
"""

from collections.abc import Sequence

import keras
import numpy as np

from tfllm.checks import InputError
from tfllm.evaluation.outputs import predict_outputs
from tfllm.evaluation.regression import correlations
from tfllm.models import add_embedding_head, read_encoder, read_recipe
from tfllm.tokenizers import Tokenizer

_CUTS = (1, 5, 10)  # k of recall@k
_CHUNK = 1000  # texts looked for at once


def similarity_scores(first: np.ndarray, second: np.ndarray, targets: Sequence[float]) -> dict:
    """How the cosines of pairs agree with their true scores.

    Args:
        first, second: float (N, D).
        targets: float (N,), in any unit.

    Returns:
        Dict of JSON values: `examples` (N), `spearman`, `pearson`.
    """
    cosines = (_unit(first) * _unit(second)).sum(axis=1)
    return {"examples": len(cosines), **correlations(np.asarray(targets, np.float64), cosines)}


def retrieval_scores(first: np.ndarray, second: np.ndarray, texts: Sequence[str], pairs: Sequence[str]) -> dict:
    """How well the second text of each pair is found by the first, among the second texts of all pairs.

    The nearest by cosine come first. Where a text has several partners, the others are left out while one is looked
    for; texts that are equally near come before the right one: vectors that are all the same find nothing.

    Args:
        first, second: float (N, D), vectors of `texts` and `pairs`.
        texts, pairs: N texts each; equal ones are one text of the pool.

    Returns:
        Dict of JSON values: `examples` (N), `pool` (P), `recall_at_1`, `recall_at_5`, `recall_at_10`,
        `mean_reciprocal_rank`.

    Example: three pairs, the right text nearest, nearest, third -> recall@1 2/3, mean reciprocal rank 7/9.
    """
    numbers: dict[str, int] = {}
    pool_number = np.array([numbers.setdefault(pair, len(numbers)) for pair in pairs])  # (N,)
    _, kept = np.unique(pool_number, return_index=True)
    pool = _unit(second)[kept]  # (P, D)
    partners: dict[str, set[int]] = {}
    for text, number in zip(texts, pool_number.tolist(), strict=True):
        partners.setdefault(text, set()).add(number)
    first, ranks = _unit(first), np.zeros(len(texts))
    for start in range(0, len(texts), _CHUNK):
        cosines = first[start : start + _CHUNK] @ pool.T
        for row, near in enumerate(cosines):
            right = pool_number[start + row]
            own = near[right]
            near[list(partners[texts[start + row]])] = -np.inf
            ranks[start + row] = 1 + np.count_nonzero(near >= own - 1e-9)
    return {
        "examples": len(texts),
        "pool": len(pool),
        **{f"recall_at_{k}": float((ranks <= k).mean()) for k in _CUTS},
        "mean_reciprocal_rank": float((1 / ranks).mean()),
    }


def evaluate_embedding(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pairs: Sequence[str],
    scores: Sequence[float] | None = None,
    *,
    sequence_length: int = 128,
    batch_size: int = 32,
) -> dict:
    """Let a model give every text its vector, and score them.

    Args:
        model, tokenizer: as they were trained together. Of a model without `add_embedding_head` the vector is the mean
            of the token vectors.
        texts, pairs: the two texts of each pair.
        scores: how near they are; None: they belong together.
        sequence_length: longer texts are cut, and the log says how many.
        batch_size: texts predicted together.

    Returns:
        `similarity_scores`, or without scores `retrieval_scores`.
    """
    if len(texts) != len(pairs) or not len(texts):
        raise InputError(f"Evaluation needs pairs of texts. Received: {len(texts)} and {len(pairs)} texts.")
    if read_recipe(model)["builder"] != "add_embedding_head":
        model = add_embedding_head(read_encoder(model))
    unique = list(dict.fromkeys([*texts, *pairs]))
    vectors = predict_outputs(model, tokenizer, unique, sequence_length=sequence_length, batch_size=batch_size)
    index = {text: place for place, text in enumerate(unique)}
    first, second = (vectors[[index[text] for text in column]] for column in (texts, pairs))
    if scores is not None:
        return similarity_scores(first, second, scores)
    return retrieval_scores(first, second, texts, pairs)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
