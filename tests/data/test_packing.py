"""Packing loses nothing, cuts nothing that fits, and wastes little."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfllm.data.packing import cut, pack

CLS, SEP, PAD = 1, 2, 0


def packed(documents, length):
    return pack([np.array(document, np.int32) for document in documents], length, CLS, SEP, PAD)


def pieces_of(token_ids, padding_mask):
    """The texts of all rows, in order, without [CLS] and [SEP]."""
    pieces = []
    for row, mask in zip(token_ids, padding_mask, strict=True):
        for number in range(1, mask.max() + 1):
            text = row[mask == number]
            assert (text[0], text[-1]) == (CLS, SEP)
            pieces.append(text[1:-1].tolist())
    return pieces


def test_two_documents_share_a_row_as_in_the_docstring():
    token_ids, padding_mask = packed([[10, 11, 12], [13]], 8)
    np.testing.assert_array_equal(token_ids, [[CLS, 10, 11, 12, SEP, CLS, 13, SEP]])
    np.testing.assert_array_equal(padding_mask, [[1, 1, 1, 1, 1, 2, 2, 2]])
    assert (token_ids.dtype, padding_mask.dtype) == (np.int32, np.int32)


def test_each_piece_goes_where_it_fits_tightest():
    # Sizes with [CLS] and [SEP]: 7, 5, 3, 3. The first 3 fits behind 7 (room 3) and behind 5 (room 5): it takes 7.
    _, padding_mask = packed([[10] * 5, [11] * 3, [12], [13]], 10)
    np.testing.assert_array_equal(padding_mask, [[1] * 7 + [2] * 3, [1] * 5 + [2] * 3 + [0] * 2])


def test_long_documents_are_cut_into_consecutive_pieces():
    assert [piece.tolist() for piece in cut(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]
    assert pieces_of(*packed([[10, 11, 12, 13, 14]], 4)) == [[10, 11], [12, 13], [14]]


def test_no_documents_and_empty_documents_give_no_rows():
    for documents in ([], [[], []]):
        token_ids, padding_mask = packed(documents, 8)
        assert token_ids.shape == padding_mask.shape == (0, 8)


@given(
    sizes=st.lists(st.integers(0, 40), max_size=40),
    length=st.integers(3, 24),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_token_stands_once_in_order_and_little_room_is_wasted(sizes, length):
    starts = np.cumsum([10, *sizes])  # every token of the corpus has its own id, in the order of the corpus
    documents = [np.arange(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    token_ids, padding_mask = packed(documents, length)
    assert token_ids.shape == padding_mask.shape == (len(token_ids), length)

    expected = [piece.tolist() for document in documents for piece in cut(document, length - 2)]
    assert sorted(pieces_of(token_ids, padding_mask)) == expected
    for row, mask in zip(token_ids, padding_mask, strict=True):
        used = int((mask > 0).sum())
        assert (mask[:used] > 0).all()
        assert set(np.diff(mask[:used])) <= {0, 1}  # texts are numbered 1, 2, ... without a gap
        assert mask[0] == 1
        assert (row[used:] == PAD).all()
    room = length - (padding_mask > 0).sum(1)
    longest = (padding_mask == 1).sum(1)
    # A row was begun only because its first piece, the longest, fits into no earlier one: no two rows fit into one.
    assert all(room[i] < longest[j] for i in range(len(room)) for j in range(i + 1, len(room)))
