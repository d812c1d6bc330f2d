"""Tags as files write them -> entities, equal to what seqeval reads."""

import itertools

import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tfllm.data.tag_schemes import are_entity_tags, have_ends, read_entities


def entities(tags):
    spans, faults, _ = read_entities(tags, have_ends(tags))
    assert not faults
    return [(first, after, label) for first, after, label in spans]


@pytest.mark.parametrize(
    "tags",
    [
        "I-LOC I-LOC O I-PER B-PER",  # IOB1
        "B-LOC I-LOC O B-PER B-PER",  # IOB2
        "B-LOC E-LOC O S-PER S-PER",  # BIOES
        "B-LOC E-LOC O S-PER S-PER".replace("S", "W"),  # BMEWO
        "B-LOC L-LOC O U-PER U-PER",  # BILOU
        "B_LOC E_LOC O S_PER S_PER",
    ],
)
def test_every_scheme_gives_the_same_entities(tags):
    assert entities(tags.split()) == [(0, 2, "LOC"), (3, 4, "PER"), (4, 5, "PER")]
    assert are_entity_tags(tags.split())


def test_bmes_and_tags_without_types():
    assert entities(["B-NAME", "M-NAME", "E-NAME", "O"]) == [(0, 3, "NAME")]
    assert entities(["B", "I", "O", "B"]) == [(0, 2, "ENTITY"), (3, 4, "ENTITY")]
    assert entities(["B", "E", "S"]) == [(0, 2, "ENTITY"), (2, 3, "ENTITY")]


def test_a_type_may_hold_the_separator():
    assert entities(["B-creative-work", "I-creative-work"]) == [(0, 2, "creative-work")]


@pytest.mark.parametrize("letters", ["OBI", "OBIES"])
def test_any_sequence_is_read_as_seqeval_reads_it(letters):
    every = ["O", *(f"{letter}-{label}" for letter in letters[1:] for label in "xy")]
    for tags in itertools.product(every, repeat=3):
        spans, faults, _ = read_entities(tags, have_ends(tags))
        assert not faults
        assert [(label, first, after - 1) for first, after, label in spans] == get_entities(list(tags)), tags


@pytest.mark.parametrize(
    ("tags", "lenient"),
    [
        ("O I-LOC", [(1, "I-LOC follows O")]),
        ("I-LOC O", [(0, "I-LOC begins the sentence")]),
        ("B-PER I-LOC", [(1, "I-LOC follows B-PER")]),
        ("B-PER I-PER O", []),
        ("B-PER O S-LOC", [(0, "B-PER is not continued by O")]),
        ("S-LOC B-PER", [(1, "B-PER is not continued before the sentence ends")]),
        ("S-PER E-PER", [(1, "E-PER follows S-PER")]),
    ],
)
def test_what_is_read_leniently_is_named(tags, lenient):
    tags = tags.split()
    assert read_entities(tags, have_ends(tags))[2] == lenient


def test_a_tag_that_is_none_is_a_fault():
    _, faults, _ = read_entities(["O", "b-PER", "B-"], False)
    assert [fault.word for fault in faults] == [1, 2]
    assert faults[0].reason == "'b-PER' is no tag of an entity: such are O, B-TYPE, I-TYPE"


@pytest.mark.parametrize("tags", [["NOUN", "VERB", "O"], ["n", "v"], ["N", "V", "S"], []])
def test_tags_of_words_are_not_taken_for_entities(tags):
    assert not are_entity_tags(tags)


def test_one_typing_error_does_not_make_entities_tags_of_words():
    assert are_entity_tags(["O", "O", "b-PER"])
