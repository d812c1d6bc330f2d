"""Training texts changed a little, so that a model learns what does not matter: case, typing errors, a missing word.

In: texts. Out: as many texts, changed anew in every epoch. For tasks that say something of a whole text: places in a
text move.
"""

import re
from collections.abc import Sequence

import numpy as np

from tfllm import checks

_PARTS = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|\s+|[^\s\u3400-\u9fff\uf900-\ufaff]+")  # an ideograph is a word


def augment_texts(
    texts: Sequence[str],
    seed: int,
    epoch: int,
    *,
    case: float = 0.0,
    typos: float = 0.0,
    word_dropout: float = 0.0,
) -> list[str]:
    """The texts, changed at random.

    Args:
        texts: N texts.
        seed, epoch: with a text's place in `texts` they decide what changes.
        case: share of the texts that become lower case, UPPER CASE or Begin Words So, one as likely as the others.
        typos: share of the characters, white space aside, with which something goes wrong: it changes places with the
            one after it, is left out, or stands twice. In Chinese text characters are what is mistyped, too.
        word_dropout: share of the words left out; an ideograph is a word. One word always stays.

    Returns:
        N texts. Without any change asked for they are the texts given. None becomes blank that was not.

    Raises:
        InputError: if a share is not between 0 and 1.

    Example: `augment_texts(["A good film"], 0, 3, word_dropout=0.3)` may give `["A film"]`.
    Source: Wei and Zou 2019, arXiv:1901.11196, random deletion; Belinkov and Bisk 2018, arXiv:1711.02173, typos.
    """
    for name, share in (("case", case), ("typos", typos), ("word_dropout", word_dropout)):
        checks.check_between(name, share, 0, 1)
    changed = []
    for place, text in enumerate(texts):
        random = np.random.default_rng((seed, epoch, place))
        if word_dropout:
            text = _without_words(text, word_dropout, random)
        if typos:
            text = _with_typos(text, typos, random)
        if case and random.random() < case:
            text = (str.lower, str.upper, str.title)[random.integers(3)](text)
        changed.append(text)
    return changed


def _without_words(text: str, share: float, random: np.random.Generator) -> str:
    parts = _PARTS.findall(text)
    words = [number for number, part in enumerate(parts) if not part.isspace()]
    dropped = set(np.array(words)[random.random(len(words)) < share].tolist()) if words else set()
    if dropped and len(dropped) == len(words):
        dropped.remove(words[random.integers(len(words))])
    # With a word the white space before it goes, or after it at the beginning of the text.
    dropped |= {number - 1 for number in dropped if number and parts[number - 1].isspace()}
    return "".join(part for number, part in enumerate(parts) if number not in dropped).strip() if dropped else text


def _with_typos(text: str, share: float, random: np.random.Generator) -> str:
    wrong, kinds = random.random(len(text)) < share, random.integers(3, size=len(text))
    characters, place, visible = [], 0, sum(not character.isspace() for character in text)
    while place < len(text):
        character, following = text[place], text[place + 1 : place + 2]
        if not wrong[place] or character.isspace():
            characters.append(character)
        elif kinds[place] == 0 and following and not following.isspace():
            characters += [following, character]
            place += 1
        elif kinds[place] == 1 and visible > 1:
            visible -= 1
        else:
            characters += [character, character]
        place += 1
    return "".join(characters)
