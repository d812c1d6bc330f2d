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

from tfllm.data.causal import next_token_targets, pack_texts
from tfllm.data.features import DECODER_INPUTS, PREFIX_INPUTS, check_dataset
from tfllm.data.pretraining import find_records, read_rows
from tfllm.tokenizers import Tokenizer


def prefix_lm_dataset(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    sequence_length: int | None = None,
    batch_size: int = 32,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    part: str = "all",
    held_out: float | None = None,
    repeat: bool = True,
    seed: int = 0,
    start_batch: int = 0,
) -> tf.data.Dataset:
    """Rows as those of `causal_lm_dataset`; where each text is parted is drawn anew for every batch.

    The prefix of a text, [CLS] included, has any length from 1 to all but one of its tokens.

    Args:
        As for `causal_lm_dataset`.

    Returns:
        Dataset of (inputs, next_ids, next_weights): inputs is a dict of `token_ids`, `padding_mask` and `prefix_mask`;
        all (B, T). The weights are 0 where the next token belongs to the prefix.

    Raises:
        InputError: as `causal_lm_dataset`.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 3.2.1.
    """
    rows = read_rows(
        corpus,
        tokenizer,
        pack_texts,
        DECODER_INPUTS,
        sequence_length=sequence_length,
        batch_size=batch_size,
        reading={"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows},
        part=part,
        held_out=held_out,
        repeat=repeat,
        seed=seed,
        start_batch=start_batch,
    )
    to_targets = next_token_targets(every_part_ends=find_records(corpus) is not None)

    def parted(number, rows):
        inputs, next_ids, weights = to_targets(rows)
        prefix = tf.numpy_function(_prefix_mask, [inputs["padding_mask"], number, seed], tf.int32)
        inputs["prefix_mask"] = tf.ensure_shape(prefix, inputs["padding_mask"].shape)
        in_prefix = tf.pad(inputs["prefix_mask"][:, 1:], [[0, 0], [0, 1]])  # of the next token
        return inputs, next_ids, weights * tf.cast(1 - in_prefix, tf.float32)

    dataset = rows.enumerate(start_batch).map(parted, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return check_dataset(dataset.prefetch(tf.data.AUTOTUNE), PREFIX_INPUTS, ["next_ids"], ["next_weights"])


def _prefix_mask(padding_mask: np.ndarray, number: int, seed: int) -> np.ndarray:
    """int32 (B, T): 1 on the first tokens of every text, as many as the seed and the batch's number say."""
    random, mask = np.random.default_rng((seed, number)), np.zeros_like(padding_mask)
    for row, texts in zip(mask, padding_mask, strict=True):
        starts = np.flatnonzero(np.diff(texts, prepend=0) * (texts > 0))
        for start, size in zip(starts, np.bincount(texts)[1:], strict=True):
            row[start : start + random.integers(1, max(size, 2))] = 1
    return mask
