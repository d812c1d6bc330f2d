"""Rows with prefixes: by the tokens, any batch first, another parting in every batch."""

import numpy as np

from tfllm.data import causal_lm_dataset, prefix_lm_dataset
from tfllm.data.samples import sample_path

READING = {"sequence_length": 32, "batch_size": 4, "held_out": 0.0}


def batches(tokenizer, **arguments):
    return prefix_lm_dataset(sample_path("text_en.txt"), tokenizer, **READING, **arguments).as_numpy_iterator()


def test_every_text_has_a_prefix_and_only_the_rest_is_predicted(tiny_tokenizer):
    lengths = set()
    for inputs, next_ids, weights in batches(tiny_tokenizer, repeat=False):
        columns = (inputs["token_ids"], inputs["padding_mask"], inputs["prefix_mask"], next_ids, weights)
        for ids, mask, prefix, following, counts in zip(*columns, strict=True):
            assert not prefix[mask == 0].any()
            for number in range(1, mask.max() + 1):
                here = mask == number
                seen = int(prefix[here].sum())
                lengths.add(seen)
                assert 1 <= seen < max(here.sum(), 2) and prefix[here][:seen].all()
                assert counts[here].tolist() == [0] * (seen - 1) + [1] * (here.sum() - seen) + [0]
                assert following[here][:-1].tolist() == ids[here][1:].tolist()
    assert len(lengths) > 8


def test_rows_are_those_of_causal_language_modelling(tiny_tokenizer):
    other = causal_lm_dataset(sample_path("text_en.txt"), tiny_tokenizer, **READING).as_numpy_iterator()
    np.testing.assert_array_equal(next(batches(tiny_tokenizer))[0]["token_ids"], next(other)[0]["token_ids"])


def test_any_batch_can_be_the_first(tiny_tokenizer):
    whole = [next(iterator) for iterator in [batches(tiny_tokenizer)] for _ in range(9)]
    for one, other in zip(whole[7:], batches(tiny_tokenizer, start_batch=7), strict=False):
        for name in one[0]:
            np.testing.assert_array_equal(one[0][name], other[0][name])
