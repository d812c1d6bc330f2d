"""To which span a token or word belongs."""

import numpy as np

from tfllm.data.spans import Span, begins_span, spans_of_units


def choose(units, spans):
    """`units` and `spans` of one text."""
    starts, ends = np.array(units).T
    return spans_of_units(np.zeros_like(starts), starts, ends, [100], [[Span(*span, "x") for span in spans]]).tolist()


def test_a_unit_belongs_to_the_span_it_shares_most_characters_with():
    assert choose([(0, 2), (3, 6), (6, 7)], [(4, 7)]) == [-1, 0, 0]
    assert choose([(0, 5)], [(0, 2), (2, 5)]) == [1]
    assert choose([(0, 4)], [(0, 2), (2, 4)]) == [0]
    assert choose([(0, 9)], [(0, 1), (1, 3), (3, 8), (8, 9)]) == [2]
    assert choose([(0, 3), (5, 6)], [(3, 5)]) == [-1, -1]
    assert choose([(0, 3)], []) == [-1]


def test_a_unit_without_characters_counts_as_the_one_that_follows():
    assert choose([(0, 2), (2, 2), (2, 4), (4, 4)], [(2, 4)]) == [-1, 0, 0, -1]


def test_spans_are_numbered_through_all_texts():
    rows, starts, ends = np.array([0, 0, 2, 2]), np.array([0, 2, 0, 2]), np.array([2, 4, 2, 4])
    spans = [[Span(0, 1, "a"), Span(2, 4, "b")], [Span(0, 3, "c")], [Span(3, 4, "d")]]
    assert spans_of_units(rows, starts, ends, [4, 3, 4], spans).tolist() == [0, 1, -1, 3]
    assert spans_of_units(*(np.zeros(0, np.int64) for _ in range(3)), [4], [[]]).tolist() == []


def test_each_span_begins_once():
    assert begins_span(np.array([0, 0, 1, -1, -1, 2, 2])).tolist() == [True, False, True, False, False, True, False]


def test_random_units_get_what_a_plain_search_finds():
    random = np.random.default_rng(0)
    for _ in range(300):
        spans, units = (
            [tuple(cut) for cut in np.sort(random.choice(40, 2 * random.integers(1, 6), replace=False)).reshape(-1, 2)]
            for _ in range(2)
        )
        shared = [[min(a[1], b[1]) - max(a[0], b[0]) for b in spans] for a in units]
        expected = [int(np.argmax(row)) if max(row) > 0 else -1 for row in shared]
        assert choose(units, spans) == expected
