"""Argument checks and their messages: the rule, the reason or remedy, what arrived.

In: the name and value of an argument. Out: nothing, or an `InputError` that says what to do.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


class InputError(ValueError):
    """Something the user can mend: bad data, a bad argument, a missing file.

    The command line prints its message without a traceback and exits with code 2.
    """


def did_you_mean(word: str, choices: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """` (did you mean 'x'?)` for the nearest of `choices`, or one that begins so; an empty string if none is near.

    Capital and small letters are the same. `shown` gives what is to be written of a choice.
    """
    word, choices = str(word).casefold(), {str(choice).casefold(): str(choice) for choice in choices}
    begun = [choice for choice in choices if len(word) > 2 and choice.startswith(word)]
    short = len(word) == 2 and not word.isascii()  # as labels in Chinese are: one character of the two is enough
    most, cutoff = (2, 0.5) if short else (1, 0.6)
    near = [choices[found] for found in difflib.get_close_matches(word, choices, most, cutoff) or begun[:1]]
    return f" (did you mean {' or '.join(repr(shown(choice)) for choice in near)}?)" if near else ""


def did_you_mean_beside(path: Path) -> str:
    """The same for a path: the nearest of what stands in its directory."""
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, siblings, shown=lambda name: str(path.parent / name))


def nearest_or_all(word: str, choices: Iterable[str], most: int = 20) -> str:
    """As `did_you_mean`; where none is near, what there is to choose from: ` a, b, c`."""
    choices = list(choices)
    more = f" and {len(choices) - most:,} more" if len(choices) > most else ""
    return did_you_mean(word, choices) or f" {', '.join(map(str, choices[:most]))}{more}"


def check_one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise InputError unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise InputError(
            f"`{name}` must be one of {', '.join(choices)}. Received: {value!r}{did_you_mean(value, choices)}."
        )


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise InputError unless `value` >= `least` and finite."""
    if not least <= value < math.inf:
        finite = " and finite" if value == math.inf else ""
        raise InputError(f"`{name}` must be at least {least}{finite}. Received: {value}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Raise InputError unless `low` <= `value` <= `high`."""
    if not low <= value <= high:
        raise InputError(f"`{name}` must be between {low} and {high}. Received: {value}.")


def check_dropout(value: float) -> None:
    """Raise InputError unless 0 <= `value` < 1: what is kept is divided by 1 - `value`."""
    if not 0 <= value < 1:
        raise InputError(f"`dropout` must be between 0 and 1, and not 1: nothing would be left. Received: {value}.")


def check_divisible(name: str, value: int, by_name: str, by: int, reason: str) -> None:
    """Raise InputError unless `value` is a multiple of `by`."""
    if by <= 0 or value % by:
        raise InputError(
            f"`{name}` must be divisible by `{by_name}` {reason}. Received: {name}={value}, {by_name}={by}."
        )


def check_labels(labels: Iterable[str], least: int = 2) -> None:
    """Raise InputError unless `labels` are at least `least` distinct, non-empty names."""
    labels = list(labels)
    if len(labels) < least:
        names = {1: "a name", 2: "at least two names"}[least]
        raise InputError(f"`labels` needs {names}, or there is nothing to decide. Received: {labels}.")
    if len(set(labels)) != len(labels) or not all(isinstance(label, str) and label for label in labels):
        raise InputError(f"`labels` must be distinct, non-empty strings. Received: {labels}.")


def check_texts(name: str, texts: Sequence[str]) -> None:
    """Raise InputError for one string in place of a list: each of its characters would be a text."""
    if isinstance(texts, str | bytes):
        raise InputError(f"`{name}`: give a list of strings, one for each row. Received: {texts!r:.200}.")


def check_exists(path: str | Path) -> None:
    """Raise InputError unless the file or directory is there; names the nearest sibling if not."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory{did_you_mean_beside(path)}.")
