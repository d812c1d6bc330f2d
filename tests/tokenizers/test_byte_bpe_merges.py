"""Merging many pairs in one step gives what merging one after another gives, whatever the merges and the words."""

import random
from itertools import pairwise

import pytest
import tensorflow as tf

from tests.marks import slow
from tfllm.tokenizers.byte_bpe_merges import Merges


def merged_by_definition(word, merges):
    ranks = {(first, second): rank for rank, (first, second, _) in enumerate(merges)}
    word = list(word)
    while pairs := [(ranks[pair], place) for place, pair in enumerate(pairwise(word)) if pair in ranks]:
        rank, place = min(pairs)
        word[place : place + 2] = [merges[rank][2]]
    return word


def random_merges(generator, letters, count):
    """Merges of tokens that are there by then; a token can be made in several ways."""
    strings = list("abcd"[:letters])
    merges = []
    for _ in range(count):
        first, second = generator.choice(strings), generator.choice(strings)
        if first + second not in strings and len(first + second) < 10:
            strings.append(first + second)
        if first + second in strings and (first, second) not in merges:
            merges.append((first, second))
    ids = {string: number for number, string in enumerate(strings)}
    return [(ids[first], ids[second], ids[first + second]) for first, second in merges], list(map(len, strings))


def random_words(generator, letters):
    words = [[generator.randrange(letters) for _ in range(generator.choice([1, 2, 5, 12, 40]))] for _ in range(60)]
    return words + [word[:3] * 12 for word in words[:20]]


@pytest.mark.parametrize("in_any_order", [True, *slow(False)])
def test_random_words_are_merged_as_the_definition_says(in_any_order):
    generator = random.Random(in_any_order)
    quick = 0
    for _ in range(40):
        letters = generator.choice([1, 2, 3, 4])
        merges, lengths = random_merges(generator, letters, generator.choice([3, 10, 30, 80]))
        if in_any_order:
            generator.shuffle(merges)
        words = random_words(generator, letters)
        merge = Merges(merges, lengths)
        quick += merge._in_order
        found = merge(tf.ragged.constant(words, tf.int32, ragged_rank=1)).to_list()
        assert found == [merged_by_definition(word, merges) for word in words]
    assert quick < 10 if in_any_order else quick > 10  # of 40 sets of merges, how many are merged many pairs in a step


def test_a_neighbour_that_will_take_a_token_is_waited_for():
    # x, a, b and w: (a, b) has no lower neighbour in "wxab", but w takes x, and wx takes a, before its turn.
    w, x, a, b, wx, wxa, ab = range(7)
    merges = [(w, x, wx), (wx, a, wxa), (a, b, ab)]
    merge = Merges(merges, [1, 1, 1, 1, 2, 3, 2])
    assert merge._in_order
    assert merge(tf.ragged.constant([[w, x, a, b], [x, a, b]], tf.int32)).to_list() == [[wxa, b], [x, ab]]


def test_runs_of_one_token_are_merged_from_the_left():
    merge = Merges([(0, 0, 1), (1, 1, 2)], [1, 2, 4])
    words = tf.ragged.constant([[0] * length for length in range(1, 8)], tf.int32)
    assert merge(words).to_list() == [[0], [1], [1, 0], [2], [2, 0], [2, 1], [2, 1, 0]]


def test_no_words_and_no_merges_are_left_alone():
    merge = Merges([(0, 0, 1)], [1, 2])
    assert merge(tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64))).to_list() == []
    words = tf.ragged.constant([[0, 0], [0]], tf.int32)
    assert Merges([], [1])(words).to_list() == [[0, 0], [0]]
