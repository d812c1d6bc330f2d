"""Corpus files -> batches for a decoder that sees the beginning of a text in both directions and predicts the rest.

In: as for `causal_lm_dataset`. Out: a tf.data.Dataset that `fit` takes. B batch, T tokens.

Example, a text `a b c d` of which `a b` is the prefix (ids: [PAD] 0, [CLS] 2, [SEP] 3, a 10, b 11, c 12, d 13):

    token_ids       2  10  11  12  13   3   0
    padding_mask    1   1   1   1   1   1   0
    prefix_mask     1   1   1   0   0   0   0
    next_ids       10  11  12  13   3   0   0
    next_weights    0   0   1   1   1   0   0
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.causal import causal_lm_dataset
from tfllm.data.features import PREFIX_INPUTS, check_dataset
from tfllm.tokenizers import Tokenizer


def prefix_lm_dataset(
    corpus: str | Path | Sequence[str | Path], tokenizer: Tokenizer, *, seed: int = 0, start_batch: int = 0, **reading
) -> tf.data.Dataset:
    """Rows as those of `causal_lm_dataset`; where each text is parted is drawn anew for every batch.

    The prefix of a text, [CLS] included, has any length from 1 to all but one of its tokens.

    Args:
        corpus, tokenizer, seed, start_batch, reading: the arguments of `causal_lm_dataset`.

    Returns:
        Dataset of (inputs, next_ids, next_weights): inputs is a dict of `token_ids`, `padding_mask` and `prefix_mask`;
        all (B, T). The weights are 0 where the next token belongs to the prefix.

    Raises:
        InputError: as `causal_lm_dataset`.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 3.2.1.
    """
    batches = causal_lm_dataset(corpus, tokenizer, seed=seed, start_batch=start_batch, **reading)

    def parted(number, batch):
        inputs, next_ids, weights = batch
        prefix = tf.numpy_function(_prefix_mask, [inputs["padding_mask"], number, seed], tf.int32)
        inputs["prefix_mask"] = tf.ensure_shape(prefix, inputs["padding_mask"].shape)
        in_prefix = tf.pad(inputs["prefix_mask"][:, 1:], [[0, 0], [0, 1]])  # of the next token
        return inputs, next_ids, weights * tf.cast(1 - in_prefix, tf.float32)

    dataset = mapped(batches.enumerate(start_batch), parted)
    return check_dataset(made_ahead(dataset), PREFIX_INPUTS, ["next_ids"], ["next_weights"])


def _prefix_mask(padding_mask: np.ndarray, number: int, seed: int) -> np.ndarray:
    """int32 (B, T): 1 on the first tokens of every text, as many as the seed and the batch's number say."""
    random, mask = np.random.default_rng((seed, number)), np.zeros_like(padding_mask)
    for row, texts in zip(mask, padding_mask, strict=True):
        starts = np.flatnonzero(np.diff(texts, prepend=0) * (texts > 0))
        for start, size in zip(starts, np.bincount(texts)[1:], strict=True):
            row[start : start + random.integers(1, max(size, 2))] = 1
    return mask
