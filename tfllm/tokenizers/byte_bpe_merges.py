"""Byte-pair merges for all words of a batch at once: the same tokens as merging one pair after another.

In: ids of the bytes of W words. Out: ids of their tokens. T tokens of a word, N tokens of all words laid end to end.

The definition: in a word, merge the pair of neighbours of lowest rank, the leftmost of equal ones; repeat until no pair
has a rank. Done literally it takes a step for every merge. Here one step merges every pair that nothing can stop: a
pair (a, b) of rank k is merged sooner or later unless a merge of a rank below k takes `a` away to the left or `b` away
to the right, and what it takes it away with must grow out of the present neighbour. So the neighbours' pairs tell
whether that can happen:

    x  a  b        directly, if the rank of (x, a) is below k;
    w  x  a  b     or if x can become the end of some X with a rank of (X, a) below k. For that, x must itself be taken
                   to the left below k: by w, or by what w can become the end of; for that, w must be taken, and so on.

The same holds to the right. Those lowest ranks, `left` and `right`, are known for each pair before any text is seen.
In a run of one token, "aaaa", the pairs overlap: every second is merged, from the left. And the pairs of lowest rank of
a word are always merged, so that every step merges something. In text nearly all words are done in 6 steps, and so is a
single word of a million random letters.

All this holds if merges are in an order a trainer finds them in: what a merge makes is used by later merges only.
Otherwise each step does what the definition says.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfllm.tokenizers.neighbours import after, before, places_in_runs, row_numbers

_NEVER = np.iinfo(np.int32).max  # the rank of what is never merged
_NEIGHBOURS = 3  # further ones than the next two that are asked; more would not save a step in the longest random word


class Merges(tf.Module):
    """Merges neighbouring tokens by rank.

    Args:
        merges: (first, second, result) ids, each pair once; the position is the rank.
        lengths: bytes of each token of the vocabulary.
    """

    def __init__(self, merges: Sequence[tuple[int, int, int]], lengths: Sequence[int]):
        super().__init__()
        self._in_order = _are_in_order(merges)
        pairs = _ranks(merges, lengths) if self._in_order else _only_ranks(merges)
        self._vocabulary_size = len(lengths)
        keys = np.array([first * self._vocabulary_size + second for first, second in pairs], np.int64)
        order = np.argsort(keys)
        ranks = np.array(list(pairs.values()), np.int32).reshape(-1, 3)[order]
        # The last entry is that of all pairs that are not there.
        self._keys = tf.constant(np.append(keys[order], np.iinfo(np.int64).max))
        self._ranks = tf.constant(np.concatenate([ranks, np.full((1, 3), _NEVER, np.int32)]))
        self._results = tf.constant([result for *_, result in merges] or [0], tf.int32)
        self._nothing = len(pairs)

    def __call__(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Merge int32 (W, (T)) until no pair has a rank."""
        words = tf.cast(row_numbers(ids), tf.int32)
        count = tf.cast(ids.nrows(), tf.int32)

        def can_merge(_ids, _words, pairs):
            return tf.reduce_any(pairs[:, 0] != _NEVER)

        def merge(ids, words, pairs):
            ranks, left, right = tf.unstack(pairs, axis=1)
            lowest = (ranks != _NEVER) & _lowest(ranks, words, count)
            chosen = _unstoppable(ranks, left, right, lowest) if self._in_order else _leftmost(lowest, words, count)
            merged = tf.gather(self._results, tf.where(chosen, ranks, 0))
            kept = ~before(chosen, 1, False)
            ids, words = tf.boolean_mask(tf.where(chosen, merged, ids), kept), tf.boolean_mask(words, kept)
            return ids, words, self._find(ids, words)

        state = ids.flat_values, words, self._find(ids.flat_values, words)
        shapes = tf.TensorShape([None]), tf.TensorShape([None]), tf.TensorShape([None, 3])
        flat, words, _ = tf.while_loop(can_merge, merge, state, shape_invariants=shapes)
        return tf.RaggedTensor.from_value_rowids(flat, tf.cast(words, tf.int64), ids.nrows(), validate=False)

    def _find(self, ids: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
        """Rank, `left` and `right` of the pair each token begins: int32 (N, 3)."""
        keys = tf.cast(ids[:-1], tf.int64) * self._vocabulary_size + tf.cast(ids[1:], tf.int64)
        entries = tf.searchsorted(self._keys, keys)
        is_there = (tf.gather(self._keys, entries) == keys) & (words[:-1] == words[1:])
        entries = tf.where(is_there, entries, self._nothing)
        last = tf.fill([tf.minimum(tf.size(ids), 1)], self._nothing)
        return tf.gather(self._ranks, tf.concat([entries, last], axis=0))


def _unstoppable(ranks: tf.Tensor, left: tf.Tensor, right: tf.Tensor, lowest: tf.Tensor) -> tf.Tensor:
    """Pairs that no other merge can prevent: bool (N,). Arguments (N,), of the pair each token begins.

    `left` is the lowest rank at which the pair's second token is taken by what its first becomes the end of; `right`
    the lowest at which its first is taken by what its second becomes the beginning of. `lowest`: no pair of the word
    has a lower rank.
    """
    rank_before, rank_after = before(ranks, 1, _NEVER), after(ranks, 1, _NEVER)
    taken_left, taken_right = tf.minimum(ranks, left), tf.minimum(ranks, right)
    for _ in range(_NEIGHBOURS):
        taken_left = tf.minimum(ranks, tf.maximum(left, before(taken_left, 1, _NEVER)))
        taken_right = tf.minimum(ranks, tf.maximum(right, after(taken_right, 1, _NEVER)))
    safe_left = (before(left, 1, _NEVER) > ranks) | (before(taken_left, 2, _NEVER) >= ranks)
    safe_right = (after(right, 1, _NEVER) >= ranks) | (after(taken_right, 2, _NEVER) >= ranks)
    safe = lowest | (safe_left & safe_right & (rank_after >= ranks))
    # Neighbouring pairs of equal rank are a run of one token: of these, the first, third, ... are merged.
    begins = (rank_before != ranks) | (ranks == _NEVER)
    places = places_in_runs(begins)
    firsts = tf.range(tf.size(ranks, tf.int64)) - places
    return (ranks != _NEVER) & safe & (places % 2 == 0) & tf.gather(safe & (rank_before > ranks), firsts)


def _lowest(values: tf.Tensor, words: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Whether each is the lowest of its word: bool (N,) of (N,), any integers."""
    return values == tf.gather(tf.math.unsorted_segment_min(values, words, count), words)


def _leftmost(chosen: tf.Tensor, words: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The first of each word's that are chosen: bool (N,)."""
    places = tf.range(tf.size(chosen))
    return chosen & _lowest(tf.where(chosen, places, _NEVER), words, count)


def _ranks(merges: Sequence[tuple[int, int, int]], lengths: Sequence[int]) -> dict[tuple[int, int], list[int]]:
    """For each pair of ids that matters: its rank, `left` and `right`; see `_unstoppable`."""
    parts = {}  # the pairs each token is made of
    for first, second, result in merges:
        parts.setdefault(result, []).append((first, second))
    beginnings, ends = {}, {}  # the shorter tokens each begins and ends with, if it is made of them
    for token in sorted(parts, key=lengths.__getitem__):
        beginnings[token] = {one for first, _ in parts[token] for one in (first, *beginnings.get(first, ()))}
        ends[token] = {one for _, second in parts[token] for one in (second, *ends.get(second, ()))}
    pairs = _only_ranks(merges)
    for rank, (first, second, _) in enumerate(merges):
        for end in ends.get(first, ()):
            entry = pairs.setdefault((end, second), [_NEVER] * 3)
            entry[1] = min(entry[1], rank)
        for beginning in beginnings.get(second, ()):
            entry = pairs.setdefault((first, beginning), [_NEVER] * 3)
            entry[2] = min(entry[2], rank)
    return pairs


def _only_ranks(merges: Sequence[tuple[int, int, int]]) -> dict[tuple[int, int], list[int]]:
    """As `_ranks`, where nothing is known of what stops a pair."""
    return {(first, second): [rank, _NEVER, _NEVER] for rank, (first, second, _) in enumerate(merges)}


def _are_in_order(merges: Sequence[tuple[int, int, int]]) -> bool:
    """Whether each token is used only after the last merge that makes it."""
    first_use = {}
    for rank, (first, second, _) in enumerate(merges):
        first_use.setdefault(first, rank)
        first_use.setdefault(second, rank)
    return all(rank < first_use.get(result, _NEVER) for rank, (*_, result) in enumerate(merges))
