"""Which number stands for which tag of a token: what data, head and decoding agree on.

In: the labels (types of entities, or tags of words). Out: a `TagSet`. K labels, C tags.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tfllm import checks

KINDS = ("entities", "words")


class TagSet(NamedTuple):
    """The tags of tokens, and which may follow which. Lists of C entries unless said otherwise.

    Entities (IOB2): `O`, and for each label `B-label`, its first token, and `I-label`, any further one; an I only
    follows a B or I of its label. Words: `+`, any further token of a word, and each label, the first token of a word:
    so the words are found along with their tags, in Chinese too.

    Attributes:
        names: of the tags.
        first, further: (K,) the tags of the first and of any further token of each label.
        begins: True where a tag begins an entity or word.
        inside: True where a tag is that of an entity or word, its first token or a further one.
        label: position of the tag's label; -1 for `O` and `+`.
        carried: the tag of a further token of the same word: I after B and I, `+` in words, else `O`.
        may_begin: True where a tag may be a text's first.
        may_follow: (C, C) entry [a][b] is True where tag b may follow tag a.
    """

    names: list[str]
    first: list[int]
    further: list[int]
    begins: list[bool]
    inside: list[bool]
    label: list[int]
    carried: list[int]
    may_begin: list[bool]
    may_follow: list[list[bool]]


def make_tags(labels: Sequence[str], kind: str) -> TagSet:
    """The tags for these labels; `kind` is "entities" or "words".

    Raises:
        InputError: for no label, repeated or empty ones, or an unknown kind.

    Example: entities of the label "LOC": O 0, B-LOC 1, I-LOC 2. Words of "NOUN" and "VERB": + 0, NOUN 1, VERB 2.
    """
    checks.check_one_of("kind", kind, KINDS)
    checks.check_labels(labels, least=1)
    count = len(labels)
    if kind == "words":
        all_tags = [True] * (count + 1)
        return TagSet(
            names=["+", *labels],
            first=list(range(1, count + 1)),
            further=[0] * count,
            begins=[False] + [True] * count,
            inside=all_tags,
            label=list(range(-1, count)),
            carried=[0] * (count + 1),
            may_begin=[False] + [True] * count,
            may_follow=[all_tags] * (count + 1),
        )
    label = [-1] + [number // 2 for number in range(2 * count)]
    tags = range(2 * count + 1)
    begins = [tag % 2 == 1 for tag in tags]
    outside_or_first = [tag == 0 or begins[tag] for tag in tags]
    return TagSet(
        names=["O", *(f"{prefix}-{name}" for name in labels for prefix in "BI")],
        first=list(range(1, 2 * count, 2)),
        further=list(range(2, 2 * count + 1, 2)),
        begins=begins,
        inside=[tag > 0 for tag in tags],
        label=label,
        carried=[tag + begins[tag] for tag in tags],
        may_begin=outside_or_first,
        may_follow=[
            [outside_or_first[b] or label[a] == label[b] for b in range(len(label))] for a in range(len(label))
        ],
    )
