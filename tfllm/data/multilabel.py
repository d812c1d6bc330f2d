"""Texts with several labels each, or none: files -> `Table` -> batches.

In: a label cell that joins names, `urgent|billing`, or a JSON list of them. Out: rows whose label is a tuple of names;
for each text a row of zeros and ones. N texts, C labels.
"""

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfllm.checks import InputError, did_you_mean, nearest_or_all
from tfllm.data.batches import GroupedBatches, PackedBatches, TextTargets
from tfllm.data.classification import encode_texts
from tfllm.data.tables import Table, label_name, read_table
from tfllm.tokenizers import Tokenizer

log = logging.getLogger("tfllm")
SEPARATOR = "|"
_USUAL_SEPARATORS = ("|", ",", ";")


def read_multilabel_table(
    paths: str | Path | Sequence[str | Path],
    *,
    separator: str = SEPARATOR,
    labels: Sequence[str] | None = None,
    **reading,
) -> Table:
    """Read rows of which each has any number of labels.

    Args:
        paths: as `read_table` takes them.
        separator: what stands between the names of a cell. White space around a name does not count.
        labels: the names allowed; None allows any.
        reading: the other arguments of `read_table`: `text`, `text_pair`, `label`, ...

    Returns:
        `Table` whose `labels` are tuples of names in the order of the cell. An empty cell is a text without labels,
        and so is an empty list or `null` in JSON lines.

    Raises:
        InputError: as `read_table`; a row is bad when it has a name twice, an empty name, or one that is not allowed.
    """
    if not separator.strip():
        raise InputError(f"`separator` must be a visible character, such as | , or ;. Received: {separator!r}.")
    names = functools.partial(_cell_names, separator=separator, labels=labels)
    table = read_table(paths, read_label=names, **reading)
    if table.labels is not None:
        _warn_of_separator(table.labels, separator)
    return table


def label_names(labels: Sequence[Sequence[str]]) -> list[str]:
    """All names that occur, sorted.

    Raises:
        InputError: no text has a label.
    """
    names = sorted(set(itertools.chain.from_iterable(labels)))
    if not names:
        raise InputError("No text of the data has a label: there is nothing to learn.")
    return names


def encode_label_sets(labels: Sequence[Sequence[str]], label_names: Sequence[str]) -> np.ndarray:
    """float32 (N, C): 1 where a text has a label.

    Raises:
        InputError: for a name that is not among `label_names`.
    """
    index = {name: position for position, name in enumerate(label_names)}
    unknown = sorted(set(itertools.chain.from_iterable(labels)) - set(index))
    if unknown:
        raise InputError(f"label {unknown[0]!r} is not one of the labels{did_you_mean(unknown[0], index)}.")
    targets = np.zeros((len(labels), len(index)), np.float32)
    for row, names in enumerate(labels):
        targets[row, [index[name] for name in names]] = 1
    return targets


def multilabel_batches(
    texts: Sequence[str],
    labels: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    *,
    label_names: Sequence[str],
    pairs: Sequence[str] | None = None,
    packed: bool = True,
    sequence_length: int = 128,
    batch_size: int = 32,
    seed: int = 0,
) -> PackedBatches | GroupedBatches:
    """Endless batches that can begin at any batch; arguments as for `classification_batches`, `labels` sets of names.

    Their values are float32 (B, C), or (B, S, C) if packed: 1 for the labels a text has.
    """
    if len(texts) != len(labels):
        raise InputError(f"Every text needs a set of labels. Received: {len(texts)} texts and {len(labels)} sets.")
    return (PackedBatches if packed else GroupedBatches)(
        encode_texts(texts, tokenizer, sequence_length, pairs),
        TextTargets(encode_label_sets(labels, label_names), np.ones(len(texts), np.float32)),
        pad_id=tokenizer.pad_id,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def _cell_names(
    cells: dict[str, object], column: str, separator: str, labels: Sequence[str] | None
) -> tuple[tuple[str, ...], str]:
    """The names of a cell, and what is wrong with them ('' when they are good)."""
    value = cells.get(column, "")
    if column in cells and value in (None, "", []):
        return (), ""
    if isinstance(value, list):
        parts = [label_name({column: part}, column) for part in value]
        reason = next((reason for _, reason in parts if reason and reason != "empty"), "")
        return _checked(tuple(part for part, _ in parts), labels) if not reason else ((), f"in the list: {reason}")
    text, reason = label_name(cells, column)
    if reason:
        return (), "" if reason == "empty" else reason
    return _checked(tuple(part.strip() for part in text.split(separator)), labels)


def _checked(names: tuple[str, ...], labels: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    reason = ""
    if not all(names):
        reason = "a name is empty: two separators in a row, or one at an end"
    elif len(set(names)) < len(names):
        name, count = Counter(names).most_common(1)[0]
        reason = f"names {name!r} {'twice' if count == 2 else f'{count} times'}"
    elif labels is not None and not set(names) <= set(labels):
        unknown = next(name for name in names if name not in labels)
        reason = f"{unknown!r} is not one of the labels{nearest_or_all(unknown, labels)}"
    return names, reason


def _warn_of_separator(labels: Sequence[tuple[str, ...]], separator: str) -> None:
    """Point out that every text has one label at most, and that names look joined by another separator."""
    if any(len(names) > 1 for names in labels):
        return
    for other in _USUAL_SEPARATORS:
        rows = sum(other in name for names in labels for name in names)
        if other != separator and rows:
            log.warning(
                "No cell has two labels joined by %r, but %d hold %r. If that joins names, say so: "
                "separator=%r (--label-separator '%s').",
                separator,
                rows,
                other,
                other,
                other,
            )
