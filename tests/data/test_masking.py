"""Masking: how many, which, what they become, and that seed and batch number decide it all."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.masking import masked_lm_masker, slots
from tfllm.tokenizers import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def tokenizer():
    """Ids 5 to 24 begin a word, 25 to 44 continue one."""
    letters = "abcdefghijklmnopqrst"
    return WordPieceTokenizer([*SPECIAL, *letters, *(f"##{letter}" for letter in letters)])


def make_batch(rows):
    token_ids = np.array(rows, np.int32)
    padding_mask = (token_ids != PAD).astype(np.int32)
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}


def random_rows(rows, length, first=5, last=45):
    token_ids = np.random.default_rng(0).integers(first, last, (rows, length))
    token_ids[:, 0], token_ids[:, -1] = CLS, SEP
    return token_ids


def mask_batch(tokenizer, batch, number=0, **arguments):
    masked = masked_lm_masker(tokenizer, **arguments)(number, {name: tf.constant(batch[name]) for name in batch})
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), masked)


def test_the_result_keeps_the_batch_contract(tokenizer):
    batch = make_batch(random_rows(3, 20))
    inputs, mask_ids, mask_weights = mask_batch(tokenizer, batch, rate=0.15)
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask", "mask_positions"}
    for value, dtype in ((inputs["mask_positions"], "int32"), (mask_ids, "int32"), (mask_weights, "float32")):
        assert (value.shape, value.dtype.name) == ((3, 3), dtype)
    assert (inputs["token_ids"].shape, inputs["token_ids"].dtype.name) == ((3, 20), "int32")
    np.testing.assert_array_equal(inputs["padding_mask"], batch["padding_mask"])


@pytest.mark.parametrize(("length", "rate", "expected"), [(128, 0.15, 20), (20, 0.15, 3), (21, 0.15, 4), (8, 0.01, 1)])
def test_a_row_has_a_slot_for_every_token_that_can_be_masked(length, rate, expected):
    assert slots(length, rate) == expected


def test_the_rounded_share_of_real_tokens_is_masked_and_at_least_one(tokenizer):
    # 18, 10, 4 and 1 real tokens at 0.15: 2.7, 1.5, 0.6 and 0.15 -> 3, 2, 1 and (at least) 1.
    rows = [[CLS, *[6] * count, SEP, *[PAD] * (18 - count)] for count in (18, 10, 4, 1)]
    _, _, weights = mask_batch(tokenizer, make_batch(rows), rate=0.15)
    np.testing.assert_array_equal(weights.sum(1), [3, 2, 1, 1])


def test_targets_are_the_originals_at_sorted_places_and_nothing_else_changes(tokenizer):
    batch = make_batch(random_rows(50, 40))
    inputs, mask_ids, weights = mask_batch(tokenizer, batch, rate=0.3)
    for row in range(50):
        used = int(weights[row].sum())
        positions = inputs["mask_positions"][row]
        np.testing.assert_array_equal(weights[row], [1.0] * used + [0.0] * (len(weights[row]) - used))
        assert (np.diff(positions[:used]) > 0).all()
        np.testing.assert_array_equal(mask_ids[row, :used], batch["token_ids"][row, positions[:used]])
        assert not positions[used:].any() and not mask_ids[row, used:].any()
        others = np.setdiff1d(np.arange(40), positions[:used])
        np.testing.assert_array_equal(inputs["token_ids"][row, others], batch["token_ids"][row, others])


def test_special_tokens_and_padding_are_never_masked(tokenizer):
    row = [CLS, 5, UNK, 6, SEP, MASK, 7, SEP, PAD, PAD]
    for number in range(50):
        inputs, mask_ids, weights = mask_batch(tokenizer, make_batch([row]), number, rate=0.9)
        assert inputs["mask_positions"][0, :3].tolist() == [1, 3, 6]
        assert weights.sum() == 3
        assert mask_ids[0, :3].tolist() == [5, 6, 7]


def test_a_row_without_a_real_token_has_no_masks(tokenizer):
    row = [CLS, SEP, *[PAD] * 6]
    inputs, mask_ids, weights = mask_batch(tokenizer, make_batch([row, [PAD] * 8]))
    assert inputs["token_ids"].tolist() == [row, [PAD] * 8]
    assert not weights.any() and not mask_ids.any() and not inputs["mask_positions"].any()


def test_of_the_chosen_eight_tenths_are_masked_a_tenth_random_and_a_tenth_kept(tokenizer):
    batch = make_batch(random_rows(1000, 102))
    inputs, mask_ids, weights = mask_batch(tokenizer, batch, rate=0.15)
    chosen = weights > 0
    now = np.take_along_axis(inputs["token_ids"], inputs["mask_positions"], 1)[chosen]
    before = mask_ids[chosen]
    assert len(now) == 15_000
    other = (now != before) & (now != MASK)
    # Binomial deviations at n = 15,000: 0.33 % for 0.8, 0.25 % for 0.1; four of them. A random token is the old one
    # once in 40, so 0.0975 change and 0.1025 stay.
    assert (now == MASK).mean() == pytest.approx(0.8, abs=0.014)
    assert other.mean() == pytest.approx(0.0975, abs=0.010)
    assert (now == before).mean() == pytest.approx(0.1025, abs=0.010)
    counts = np.bincount(now[other], minlength=45)
    assert not counts[:5].any()
    assert (counts[5:] > 0).all()


def test_every_real_token_is_equally_likely(tokenizer):
    batch = make_batch([[CLS, *range(5, 15), SEP]] * 4000)
    inputs, _, weights = mask_batch(tokenizer, batch, rate=0.3)
    counts = np.bincount(inputs["mask_positions"][weights > 0], minlength=12)
    assert counts[0] == counts[11] == 0
    assert counts.sum() == 12_000
    np.testing.assert_allclose(counts[1:11] / 4000, 0.3, atol=0.03)  # four deviations of 0.7 %


def test_whole_words_are_masked_with_all_their_tokens_or_not_at_all(tokenizer):
    batch = make_batch(random_rows(200, 40))
    words = np.cumsum(batch["token_ids"] < 25, axis=1)  # ids from 25 on continue a word
    inputs, _, weights = mask_batch(tokenizer, batch, rate=0.3, whole_word=True)
    for row in range(200):
        chosen = set(inputs["mask_positions"][row][weights[row] > 0].tolist())
        for word in set(words[row, sorted(chosen)].tolist()):
            tokens = np.flatnonzero((words[row] == word) & (batch["token_ids"][row] > MASK))
            assert set(tokens.tolist()) <= chosen
    assert weights.any(1).mean() > 0.9


def test_whole_words_never_exceed_the_share_and_come_near_it(tokenizer):
    batch = make_batch(random_rows(500, 128))
    _, _, weights = mask_batch(tokenizer, batch, rate=0.15, whole_word=True)
    share = weights.sum(1) / 126
    assert share.max() <= 19 / 126
    assert share.mean() > 0.13


def test_a_word_longer_than_the_share_is_left_for_one_that_fits(tokenizer):
    # 10 tokens at 0.1: one may be masked. The long word never fits, each short one does.
    row = [CLS, 5, *[25] * 6, 6, 7, 8, SEP]
    chosen = set()
    for number in range(60):
        inputs, _, weights = mask_batch(tokenizer, make_batch([row]), number, rate=0.1, whole_word=True)
        assert weights.sum() == 1
        chosen.add(int(inputs["mask_positions"][0, 0]))
    assert chosen == {8, 9, 10}


def test_seed_and_batch_number_alone_decide(tokenizer):
    batch = make_batch(random_rows(8, 40))

    def masked(number, seed):
        return mask_batch(tokenizer, batch, number, seed=seed)[0]["token_ids"]

    np.testing.assert_array_equal(masked(3, seed=5), masked(3, seed=5))
    assert (masked(3, seed=5) != masked(4, seed=5)).any()
    assert (masked(3, seed=5) != masked(3, seed=6)).any()


def test_in_a_dataset_it_gives_what_it_gives_in_python_with_static_shapes(tokenizer):
    batch = make_batch(random_rows(6, 20))
    dataset = tf.data.Dataset.from_tensor_slices(batch).batch(3).enumerate().map(masked_lm_masker(tokenizer, seed=1))
    inputs, mask_ids, mask_weights = dataset.element_spec
    assert {name: spec.shape.as_list()[1:] for name, spec in inputs.items()} == {
        "token_ids": [20],
        "segment_ids": [20],
        "padding_mask": [20],
        "mask_positions": [3],
    }
    assert mask_ids.shape.as_list()[1:] == mask_weights.shape.as_list()[1:] == [3]
    second = {name: value[3:] for name, value in batch.items()}
    tf.nest.map_structure(
        np.testing.assert_array_equal,
        list(dataset.as_numpy_iterator())[1],
        mask_batch(tokenizer, second, 1, seed=1),
    )


@pytest.mark.parametrize("whole_word", [False, True])
def test_nearly_every_token_can_be_masked(tokenizer, whole_word):
    batch = make_batch([[CLS, 5, 6, 7, 8, 9, 10, SEP]])
    _, mask_ids, weights = mask_batch(tokenizer, batch, rate=0.999, whole_word=whole_word)
    assert mask_ids[0, :6].tolist() == [5, 6, 7, 8, 9, 10]
    assert weights.sum() == 6


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(tokenizer, rate):
    with pytest.raises(InputError, match="mask rate"):
        masked_lm_masker(tokenizer, rate=rate)
