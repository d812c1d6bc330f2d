"""Rows of token ids -> masked rows and what was masked, inside tf.data, by (seed, batch number) alone.

B batch, T tokens, M masked positions.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from tfllm import checks
from tfllm.tokenizers import Tokenizer


def slots(sequence_length: int, rate: float) -> int:
    """M: how many positions of a row can be masked."""
    return max(1, math.ceil(sequence_length * rate))


def masked_lm_masker(
    tokenizer: Tokenizer, *, rate: float = 0.15, whole_word: bool = False, seed: int = 0
) -> Callable[[tf.Tensor, dict[str, tf.Tensor]], tuple]:
    """A function for `dataset.enumerate().map(...)` that masks batches anew each time they pass.

    Of the real tokens of a row, a share of `rate` is chosen (rounded, at least one). Of the chosen, 80 % become [MASK],
    10 % a random ordinary token, 10 % stay as they are.

    Args:
        tokenizer: gives the special ids, the vocabulary, and where words begin.
        rate: share of tokens that is to be predicted, 0 to 1.
        whole_word: choose words instead of tokens; a word is masked with all its tokens or not at all, so the share
            may not be reached. A word that is longer than the whole share is never masked.
        seed: with the batch number it decides every choice.

    Returns:
        f(number, batch) -> (inputs, mask_ids, mask_weights); `batch` holds the encoder's inputs with static T.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1 and appendix A.1; whole words as in the authors' later
    release. Differs: masks are drawn anew for every epoch (Liu et al. 2019, arXiv:1907.11692, section 4.1).
    """
    checks.check_between("mask rate", rate, 0.001, 0.999)
    special_ids = tf.constant(sorted(tokenizer.special_ids), tf.int32)
    is_special = tf.scatter_nd(special_ids[:, None], tf.ones_like(special_ids), [tokenizer.vocabulary_size])
    ordinary_ids = tf.cast(tf.where(is_special == 0)[:, 0], tf.int32)

    def mask(number, batch):
        token_ids = batch["token_ids"]  # (B, T)
        shape = tf.shape(token_ids)
        m = slots(token_ids.shape[1], rate)
        draw_score, draw_fate, draw_token = _draws(seed, number)

        score = tf.random.stateless_uniform(shape, draw_score)
        candidate = (tf.gather(is_special, token_ids) == 0) & (batch["padding_mask"] > 0)
        wanted = _wanted(candidate, rate, m)  # (B,)
        if whole_word:
            word = tf.minimum(tf.cumsum(tokenizer.word_starts(token_ids), axis=1), shape[1] - 1)  # (B, T), its number
            score = tf.gather(score, word, batch_dims=1)
            candidate &= _group_sizes(word, candidate) <= wanted[:, None]
        positions, weights = _choose(tf.where(candidate, score, -1.0), wanted, m)  # (B, M) each
        mask_ids = tf.gather(token_ids, positions, batch_dims=1)

        fate = tf.random.stateless_uniform(tf.shape(positions), draw_fate)
        other = tf.random.stateless_uniform(tf.shape(positions), draw_token, 0, tf.size(ordinary_ids), tf.int32)
        new_ids = tf.where(
            fate < 0.8, tokenizer.mask_id, tf.where(fate < 0.9, tf.gather(ordinary_ids, other), mask_ids)
        )
        inputs = {
            **batch,
            "token_ids": _replace(token_ids, positions, new_ids, weights),
            "mask_positions": positions * weights,
        }
        return inputs, mask_ids * weights, tf.cast(weights, tf.float32)

    return mask


def _draws(seed: int, number: tf.Tensor) -> list[tf.Tensor]:
    """Three independent seeds, int32 (2,) each, for batch `number`."""
    return tf.unstack(tf.random.split(tf.stack([tf.cast(seed, tf.int32), tf.cast(number, tf.int32)]), 3))


def _wanted(candidate: tf.Tensor, rate: float, m: int) -> tf.Tensor:
    """How many tokens of each row are to be masked, int32 (B,): the rounded share, at least 1."""
    count = tf.reduce_sum(tf.cast(candidate, tf.float32), axis=1)
    return tf.clip_by_value(tf.cast(tf.round(rate * count), tf.int32), 1, m)


def _group_sizes(group: tf.Tensor, member: tf.Tensor) -> tf.Tensor:
    """For each place how many members its group (0 to T - 1) has in the row; all (B, T)."""
    rows, length = tf.unstack(tf.shape(group))
    group += tf.range(rows)[:, None] * length
    return tf.gather(tf.math.unsorted_segment_sum(tf.cast(member, tf.int32), group, rows * length), group)


def _choose(score: tf.Tensor, wanted: tf.Tensor, m: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `wanted` positions with the highest scores, in order of position; weight 1 where chosen, else 0.

    Negative scores are never chosen. A group of equal scores (a word) that does not fit whole is left out.
    """
    score = tf.pad(score, [[0, 0], [0, 1]], constant_values=-1.0)  # so that M + 1 are there when M is T
    best, positions = tf.math.top_k(score, m + 1)  # (B, M + 1)
    first_left_out = tf.gather(best, wanted, batch_dims=1)[:, None]  # (B, 1)
    chosen = (best > tf.maximum(first_left_out, -0.5))[:, :m]
    far = tf.int32.max // 2
    order = tf.sort(tf.where(chosen, positions[:, :m], far), axis=1)  # chosen ones first, by position
    weights = tf.cast(order < far, tf.int32)
    return tf.where(order < far, order, 0), weights


def _replace(token_ids: tf.Tensor, positions: tf.Tensor, new_ids: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """token_ids with `new_ids` at `positions` where the weight is 1."""
    change = (new_ids - tf.gather(token_ids, positions, batch_dims=1)) * weights  # (B, M); 0 where unused
    rows = tf.broadcast_to(tf.range(tf.shape(positions)[0])[:, None], tf.shape(positions))
    return tf.tensor_scatter_nd_add(token_ids, tf.stack([rows, positions], axis=-1), change)
