"""The sample data is what its README says: enough of it, balanced, distinct, with a test part of its own."""

import csv
from collections import Counter

import pytest

from tfllm.checks import InputError
from tfllm.data.samples import sample_path

REVIEWS = [("en", {"positive", "negative"}, 1000), ("zh", {"好评", "差评"}, 300)]


def read_reviews(language, part):
    with open(sample_path(f"reviews_{language}_{part}.csv"), encoding="utf-8", newline="") as stream:
        return [(row["text"], row["label"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize(("language", "labels", "least"), REVIEWS)
def test_there_are_enough_reviews_half_of_each_label(language, labels, least):
    parts = [read_reviews(language, part) for part in ("train", "test")]
    assert sum(map(len, parts)) >= least
    for part in parts:
        counts = Counter(label for _, label in part)
        assert set(counts) == labels
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("language", "labels", "least"), REVIEWS)
def test_no_review_stands_twice_not_even_in_the_other_part(language, labels, least):
    texts = [text.strip().casefold() for part in ("train", "test") for text, _ in read_reviews(language, part)]
    assert [text for text, count in Counter(texts).items() if count > 1] == []
    assert all(texts)


@pytest.mark.parametrize(("name", "least_bytes"), [("text_en.txt", 100_000), ("text_zh.txt", 40_000)])
def test_running_text_is_long_distinct_utf8(name, least_bytes):
    content = sample_path(name).read_bytes()
    assert len(content) >= least_bytes
    lines = [line for line in content.decode("utf-8").split("\n") if line]
    assert len(set(lines)) == len(lines)
    assert "\ufffd" not in content.decode("utf-8")


def test_an_unknown_sample_names_the_nearest():
    with pytest.raises(InputError, match=r"reviews_zh_train\.csv.*did you mean 'text_en\.txt'"):
        sample_path("text_em.txt")
