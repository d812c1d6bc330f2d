"""Seeded splits and folds: exact sizes, every row once, every label in proportion."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.checks import InputError
from tfllm.data.splits import count_overlap, fold_tables, overlap_warning, split_table
from tfllm.data.tables import Table


def table_of(labels):
    rows = range(len(labels))
    return Table([f"text {row}" for row in rows], None, list(labels), [f"a.csv:{row + 2}" for row in rows])


LABELS = st.lists(st.sampled_from("abc"), min_size=8, max_size=60)


def test_each_part_has_its_share_of_every_label():
    train, validation = split_table(table_of("n" * 70 + "p" * 30), 0.1, seed=1)
    assert Counter(train.labels) == {"n": 63, "p": 27}
    assert Counter(validation.labels) == {"n": 7, "p": 3}


@settings(derandomize=True, deadline=None)
@given(LABELS, st.floats(0.05, 0.4), st.integers(0, 5))
def test_a_split_holds_every_row_once_in_order_and_keeps_every_label_for_training(labels, fraction, seed):
    table = table_of(labels)
    size = round(len(labels) * fraction)
    if not 0 < size <= len(labels) - len(set(labels)):
        with pytest.raises(InputError):
            split_table(table, fraction, seed)
        return
    train, validation = split_table(table, fraction, seed)
    assert len(validation) == size
    assert sorted(train.places + validation.places) == sorted(table.places)
    assert [place for place in table.places if place in train.places] == train.places
    for label in set(labels):
        share = labels.count(label) * size / len(labels)
        assert validation.labels.count(label) in (int(share), int(share) + 1, labels.count(label) - 1)
    assert set(train.labels) == set(labels)


def test_a_label_with_one_row_is_never_held_out():
    train, validation = split_table(table_of("ab" + "c" * 9), 0.5, seed=0)
    assert Counter(train.labels) == {"a": 1, "b": 1, "c": 3}
    assert Counter(validation.labels) == {"c": 6}


def test_the_seed_decides_the_split():
    table = table_of("ab" * 20)
    assert split_table(table, 0.25, seed=1) == split_table(table, 0.25, seed=1)
    assert split_table(table, 0.25, seed=1) != split_table(table, 0.25, seed=2)


def test_rows_need_no_labels_when_not_stratified():
    table = table_of("ab" * 5)
    table.labels = None
    train, validation = split_table(table, 0.3, seed=0, stratify=False)
    assert (len(train), len(validation)) == (7, 3)
    with pytest.raises(InputError, match="Name the label column, or pass stratify=False"):
        split_table(table, 0.3, seed=0)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, 0.01, 0.99, float("nan")])
def test_a_fraction_that_leaves_a_part_empty_is_an_error(fraction):
    with pytest.raises(InputError, match=r"`fraction` \(--validation-share\) must leave rows for validation"):
        split_table(table_of("ab" * 5), fraction, seed=0)


@settings(derandomize=True, deadline=None)
@given(LABELS, st.integers(2, 8), st.integers(0, 5))
def test_every_row_is_in_one_validation_fold_and_labels_are_spread_evenly(labels, folds, seed):
    table = table_of(labels)
    parts = list(fold_tables(table, folds, seed))
    assert sorted(place for _, validation in parts for place in validation.places) == sorted(table.places)
    for train, validation in parts:
        assert sorted(train.places + validation.places) == sorted(table.places)
    sizes = [len(validation) for _, validation in parts]
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [validation.labels.count(label) for _, validation in parts]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("folds", [1, 11])
def test_a_number_of_folds_that_cannot_be_is_an_error(folds):
    with pytest.raises(InputError, match="`folds` must"):
        fold_tables(table_of("ab" * 5), folds, seed=0)


def test_overlap_counts_texts_equal_up_to_case_width_and_white_space(caplog):
    train = Table(["Good  stuff", "ＡＢＣ", "other"], None, None, ["", "", ""])
    validation = Table(["good stuff", "abc\n", "new"], None, None, ["", "", ""])
    assert count_overlap(train, validation) == 2
    assert overlap_warning(train, validation) == 2
    assert "2 of the 3 validation texts also stand in the training part" in caplog.text
    caplog.clear()
    assert overlap_warning(train, validation.select([2])) == 0
    assert not caplog.text


def test_pairs_overlap_only_when_both_texts_do():
    train = Table(["a", "b"], ["x", "y"], None, ["", ""])
    assert count_overlap(train, Table(["a", "b"], ["x", "x"], None, ["", ""])) == 1
