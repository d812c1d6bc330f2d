"""Tags as files write them (IOB1, IOB2, BIOES, BMES, BILOU, plain) -> entities.

In: the tags of a sentence's words. Out: which words an entity takes, and its label; or what is wrong.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
_TYPED = re.compile(r"([BIMELSUW])[-_](.+)")
_BARE_LABEL = "ENTITY"  # where tags are B, I, O without a type


class WordSpan(NamedTuple):
    """An entity: words `first` to `after` - 1 of a sentence."""

    first: int
    after: int
    label: str


class Fault(NamedTuple):
    """What is wrong with the tag of one word."""

    word: int
    reason: str


def are_entity_tags(tags: Sequence[str]) -> bool:
    """True when most of these tags are O, or a letter of position and a type (`B-LOC`); or letters without types."""
    typed = sum(tag == "O" or _TYPED.fullmatch(tag) is not None for tag in tags)
    bare = sum(tag == "O" or tag in _LETTERS for tag in tags) if "B" in tags else 0
    return 2 * max(typed, bare) > len(tags)


def have_ends(tags: Iterable[str]) -> bool:
    """True for BIOES, BMES and BILOU, whose tags mark the last word and the only word of an entity."""
    return any(_parts(tag)[0] in "ES" for tag in tags)


def read_entities(tags: Sequence[str], ends: bool) -> tuple[list[WordSpan], list[Fault], list[Fault]]:
    """The entities of a sentence, read as the official script of the CoNLL shared tasks (and seqeval) reads them.

    Args:
        tags: of its words.
        ends: what `have_ends` says of the whole file.

    Returns:
        The entities, in order. Then the tags that are none. Then what had to be read leniently: an I or E that follows
        no word of its entity begins one (in IOB1 that is the rule), and an entity ends where nothing continues it,
        also without E.

    Example: O I-LOC I-LOC B-LOC -> words 1 to 2 and word 3; lenient: I-LOC at word 1.
    """
    spans, faults, lenient = [], [], []
    open_label, first = None, 0
    for word, tag in enumerate([*tags, "O"]):
        letter, label = _parts(tag)
        if letter == "O" and tag != "O":
            faults.append(Fault(word, f"{tag!r} is no tag of an entity: such are O, B-TYPE, I-TYPE"))
        goes_on = letter in "IE" and label == open_label
        if open_label is not None and not goes_on:
            spans.append(WordSpan(first, word, open_label))
            if ends:
                lenient.append(Fault(word - 1, f"{tags[word - 1]} is not continued {_next(tags, word)}"))
            open_label = None
        if letter in "IE" and not goes_on:
            lenient.append(Fault(word, f"{tag} {_previous(tags, word)}"))
        if letter != "O" and not goes_on:
            open_label, first = label, word
        if letter in "ES":
            spans.append(WordSpan(first, word + 1, open_label))
            open_label = None
    return spans, faults, lenient


def _parts(tag: str) -> tuple[str, str]:
    """The letter (one of B I E S O) and the label of an entity tag."""
    typed = _TYPED.fullmatch(tag)
    if typed:
        return _LETTERS[typed[1]], typed[2]
    return _LETTERS.get(tag, "O"), _BARE_LABEL


def _next(tags: Sequence[str], word: int) -> str:
    return f"by {tags[word]}" if word < len(tags) else "before the sentence ends"


def _previous(tags: Sequence[str], word: int) -> str:
    return f"follows {tags[word - 1]}" if word else "begins the sentence"
