"""Windows of long texts: every token is in one, and belongs to that where it has most context."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.tokenizers.windows import cut_windows


def test_a_worked_example():
    windows = cut_windows(tf.constant([7, 0, 2], tf.int64), 4)
    assert windows.tokens.to_list() == [[0, 1, 2, 3], [3, 4, 5, 6], [7, 8]]
    assert windows.owner.numpy().tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert windows.place.numpy().tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize("size", [1, 2, 5, 8, 30])
def test_each_token_belongs_to_the_window_where_it_has_most_context(size):
    lengths = np.arange(4 * size + 3)
    windows = cut_windows(tf.constant(lengths, tf.int64), size)
    tokens, owner, place = windows.tokens.to_list(), windows.owner.numpy(), windows.place.numpy()
    assert all(0 < len(window) <= size for window in tokens)
    assert [tokens[window][at] for window, at in zip(owner, place, strict=True)] == list(range(lengths.sum()))
    context = {}  # token -> {window: the smaller of the neighbours on both sides}
    for number, window in enumerate(tokens):
        for at, token in enumerate(window):
            context.setdefault(token, {})[number] = min(at, len(window) - 1 - at)
    texts = np.repeat(np.arange(len(lengths)), lengths)
    ends = np.cumsum(lengths)
    for token, found in context.items():
        begin, end = ends[texts[token]] - lengths[texts[token]], ends[texts[token]]
        complete = [number for number in found if tokens[number][0] == begin or tokens[number][-1] == end - 1]
        if not complete:  # at a text's end nothing is missing: the window there may have fewer neighbours
            assert found[owner[token]] >= max(found.values()) - 1


def test_texts_that_fit_have_one_window_and_no_text_has_none():
    assert cut_windows(tf.constant([3, 4], tf.int64), 4).tokens.to_list() == [[0, 1, 2], [3, 4, 5, 6]]
    empty = cut_windows(tf.constant([], tf.int64), 4)
    assert empty.tokens.shape[0] == 0 and empty.owner.shape == (0,)
