"""How the next token is chosen: what a model's logits become before one is taken, and which one that is.

All by TensorFlow operations, each row by itself: what a row becomes does not depend on the rows beside it.
Shapes: B rows, V vocabulary, W tokens of the longest row so far.
"""

from typing import NamedTuple

import tensorflow as tf

from tfllm.writing import Rules

_NEVER = -1e30
_COLDEST, _HOTTEST = 1e-4, 1e6  # lower ones give infinite logits, higher ones would draw what is barred


class Sampling(NamedTuple):
    """`tfllm.writing.RowSettings` of B rows: max_new_tokens, top_k and seed int32 (B,), the others float32 (B,)."""

    max_new_tokens: tf.Tensor
    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    seed: tf.Tensor


def allowed(logits: tf.Tensor, history: tf.Tensor, lengths: tf.Tensor, barred: tf.Tensor, rules: Rules) -> tf.Tensor:
    """The logits float32 (B, V) after penalties, with those of tokens that must not come at -1e30.

    Args:
        history: int32 (B, W), prompt and text so far; what stands behind is not looked at.
        lengths: int32 (B,), how many of those tokens there are.
        barred: bool (V,), tokens that never come, or not yet.
        rules: those for all rows.
    """
    if rules.repetition_penalty != 1:
        real = tf.sequence_mask(lengths, tf.shape(history)[1])
        changed = tf.where(logits > 0, logits / rules.repetition_penalty, logits * rules.repetition_penalty)
        logits = tf.where(_marked(history, real, tf.shape(logits)[1]), changed, logits)
    if rules.no_repeat_ngram:
        logits = tf.where(_repeating(history, lengths, rules.no_repeat_ngram, tf.shape(logits)[1]), _NEVER, logits)
    return logits + _NEVER * tf.cast(barred, tf.float32)  # a choice between rows of (B, V) would take longer


def choose(logits: tf.Tensor, sampling: Sampling, min_p: float, uniform: tf.Tensor) -> tf.Tensor:
    """The next token of each row, int32 (B,).

    Args:
        logits: float32 (B, V).
        uniform: float32 (B,), at least 0 and below 1: which part of the distribution is taken.
    """
    best = tf.argmax(logits, axis=1, output_type=tf.int32)
    draws = sampling.temperature > 0

    def drawn():
        temperature = tf.clip_by_value(tf.where(draws, sampling.temperature, 1.0), _COLDEST, _HOTTEST)
        likely = _likely(logits / temperature[:, tf.newaxis], sampling, min_p)
        parts = tf.cumsum(tf.nn.softmax(likely), axis=1)  # (B, V)
        wanted = uniform * parts[:, -1]
        # The first part that reaches beyond: never a token of probability 0, as it adds nothing.
        found = tf.reduce_sum(tf.cast(parts <= wanted[:, tf.newaxis], tf.int32), axis=1)
        return tf.where(draws, found, best)

    return tf.cond(tf.reduce_any(draws), drawn, lambda: best)


def draw_uniform(seed: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Float32 (B, count) of numbers at least 0 and below 1: those of a row follow from its seed, int32 (B,), alone.

    With a larger `count` a row begins with the same numbers.
    """
    return tf.map_fn(
        lambda one: tf.random.stateless_uniform([count], tf.stack([one, 0])),
        tf.pad(seed, [[0, 1]]),  # of no row at all nothing can be stacked
        fn_output_signature=tf.TensorSpec([None], tf.float32),
    )[:-1]


def history_of(prompts: tf.Tensor, lengths: tf.Tensor, token_ids: tf.Tensor) -> tf.Tensor:
    """int32 (B, P + N): the tokens of each prompt and, right behind them, the new ones."""
    both = tf.concat([prompts, token_ids], axis=1)
    width, places = tf.shape(prompts)[1], tf.range(tf.shape(both)[1])
    gap = width - lengths[:, tf.newaxis]  # padding of the prompt
    places = tf.where(places < lengths[:, tf.newaxis], places, tf.minimum(places + gap, tf.shape(both)[1] - 1))
    return tf.gather(both, places, batch_dims=1)


def _likely(logits: tf.Tensor, sampling: Sampling, min_p: float) -> tf.Tensor:
    """The logits, with those of tokens that are not drawn from at -1e30: top k, then top p, then min p."""

    def by_rank():
        size = tf.shape(logits)[1]
        ranked = tf.sort(logits, axis=1, direction="DESCENDING")  # (B, V)
        most = tf.where(sampling.top_k > 0, tf.minimum(sampling.top_k, size), size)[:, tf.newaxis]
        ranked = tf.where(tf.range(size) < most, ranked, _NEVER)
        before = tf.cumsum(tf.nn.softmax(ranked), axis=1, exclusive=True)
        top_p = sampling.top_p[:, tf.newaxis]
        kept = (before < top_p) | (top_p >= 1) | (tf.range(size) == 0)
        least = tf.reduce_min(tf.where(kept & (ranked > _NEVER), ranked, float("inf")), axis=1, keepdims=True)
        return tf.where(logits >= least, logits, _NEVER)

    ranks = tf.reduce_any((sampling.top_k > 0) | (sampling.top_p < 1))
    logits = tf.cond(ranks, by_rank, lambda: logits)
    if min_p:
        least = tf.reduce_max(logits, axis=1, keepdims=True) + tf.math.log(min_p)
        logits = tf.where(logits >= least, logits, _NEVER)
    return logits


def _marked(tokens: tf.Tensor, real: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Bool (B, size): which ids stand in a row of tokens, int32 (B, W), where `real`, bool (B, W)."""
    shape = tf.shape(tokens)
    rows = tf.broadcast_to(tf.range(shape[0])[:, tf.newaxis], shape)
    places = tf.stack([rows, tf.where(real, tokens, 0)], axis=-1)
    return tf.scatter_nd(places, tf.cast(real, tf.int32), tf.stack([shape[0], size])) > 0


def _repeating(history: tf.Tensor, lengths: tf.Tensor, ngram: int, size: tf.Tensor) -> tf.Tensor:
    """Bool (B, size): which tokens would end a sequence of `ngram` tokens that has been there."""
    history = tf.pad(history, [[0, 0], [0, ngram]])
    starts = tf.shape(history)[1] - ngram + 1
    again = tf.range(starts) + ngram <= lengths[:, tf.newaxis]  # (B, starts): whole sequences
    for place in range(ngram - 1):
        last = tf.gather(history, tf.maximum(lengths - ngram + 1 + place, 0), batch_dims=1)
        again &= history[:, place : place + starts] == last[:, tf.newaxis]
    again &= lengths[:, tf.newaxis] >= ngram
    return _marked(history[:, ngram - 1 :], again, size)
