"""Bigrams: a token's bucket follows from it and the token before it in the same text, and from nothing else."""

import numpy as np

from tests.models.outputs import outputs_of
from tfllm.models.bigrams import BigramBuckets

MASK = np.array([[1, 1, 1, 2, 2, 0]], np.int32)


def buckets_of(ids, mask, buckets=1_000_003):
    return np.asarray(BigramBuckets(buckets)(np.array([ids], np.int32), mask))[0].tolist()


def test_equal_bigrams_have_one_bucket_and_the_first_token_of_a_text_has_none_before_it():
    first, second, third, fourth, fifth, _ = buckets_of([7, 8, 9, 7, 8, 0], MASK)
    assert (fourth, fifth) == (first, second)
    assert len({first, second, third}) == 3
    assert buckets_of([9, 8, 9, 7, 8, 0], MASK)[1] != second


def test_buckets_lie_below_their_number_and_the_largest_vocabularies_have_them_too():
    ids = [*np.random.default_rng(0).integers(0, 2**31 - 1, 1_000).tolist(), 2**31 - 1]
    found = buckets_of(ids, np.ones((1, 1_001), np.int32), buckets=97)
    assert min(found) >= 0 and max(found) < 97


def test_bigrams_of_a_vocabulary_spread_over_all_buckets():
    ids = np.random.default_rng(0).integers(0, 8_000, 200_000)
    found = buckets_of(ids.tolist(), np.ones((1, 200_000), np.int32), buckets=50_000)
    counts = np.bincount(found, minlength=50_000)
    assert (counts == 0).mean() < 0.03  # of 200,000 in 50,000 by chance: e^-4, 0.018


def test_the_order_of_two_tokens_tells_in_an_encoder(make_encoder, make_batch):
    encoder = make_encoder(bigram_buckets=64, num_segments=0)
    encoder.get_layer("position_embedding").set_weights([np.zeros((16, 32), np.float32)])
    batch = make_batch(lengths=(4,), width=4)
    one, other = ({**batch, "token_ids": np.array([ids], np.int32)} for ids in ([2, 5, 6, 7], [2, 6, 5, 7]))
    first, second = (outputs_of(encoder, inputs)["pooled_output"] for inputs in (one, other))
    assert np.abs(first - second).max() > 1e-4
