"""The sample a trainer is given: all of a small corpus, a bounded and even draw from a large one."""

import logging
from collections import Counter

import pytest

from tfllm.tokenizers.sample import PIECE_CHARACTERS, draw_sample


def test_a_corpus_that_fits_is_the_sample_and_nothing_is_said(caplog):
    texts = ["first", "", "第二", "half of a pair: \ud800"]
    with caplog.at_level(logging.INFO):
        assert draw_sample(iter(texts), most_bytes=1000) == ["first", "第二", "half of a pair: ?"]
    assert caplog.text == ""


@pytest.mark.parametrize("bound", [{"most_bytes": 5000}, {"most_bytes": 10**9, "most_texts": 1000}])
def test_of_a_larger_one_a_share_of_every_part_is_drawn_within_the_bound(caplog, bound):
    texts = [f"{number:05d}" for number in range(20_000)]
    with caplog.at_level(logging.INFO):
        sample = draw_sample(iter(texts), **bound)
    assert 750 <= len(sample) <= 1000
    assert sample == sorted(set(sample))
    tenths = Counter(int(text) // 2000 for text in sample)
    assert all(60 <= tenths[part] <= 130 for part in range(10))
    assert "of 0.1 MB, drawn at random" in caplog.text


def test_the_seed_decides_the_draw():
    texts = [str(number) for number in range(5000)]
    first, again, other = (draw_sample(texts, most_bytes=4000, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_single_text_is_drawn_from_too():
    text = "".join(chr(0x4E00 + number % 5000) for number in range(12 * PIECE_CHARACTERS))
    sample = draw_sample([text], most_bytes=6 * 3 * PIECE_CHARACTERS)
    assert 0 < len(sample) <= 6
    assert all(piece in text for piece in sample)
