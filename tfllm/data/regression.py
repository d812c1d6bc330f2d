"""Texts, or pairs of texts, with a score each: files -> `Table` -> batches.

In: a label cell that holds a number. Out: rows whose label is a float. N texts.
"""

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfllm.checks import InputError
from tfllm.data.batches import GroupedBatches, PackedBatches, TextTargets
from tfllm.data.classification import encode_texts
from tfllm.data.rows import json_type
from tfllm.data.sources import cell_text
from tfllm.data.tables import Table, read_table
from tfllm.tokenizers import Tokenizer

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")


def read_scored_table(
    paths: str | Path | Sequence[str | Path], *, score_range: Sequence[float] | None = None, **reading
) -> Table:
    """Read rows with a score each.

    Args:
        paths: as `read_table` takes them.
        score_range: lowest and highest score there can be; None allows any number.
        reading: the other arguments of `read_table`: `text`, `text_pair`, `label`, ...

    Returns:
        `Table` whose `labels` are floats.

    Raises:
        InputError: as `read_table`; a row is bad when its score is no number, is infinite, or lies outside the range.
    """
    return read_table(paths, read_label=functools.partial(_cell_score, score_range=score_range), **reading)


def regression_batches(
    texts: Sequence[str],
    scores: Sequence[float],
    tokenizer: Tokenizer,
    *,
    pairs: Sequence[str] | None = None,
    packed: bool = True,
    sequence_length: int = 128,
    batch_size: int = 32,
    seed: int = 0,
) -> PackedBatches | GroupedBatches:
    """Endless batches that can begin at any batch; arguments as for `classification_batches`.

    Their values are float32 (B,), or (B, S) if packed.
    """
    if len(texts) != len(scores):
        raise InputError(f"Every text needs one score. Received: {len(texts)} texts and {len(scores)} scores.")
    return (PackedBatches if packed else GroupedBatches)(
        encode_texts(texts, tokenizer, sequence_length, pairs),
        TextTargets(np.asarray(scores, np.float32), np.ones(len(scores), np.float32)),
        pad_id=tokenizer.pad_id,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def _cell_score(cells: dict[str, object], column: str, score_range: Sequence[float] | None) -> tuple[float, str]:
    """The score of a cell, and what is wrong with it ('' when it is good)."""
    value = cells.get(column)
    if isinstance(value, bool | list | dict):
        return 0.0, f"must be a number, not a {json_type(value)}"
    if not isinstance(value, int | float):
        text, reason = cell_text(cells, column)
        if reason:
            return 0.0, reason
        value, reason = _number(text.strip())
        if reason:
            return 0.0, reason
    value = _float(value)
    if not math.isfinite(value):
        return 0.0, f"{value} is no score: a score is a finite number"
    if score_range is not None and not score_range[0] <= value <= score_range[1]:
        return 0.0, f"{value:g} lies outside the range {score_range[0]:g} to {score_range[1]:g}"
    return value, ""


def _number(text: str) -> tuple[float, str]:
    if _NUMBER.fullmatch(text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text), ""
    if _DECIMAL_COMMA.fullmatch(text):
        return 0.0, f"{text!r} is not a number. With a decimal comma meant, write {text.replace(',', '.')!r}"
    return 0.0, f"{text!r} is not a number"


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits, which JSON may hold
        return math.inf
