"""Seeded train and validation parts of a table, k folds, and texts that stand in both parts."""

import logging
import random
import unicodedata
from collections.abc import Iterator

from tfllm.checks import InputError, check_at_least
from tfllm.data.tables import Table

log = logging.getLogger("tfllm")


def split_table(table: Table, fraction: float, seed: int, stratify: bool = True) -> tuple[Table, Table]:
    """Split into a train and a validation part, each in the table's order.

    Args:
        table: the rows.
        fraction: share of the rows, rounded, that go to validation; between 0 and 1, both excluded.
        seed: the same seed gives the same parts.
        stratify: give every label its share of validation (to within one row) and keep at least one row of every
            label for training. Needs labels; False suits regression.

    Raises:
        InputError: a part would be empty.

    Example: 10 rows, 5 per label, fraction 0.2 -> 8 and 2 rows, one of each label in validation.
    """
    size = round(len(table) * fraction) if 0 < fraction < 1 else 0
    order = _stratified_order(table, seed, keep_first=True) if stratify else _shuffled(range(len(table)), seed)
    if not 0 < size <= len(order) or size == len(table):
        raise InputError(
            f"`fraction` must leave rows for training and for validation. Received: {fraction} of {len(table)} rows"
            + (f", of which {len(order)} can be held out without losing a label." if stratify else ".")
        )
    held_out = {order[position * len(order) // size] for position in range(size)}
    return (
        table.select([index for index in range(len(table)) if index not in held_out]),
        table.select(sorted(held_out)),
    )


def fold_tables(table: Table, folds: int, seed: int, stratify: bool = True) -> Iterator[tuple[Table, Table]]:
    """Train and validation parts for k-fold cross-validation: every row is in exactly one validation part.

    Args:
        table: the rows.
        folds: how many; the parts differ by one row at most.
        seed: the same seed gives the same folds.
        stratify: spread every label evenly over the folds.

    Raises:
        InputError: fewer than two folds, or fewer rows than folds.
    """
    check_at_least("folds", folds, 2)
    if len(table) < folds:
        raise InputError(f"`folds` must not exceed the number of rows. Received: {folds} folds, {len(table)} rows.")
    order = _stratified_order(table, seed) if stratify else _shuffled(range(len(table)), seed)
    return (
        (table.select(sorted(set(order) - set(order[fold::folds]))), table.select(sorted(order[fold::folds])))
        for fold in range(folds)
    )


def overlap_warning(train: Table, validation: Table) -> int:
    """`count_overlap`, with a warning in the log when it is not zero."""
    overlap = count_overlap(train, validation)
    if overlap:
        log.warning(
            "%d of the %d validation texts also stand in the training part: scores on them are too good.",
            overlap,
            len(validation),
        )
    return overlap


def count_overlap(train: Table, validation: Table) -> int:
    """How many rows of `validation` repeat a text (or pair) of `train`, up to case, width and white space."""
    seen = set(normalized_texts(train))
    return sum(text in seen for text in normalized_texts(validation))


def normalized_texts(table: Table) -> Iterator[str]:
    """Each row's text (and pair) in NFKC, without case, white space runs made one space: equal = the same text."""
    for index, text in enumerate(table.texts):
        whole = text if table.pairs is None else f"{text}\0{table.pairs[index]}"
        yield " ".join(unicodedata.normalize("NFKC", whole).casefold().split())


def _shuffled(indices, seed: int) -> list[int]:
    order = list(indices)
    random.Random(seed).shuffle(order)
    return order


def _stratified_order(table: Table, seed: int, keep_first: bool = False) -> list[int]:
    """Shuffled row numbers, label after label, so that every k-th has all labels in proportion.

    With `keep_first` the first of each label is left out: it stays in the training part.
    """
    if table.labels is None:
        raise InputError("A split by label needs labels. Name the label column, or pass stratify=False.")
    by_label = {}
    for index in _shuffled(range(len(table)), seed):
        by_label.setdefault(table.labels[index], []).append(index)
    return [index for label in sorted(by_label) for index in by_label[label][keep_first:]]
