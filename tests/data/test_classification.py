"""Labelled batches: every example once, in order or well mixed, padded to the batch's longest, cuts said."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data import classification_dataset, text_dataset

TEXTS = [" ".join(["a"] * (1 + number % 20)) + f" {number}" for number in range(50)]
LABELS = ["yes" if number % 3 else "no" for number in range(50)]


def make(tokenizer, texts=TEXTS, labels=LABELS, **arguments):
    return classification_dataset(texts, labels, tokenizer, label_names=["no", "yes"], **arguments)


def rows(dataset):
    """(ids without padding, label) of every example, in order."""
    return [
        (tuple(ids[mask > 0].tolist()), int(label))
        for inputs, label_ids in dataset.as_numpy_iterator()
        for ids, mask, label in zip(inputs["token_ids"], inputs["padding_mask"], label_ids, strict=True)
    ]


def test_a_tiny_data_set_gives_exactly_these_batches(tiny_tokenizer):
    texts = ["the", "the the"]
    dataset = make(tiny_tokenizer, texts, ["yes", "no"], shuffle=False)
    [(inputs, label_ids)] = list(dataset.as_numpy_iterator())
    the = tiny_tokenizer.vocabulary.index("the")
    cls, sep = tiny_tokenizer.cls_id, tiny_tokenizer.sep_id
    np.testing.assert_array_equal(
        inputs["token_ids"], [[cls, the, sep, 0, 0, 0, 0, 0], [cls, the, the, sep, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(inputs["padding_mask"], [[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(inputs["segment_ids"], np.zeros((2, 8)))
    np.testing.assert_array_equal(label_ids, [1, 0])
    assert {value.dtype.name for value in [*inputs.values(), label_ids]} == {"int32"}


def test_without_shuffling_the_order_is_kept(tiny_tokenizer):
    dataset = make(tiny_tokenizer, shuffle=False, batch_size=8)
    ids = tiny_tokenizer.tokenize(TEXTS).to_list()
    expected = [(tiny_tokenizer.cls_id, *text, tiny_tokenizer.sep_id) for text in ids]
    assert rows(dataset) == list(zip(expected, [int(label == "yes") for label in LABELS], strict=True))


def test_shuffled_every_example_comes_once_an_epoch_in_a_new_order(tiny_tokenizer):
    dataset = make(tiny_tokenizer, batch_size=8)
    first, second = rows(dataset), rows(dataset)
    in_order = rows(make(tiny_tokenizer, shuffle=False))
    assert sorted(first) == sorted(second) == sorted(in_order)
    assert first != second != in_order != first


def test_the_seed_decides_the_orders_of_all_epochs(tiny_tokenizer):
    one, same, other = (make(tiny_tokenizer, seed=seed) for seed in (1, 1, 2))
    assert [rows(one), rows(one)] == [rows(same), rows(same)]
    assert rows(make(tiny_tokenizer, seed=1)) != rows(other)


def test_the_number_of_batches_is_known(tiny_tokenizer):
    dataset = make(tiny_tokenizer, batch_size=8)
    assert int(dataset.cardinality()) == 7 == len(list(dataset))


def test_each_batch_is_as_wide_as_its_longest_text_rounded_up_to_eight(tiny_tokenizer):
    for inputs, _ in make(tiny_tokenizer, batch_size=8).as_numpy_iterator():
        longest = inputs["padding_mask"].sum(1).max()
        assert inputs["token_ids"].shape[1] == -(-longest // 8) * 8


def test_shuffled_texts_of_similar_length_stand_together(tiny_tokenizer):
    def padding(**arguments):
        masks = [inputs["padding_mask"] for inputs, _ in make(tiny_tokenizer, batch_size=8, **arguments)]
        return sum(int(tf.size(mask) - tf.reduce_sum(mask)) for mask in masks)

    assert padding(shuffle=True) < 0.7 * padding(shuffle=False)


def test_cut_texts_are_counted_in_the_log_and_end_with_sep(tiny_tokenizer, caplog):
    dataset = make(tiny_tokenizer, ["the", "the " * 30], ["yes", "no"], shuffle=False, sequence_length=10)
    assert caplog.messages == ["1 of 2 texts (50.0 %) are longer than 10 tokens and were cut."]
    [(inputs, _)] = list(dataset.as_numpy_iterator())
    assert inputs["token_ids"].shape == (2, 10)  # not rounded beyond the sequence length
    assert inputs["token_ids"][1, -1] == tiny_tokenizer.sep_id


def test_texts_that_fit_exactly_are_not_called_cut(tiny_tokenizer, caplog):
    make(tiny_tokenizer, ["the the", "the"], ["yes", "no"], sequence_length=4)
    assert caplog.messages == []


@pytest.mark.parametrize("shuffle", [False, True])
def test_no_texts_give_no_batches(tiny_tokenizer, shuffle):
    dataset = make(tiny_tokenizer, [], [], shuffle=shuffle)
    assert int(dataset.cardinality()) == 0
    assert list(dataset) == []


def test_an_empty_text_is_a_row_of_cls_and_sep(tiny_tokenizer):
    dataset = text_dataset([""], tiny_tokenizer)
    [inputs] = list(dataset.as_numpy_iterator())
    assert inputs["padding_mask"].tolist() == [[1, 1, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["yess", *LABELS[1:]]}, r"label 'yess' is not one of the labels \(did you mean 'yes'\?\)"),
        ({"labels": LABELS[1:]}, "50 texts and 49 labels"),
        ({"texts": "a cup"}, "`texts`: give a list of strings, one for each row"),
        ({"pairs": "a cup"}, "`pairs`: give a list of strings, one for each row"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"sequence_length": 2}, "`sequence_length` must be at least 3"),
    ],
)
def test_bad_arguments_are_input_errors(tiny_tokenizer, arguments, message):
    with pytest.raises(InputError, match=message):
        make(tiny_tokenizer, **arguments)


def test_static_shapes_pad_every_batch_alike_and_leave_out_the_smaller_one(tiny_tokenizer):
    texts, labels = ["a cup", "a warm cup of tea", "rain"], ["x", "y", "x"]
    dataset = classification_dataset(
        texts, labels, tiny_tokenizer, label_names=["x", "y"], sequence_length=24, batch_size=2, static_shapes=True
    )
    assert int(dataset.cardinality()) == 1
    ((inputs, label_ids),) = list(dataset)
    assert {tuple(part.shape) for part in inputs.values()} == {(2, 24)} and label_ids.shape == (2,)
    assert dataset.element_spec[0]["token_ids"].shape == (2, 24)
