"""Packed batches of labelled texts: every text once a pass, rows nearly full, the same shape always, from any batch."""

import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data import (
    Encoded,
    GroupedBatches,
    PackedBatches,
    TextTargets,
    TokenTargets,
    classification_batches,
)

TEXTS = [" ".join(["a"] * (1 + number % 20)) + f" {number}" for number in range(200)]
LABELS = ["yes" if number % 3 else "no" for number in range(200)]


def make(tokenizer, texts=TEXTS, labels=LABELS, **arguments):
    arguments = {"label_names": ["no", "yes"], "sequence_length": 64, "batch_size": 16, **arguments}
    return classification_batches(texts, labels, tokenizer, **arguments)


def first(batches, count, start=0):
    return list(batches(start).take(count).as_numpy_iterator())


def texts_of(elements):
    """(ids, label id, weight) of every text in the batches, in order."""
    found = []
    for inputs, label_ids, weights in elements:
        for row, (ids, mask) in enumerate(zip(inputs["token_ids"], inputs["padding_mask"], strict=True)):
            for number in range(1, mask.max() + 1):
                text = tuple(ids[mask == number].tolist())
                found.append((text, int(label_ids[row, number - 1]), float(weights[row, number - 1])))
    return found


def test_a_tiny_data_set_gives_exactly_this_row(tiny_tokenizer):
    batches = make(tiny_tokenizer, ["the", "the the"], ["yes", "no"], batch_size=2)
    inputs, label_ids, weights = first(batches, 1)[0]
    the, cls, sep = tiny_tokenizer.vocabulary.index("the"), tiny_tokenizer.cls_id, tiny_tokenizer.sep_id
    assert inputs["token_ids"][0].tolist() == [cls, the, the, sep, cls, the, sep] + [tiny_tokenizer.pad_id] * 57
    assert inputs["padding_mask"][0].tolist() == [1, 1, 1, 1, 2, 2, 2] + [0] * 57
    assert not inputs["segment_ids"].any()
    assert label_ids.tolist() == [[0, 1] + [0] * 6]
    assert weights.tolist() == [[1, 1] + [0] * 6]
    assert {value.dtype.name for value in [*inputs.values(), label_ids]} == {"int32"}


