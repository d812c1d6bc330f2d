"""Seeded train and validation parts of a table, k folds, and texts that stand in both parts."""

import itertools
import logging
import random
import unicodedata
import zlib
from collections.abc import Iterator

from tfllm.checks import InputError, check_at_least
from tfllm.data.tables import Table

log = logging.getLogger("tfllm")

PARTS = ("all", "train", "held-out")  # of a corpus


def split_table(table: Table, fraction: float, seed: int, stratify: bool = True) -> tuple[Table, Table]:
    """Split into a train and a validation part, each in the table's order.

    Args:
        table: the rows.
        fraction: share of the rows, rounded, that go to validation; between 0 and 1, both excluded.
        seed: the same seed gives the same parts.
        stratify: give every label its share of validation, and keep at least one row of every label for training.
            Needs labels; False suits regression.

    Raises:
        InputError: a part would be empty, or training would lose a label.

    Example: 10 rows, 5 per label, fraction 0.2 -> 8 and 2 rows, one of each label in validation.
    """
    size = round(len(table) * fraction) if 0 < fraction < 1 else 0
    groups = _shuffled_by_label(table, seed) if stratify else [_shuffled(len(table), seed)]
    most = len(table) - len(groups)
    if not 0 < size <= most:
        raise InputError(
            "`fraction` (--validation-share) must leave rows for validation, and a row (of every label, if stratified) "
            f"for training. Received: {fraction} of {len(table)} rows, of which at most {most} can be held out."
        )
    shares = _shares([len(rows) for rows in groups], size)
    held_out = {index for rows, share in zip(groups, shares, strict=True) for index in rows[:share]}
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
    groups = _shuffled_by_label(table, seed) if stratify else [_shuffled(len(table), seed)]
    order = [index for rows in groups for index in rows]  # dealt out like cards
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
        yield normal_form(whole)


def normal_form(text: str) -> str:
    """NFKC, without case, white space runs made one space. Example: "Good\tＴＥＡ " -> "good tea"."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shuffled(rows: int, seed: int) -> list[int]:
    order = list(range(rows))
    random.Random(seed).shuffle(order)
    return order


def _shuffled_by_label(table: Table, seed: int) -> list[list[int]]:
    """Shuffled row numbers of each label, the labels in shuffled order too: it decides who gets a row left over."""
    if table.labels is None:
        raise InputError("A split by label needs labels. Name the label column, or pass stratify=False.")
    groups = {}
    for index in _shuffled(len(table), seed):
        groups.setdefault(table.labels[index], []).append(index)
    labels = sorted(groups)
    random.Random(seed).shuffle(labels)
    return [groups[label] for label in labels]


def _shares(sizes: list[int], wanted: int) -> list[int]:
    """How many of each group to take so that `wanted` are taken: in proportion, and never a whole group.

    What rounding down leaves goes to the largest remainders: sizes (7, 3), wanted 2 -> 1.4 and 0.6 -> (1, 1).
    """
    total = sum(sizes)
    shares = [min(size * wanted // total, size - 1) for size in sizes]
    missing = wanted - sum(shares)
    by_remainder = itertools.cycle(sorted(range(len(sizes)), key=lambda group: -(sizes[group] * wanted % total)))
    while missing:
        group = next(by_remainder)
        if shares[group] < sizes[group] - 1:
            shares[group] += 1
            missing -= 1
    return shares


def is_held_out(text: str, share: float) -> bool:
    """Whether a text of a corpus belongs to the held-out `share`; its own hash decides, wherever it stands."""
    return zlib.crc32(text.encode("utf-8", "replace")) % 10_000 < share * 10_000
