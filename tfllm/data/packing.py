"""Token ids of documents -> rows of one length that hold several texts and hardly any padding.

In: arrays of token ids, one per document, without special tokens.
Out: token_ids and padding_mask, int32 (rows, T); texts of one row are numbered 1, 2, ... in padding_mask.
"""

import bisect
from collections.abc import Iterable, Sequence

import numpy as np


def cut(document: np.ndarray, length: int) -> list[np.ndarray]:
    """Consecutive pieces of at most `length` tokens. Example: 5 tokens, length 2 -> 2 + 2 + 1."""
    return [document[start : start + length] for start in range(0, len(document), length)]


def pack(
    documents: Iterable[np.ndarray], length: int, cls_id: int, sep_id: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pack documents into rows; each piece becomes `[CLS] piece [SEP]`.

    Documents longer than `length` - 2 tokens are cut. Pieces are placed longest first, each where it fits tightest
    (best-fit decreasing), so rows are nearly full.

    Args:
        documents: int arrays of token ids.
        length: T, tokens in a row.

    Returns:
        token_ids, padding_mask: int32 (rows, T).

    Example: documents of 3 and 1 tokens, T=8 -> one row: [CLS] a b c [SEP] [CLS] d [SEP], mask 1 1 1 1 1 2 2 2.
    """
    pieces = [piece for document in documents for piece in cut(document, length - 2)]
    return fill_rows([np.concatenate([[cls_id], piece, [sep_id]]) for piece in pieces], length, pad_id)


def fill_rows(pieces: Sequence[np.ndarray], length: int, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Place pieces of at most `length` tokens in rows, as `best_fit` says; token_ids, padding_mask: int32 (rows, T)."""
    return lay_out(pieces, best_fit([len(piece) for piece in pieces], length), length, pad_id)


def lay_out(
    pieces: Sequence[np.ndarray], rows: Sequence[Sequence[int]], length: int, pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """token_ids, padding_mask, int32 (rows, T), of rows that hold these pieces, by their numbers."""
    token_ids = np.full((len(rows), length), pad_id, np.int32)
    padding_mask = np.zeros((len(rows), length), np.int32)
    for row, members in enumerate(rows):
        start = 0
        for number, member in enumerate(members, start=1):
            end = start + len(pieces[member])
            token_ids[row, start:end] = pieces[member]
            padding_mask[row, start:end] = number
            start = end
    return token_ids, padding_mask


def best_fit(sizes: Sequence[int], capacity: int, most: int | None = None) -> list[list[int]]:
    """Which items go into which row: longest first, into the row with the least room that still holds them.

    Args:
        sizes: of the items.
        capacity: of a row.
        most: how many items a row takes at most.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, row), sorted
    for item in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        place = bisect.bisect_left(rooms, (sizes[item], -1))
        if place == len(rooms):
            room, row = capacity, len(rows)
            rows.append([])
        else:
            room, row = rooms.pop(place)
        rows[row].append(item)
        if len(rows[row]) != most:
            bisect.insort(rooms, (room - sizes[item], row))
    return rows


def best_fit_pairs(sizes: np.ndarray, capacities: np.ndarray) -> list[list[int]]:
    """Which pairs go into which row: longest first, into the row with the least room that still holds both parts.

    Args:
        sizes: int (N, 2), of the two parts of each pair.
        capacities: int (2,), what a row holds of each.
    """
    shares = sizes / capacities
    rooms, rows = np.zeros((len(sizes), 2)), []
    for item in np.argsort(-shares.max(1), kind="stable"):
        open_rooms = rooms[: len(rows)]
        fits = (open_rooms >= shares[item] - 1e-9).all(1)
        row = int(np.argmin(np.where(fits, open_rooms.sum(1), np.inf))) if fits.any() else len(rows)
        if row == len(rows):
            rows.append([])
            rooms[row] = 1
        rows[row].append(int(item))
        rooms[row] -= shares[item]
    return rows