def test_a_pass_holds_every_text_once_with_its_label(tiny_tokenizer):
    batches = make(tiny_tokenizer)
    ids = tiny_tokenizer.wrap(tiny_tokenizer.tokenize(TEXTS), 64).to_list()
    every = Counter((tuple(text), int(label == "yes"), 1.0) for text, label in zip(ids, LABELS, strict=True))
    whole = -(-len(batches._pass(0)) // batches.rows)
    found = texts_of(first(batches, 2 * whole))
    assert Counter(found[: len(TEXTS)]) == every
    assert found[: len(TEXTS)] != found[len(TEXTS) : 2 * len(TEXTS)]
    assert batches.epoch_steps in (whole - 1, whole)


def test_rows_are_nearly_full_and_batches_of_one_shape_hold_the_texts_asked_for(tiny_tokenizer):
    batches = make(tiny_tokenizer)
    elements = first(batches, batches.epoch_steps)
    assert {inputs["token_ids"].shape for inputs, _, _ in elements} == {(batches.rows, 64)}
    filled = np.mean([(inputs["padding_mask"] > 0).mean() for inputs, _, _ in elements])
    assert filled > 0.9
    assert np.mean([weights.sum() for _, _, weights in elements]) == pytest.approx(16, rel=0.2)


@pytest.mark.parametrize("packed", [True, False])
def test_from_any_batch_on_they_are_those_of_the_beginning(tiny_tokenizer, packed):
    def batches():
        return make(tiny_tokenizer, packed=packed, seed=3)

    steps = batches().epoch_steps
    whole = first(batches(), 2 * steps + 2)
    for start in (1, steps - 1, steps, 2 * steps + 1):
        for a, b in itertools.islice(zip(whole[start:], first(batches(), 2, start), strict=False), 2):
            for name in a[0]:
                np.testing.assert_array_equal(a[0][name], b[0][name])
            np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("packed", [True, False])
def test_class_weights_stand_with_every_example(tiny_tokenizer, packed):
    batches = make(tiny_tokenizer, packed=packed, class_weights=[3.0, 0.5])
    for _, label_ids, weights in first(batches, batches.epoch_steps):
        used = weights > 0
        np.testing.assert_array_equal(weights[used], np.where(label_ids == 0, 3.0, 0.5)[used])


@pytest.mark.parametrize("kind", [PackedBatches, GroupedBatches])
def test_targets_of_tokens_stand_at_their_tokens(kind):
    token_ids = tf.ragged.constant([[2, 10, 11, 3], [2, 12, 3]], tf.int32)
    weights = tf.ragged.constant([[0.0, 1, 1, 0], [0, 1, 0]], tf.float32)
    targets = TokenTargets(token_ids * 10, weights)
    batches = kind(Encoded(token_ids, token_ids * 0 + 1), targets, pad_id=0, sequence_length=8, batch_size=2)
    for inputs, values, found in first(batches, 2):
        real = inputs["padding_mask"] > 0
        np.testing.assert_array_equal(values, inputs["token_ids"] * 10)
        np.testing.assert_array_equal(found, inputs["token_ids"] >= 10)
        np.testing.assert_array_equal(inputs["segment_ids"], real)
        assert values.dtype == np.int32 and found.dtype == np.float32


def test_targets_of_several_numbers_keep_their_axis():
    token_ids = tf.ragged.constant([[2, 10, 3], [2, 12, 3]], tf.int32)
    targets = TextTargets(np.array([[0, 1, 1], [1, 0, 1]], np.float32), np.ones(2, np.float32))
    for kind, shape in ((PackedBatches, (2, 1, 3)), (GroupedBatches, (2, 3))):
        batches = kind(Encoded(token_ids, token_ids * 0), targets, pad_id=0, sequence_length=8, batch_size=2)
        values = first(batches, 1)[0][1]
        assert values.shape == shape
        assert values.dtype == np.float32


def test_long_texts_are_cut_and_very_short_ones_fill_no_more_places_than_a_row_has(tiny_tokenizer):
    long = make(tiny_tokenizer, ["the " * 100] * 10, ["yes"] * 10, sequence_length=16)
    assert first(long, 1)[0][0]["padding_mask"].max() == 1
    assert first(make(tiny_tokenizer, TEXTS, LABELS, sequence_length=3), 1)[0][1].shape[1] == 1
    short = make(tiny_tokenizer, ["the"] * 40, ["yes"] * 40)
    assert short.texts_per_row == 8
    assert {inputs["padding_mask"].max() for inputs, _, _ in first(short, 2)} == {8}


def test_bad_arguments_are_input_errors(tiny_tokenizer):
    for arguments, message in [({"batch_size": 0}, "batch_size"), ({"sequence_length": 2}, "sequence_length")]:
        with pytest.raises(InputError, match=message):
            make(tiny_tokenizer, **arguments)
    with pytest.raises(InputError, match="did you mean 'yes'"):
        make(tiny_tokenizer, ["the"], ["yess"])


def test_epochs_that_are_parts_of_a_pass_see_every_text_together(tiny_tokenizer):
    def found(count, start=0):
        elements = first(batches, count, start)
        return texts_of((inputs, labels[:, None], weights[:, None]) for inputs, labels, weights in elements)

    batches = make(tiny_tokenizer, packed=False)
    every = Counter(found(batches.epoch_steps))
    steps = batches.epoch_steps = -(-batches.epoch_steps // 4)
    seen = [text for epoch in range(4) for text in found(steps, epoch * steps)]
    assert Counter(seen[: len(TEXTS)]) == every and every.total() == len(TEXTS)
    assert len(seen) - len(TEXTS) < 4 * 16  # what fills the last epoch begins the next pass
