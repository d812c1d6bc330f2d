"""Stretches of text with a label, and which token or word belongs to which.

In: spans, and where tokens or words stand. Out: for each of these the span it belongs to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """Characters `start` to `end` - 1 of a text."""

    start: int
    end: int
    label: str


def spans_of_units(
    rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, lengths: Sequence[int], spans: Sequence[Sequence[Span]]
) -> np.ndarray:
    """The span each unit (token or word) shares most characters with, the earlier one of equals.

    Args:
        rows: int (U,), the number of each unit's text; never decreases.
        starts, ends: int (U,), its characters; starts never decrease within a text. A unit without any counts as the
            character that follows it.
        lengths: of the texts, in characters.
        spans: of each text, in order, not overlapping.

    Returns:
        int64 (U,), the spans numbered through all texts; -1 where a unit shares no character with any.

    Example: units 0-2, 3-6, 6-7 and a span 4-7 -> -1, 0, 0.
    """
    firsts = np.cumsum([0, *(length + 1 for length in lengths)])  # all texts laid end to end, one character apart
    flat = np.array([(row, *span[:2]) for row, found in enumerate(spans) for span in found], np.int64).reshape(-1, 3)
    span_starts, span_ends = flat[:, 1] + firsts[flat[:, 0]], flat[:, 2] + firsts[flat[:, 0]]
    starts, ends = starts + firsts[rows], np.maximum(ends, starts + 1) + firsts[rows]
    first = np.searchsorted(span_ends, starts, side="right")
    counts = np.maximum(np.searchsorted(span_starts, ends, side="left") - first, 0)
    chosen, most = np.full(len(starts), -1, np.int64), np.zeros(len(starts), np.int64)
    for number in range(counts.max(initial=0)):
        (units,) = np.nonzero(counts > number)
        span = first[units] + number
        shared = np.minimum(ends[units], span_ends[span]) - np.maximum(starts[units], span_starts[span])
        better = shared > most[units]
        chosen[units[better]], most[units[better]] = span[better], shared[better]
    return chosen


def begins_span(chosen: np.ndarray) -> np.ndarray:
    """True at the first unit of each span, bool (U,), of what `spans_of_units` returned."""
    return (chosen >= 0) & (np.diff(chosen, prepend=-1) != 0)
