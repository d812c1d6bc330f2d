"""Which tokens may come, and which one is taken: by hand, and by counting."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.generation.choose import Sampling, allowed, choose, draw_uniform, history_of
from tfllm.writing import Rules

NOTHING = tf.constant([False] * 4)


def sampling(rows=1, temperature=1.0, top_k=0, top_p=1.0):
    columns = (tf.fill([rows], value) for value in (1, temperature, top_k, top_p))
    return Sampling(*columns, tf.zeros(rows, tf.int32))


def shares(probabilities, min_p=0.0, **settings):
    """How often each token is drawn, over evenly spread numbers."""
    rows = 1000
    logits = tf.tile(tf.math.log(tf.constant([probabilities])), [rows, 1])
    uniform = tf.constant((np.arange(rows) / rows).astype("float32"))
    drawn = choose(logits, sampling(rows, **settings), min_p, uniform).numpy()
    return np.bincount(drawn, minlength=len(probabilities)) / rows


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.1, 0.3, 0.1]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, [25 / 36, 1 / 36, 9 / 36, 1 / 36]),
        ({"top_k": 2}, [5 / 8, 0, 3 / 8, 0]),
        ({"top_k": 99}, [0.5, 0.1, 0.3, 0.1]),
        ({"top_p": 0.45}, [1, 0, 0, 0]),
        ({"top_p": 0.6}, [5 / 8, 0, 3 / 8, 0]),
        ({"top_p": 0.0}, [1, 0, 0, 0]),
        ({"min_p": 0.5}, [5 / 8, 0, 3 / 8, 0]),
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"temperature": float("nan")}, [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_the_settings_say(settings, expected):
    np.testing.assert_allclose(shares([0.5, 0.1, 0.3, 0.1], **settings), expected, atol=0.003)


def test_of_top_k_top_p_takes_its_share():
    # Of the two most probable tokens the first has 5/8.
    np.testing.assert_allclose(shares([0.5, 0.1, 0.3, 0.1], top_k=2, top_p=0.6), [1, 0, 0, 0])


def test_every_row_has_its_own_settings():
    settings = Sampling(
        tf.fill([3], 1), tf.constant([1.0, 0.0, 1.0]), tf.constant([0, 0, 1]), tf.ones(3), tf.zeros(3, tf.int32)
    )
    logits = tf.math.log(tf.constant([[0.4, 0.6]] * 3))
    assert choose(logits, settings, 0.0, tf.constant([0.2, 0.2, 0.2])).numpy().tolist() == [0, 1, 1]


def test_a_token_of_probability_0_is_never_drawn():
    logits = tf.constant([[-1e30, 0.0, -1e30]] * 2)
    assert choose(logits, sampling(2), 0.0, tf.constant([0.0, 1 - 2**-23])).numpy().tolist() == [1, 1]


@pytest.mark.parametrize("temperature", [1e30, float("inf")])
def test_what_is_barred_is_never_drawn_however_hot(temperature):
    logits = tf.constant([[0.0, -1e30, 0.0]] * 9)
    uniform = tf.constant((np.arange(9) / 9).astype("float32"))
    assert set(choose(logits, sampling(9, temperature), 0.0, uniform).numpy()) == {0, 2}


def test_a_penalty_divides_what_is_above_0_and_multiplies_what_is_below():
    logits, history = tf.constant([[2.0, -2.0, 1.0, -1.0]]), tf.constant([[0, 1, 3]])
    found = allowed(logits, history, tf.constant([2]), NOTHING, Rules(repetition_penalty=2.0))
    assert found.numpy().tolist() == [[1.0, -4.0, 1.0, -1.0]]


@pytest.mark.parametrize(
    ("ngram", "history", "length", "barred"),
    [
        (1, [0, 2, 3, 3], 2, [0, 2]),
        (2, [1, 2, 0, 1], 4, [2]),
        (2, [1, 2, 1, 3, 1], 5, [2, 3]),
        (2, [1, 2, 1, 3, 1], 4, []),
        (3, [1, 2, 3, 1, 2], 5, [3]),
        (3, [1, 2, 3, 1, 2], 2, []),
        (4, [1, 2, 3], 3, []),
    ],
)
def test_what_would_repeat_a_sequence_is_barred(ngram, history, length, barred):
    rules = Rules(no_repeat_ngram=ngram)
    found = allowed(tf.zeros((1, 4)), tf.constant([history]), tf.constant([length]), NOTHING, rules)
    assert np.flatnonzero(found[0] < -1).tolist() == barred


def test_barred_tokens_are_barred():
    empty, barred = tf.zeros((1, 0), tf.int32), tf.constant([True, False, False, True])
    found = allowed(tf.zeros((1, 4)), empty, tf.constant([0]), barred, Rules())
    assert np.flatnonzero(found[0] < -1).tolist() == [0, 3]


def test_numbers_of_a_row_follow_from_its_seed_alone_and_do_not_change_with_their_count():
    few, many = draw_uniform(tf.constant([7, 3, 7]), tf.constant(5)), draw_uniform(tf.constant([3]), tf.constant(2001))
    np.testing.assert_array_equal(few[1], many[0, :5])
    np.testing.assert_array_equal(few[0], few[2])
    assert np.abs(few[0] - few[1]).max() > 0.01
    assert 0.47 < many.numpy().mean() < 0.53 and many.numpy().min() >= 0 and many.numpy().max() < 1
    assert draw_uniform(tf.zeros(0, tf.int32), tf.constant(5)).shape == (0, 5)


def test_the_history_has_new_tokens_right_behind_the_prompt():
    prompts, new = tf.constant([[1, 2, 0], [3, 4, 5]]), tf.constant([[7, 8], [9, 0]])
    found = history_of(prompts, tf.constant([2, 3]), new).numpy()
    assert found[0, :4].tolist() == [1, 2, 7, 8]
    assert found[1, :5].tolist() == [3, 4, 5, 9, 0]
