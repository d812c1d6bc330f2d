"""Which number stands for which tag, and which may follow which."""

import itertools

import pytest

from tfllm.checks import InputError
from tfllm.tags import make_tags


def test_tags_of_entities_are_iob2():
    tags = make_tags(["LOC", "PER"], "entities")
    assert tags.names == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert (tags.first, tags.further, tags.label) == ([1, 3], [2, 4], [-1, 0, 0, 1, 1])
    assert tags.begins == [False, True, False, True, False]
    assert tags.inside == [False, True, True, True, True]
    assert tags.carried == [0, 2, 2, 4, 4]
    allowed = {(a, b) for a, b in itertools.product(range(5), repeat=2) if tags.may_follow[a][b]}
    barred = set(itertools.product(range(5), repeat=2)) - allowed
    assert barred == {(0, 2), (0, 4), (1, 4), (2, 4), (3, 2), (4, 2)}
    assert tags.may_begin == [True, True, False, True, False]


def test_tags_of_words_say_where_a_word_begins():
    tags = make_tags(["NOUN", "VERB"], "words")
    assert tags.names == ["+", "NOUN", "VERB"]
    assert (tags.first, tags.further, tags.label) == ([1, 2], [0, 0], [-1, 0, 1])
    assert (tags.begins, tags.may_begin) == ([False, True, True], [False, True, True])
    assert all(map(all, [*tags.may_follow, tags.inside])) and tags.carried == [0, 0, 0]


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [([], "entities", "labels"), (["a", "a"], "words", "distinct"), (["a"], "spans", "kind")],
)
def test_bad_arguments_are_input_errors(labels, kind, message):
    with pytest.raises(InputError, match=message):
        make_tags(labels, kind)
