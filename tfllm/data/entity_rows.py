"""JSON lines with entities as spans of characters -> `EntityRow`s.

A line: {"text": "Ada is in Turin.", "entities": [{"start": 0, "end": 3, "label": "PER"}, [10, 15, "LOC"]]}
"""

import itertools
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tfllm.data.rows import BadRow, json_type, read_rows, text_fault
from tfllm.data.sources import cell_text
from tfllm.data.spans import Span

_JOINER = "\u200d"  # ZERO WIDTH JOINER, between the parts of an emoji
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAGS = range(0x1F1E6, 0x1F200)  # two of them are a flag


class EntityRow(NamedTuple):
    """A text with its entities, in order, none of which overlap; and its place, `file:line`."""

    place: str
    text: str
    spans: list[Span]


def read_entity_rows(path: Path, text: str, entities: str, encoding: str = "utf-8") -> Iterator[EntityRow | BadRow]:
    """The rows of a JSON lines file.

    Args:
        text, entities: names of the keys. An entity is an object with `start`, `end` and `label`, or a list of these
            three. `start` and `end` count characters (code points), `end` is excluded; white space at an entity's
            borders is left out of it.
    """
    for row in read_rows(path, encoding):
        yield row if isinstance(row, BadRow) else _read_row(row.place, row.cells, text, entities)


def _read_row(place: str, cells: dict[str, object], text_key: str, key: str) -> EntityRow | BadRow:
    text, reason = cell_text(cells, text_key)
    if reason:
        return BadRow(place, text_key, reason)
    found = cells.get(key)
    if not isinstance(found, list):
        reason = f"must be a list of entities, not a {json_type(found)}" if key in cells else "the key is missing"
        return BadRow(place, key, f"{reason}; a text without any has []")
    spans = []
    for number, entity in enumerate(found, 1):
        span = _read_span(entity, text)
        if isinstance(span, str):
            return BadRow(place, key, f"entity {number}: {span}")
        spans.append(span)
    spans.sort()
    for one, other in itertools.pairwise(spans):
        if other.start < one.end:
            kind = "lies inside" if other.end <= one.end else "overlaps"
            return BadRow(
                place, key, f"{_show(other, text)} {kind} {_show(one, text)}; a word can have one label only: keep one"
            )
    return EntityRow(place, text, spans)


def _read_span(entity: object, text: str) -> Span | str:
    """The span, or what is wrong with it."""
    if isinstance(entity, dict):
        missing = [name for name in Span._fields if name not in entity]
        if missing:
            return f"no {missing[0]!r}"
        entity = [entity[name] for name in Span._fields]
    if not isinstance(entity, list) or len(entity) != 3:
        return 'must be {"start": 0, "end": 5, "label": "..."} or [0, 5, "..."]'
    start, end, label = entity
    for name, value in (("start", start), ("end", end)):
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{name} must be a whole number, not {value!r}"
    if not isinstance(label, str) or not label.strip() or text_fault(label):
        return f"label must be a name, not {label!r}"
    if not 0 <= start <= end <= len(text):
        return f"{start} to {end} is outside the text, which has {len(text)} characters{_unit_hint(text, end)}"
    inner = text[start:end]
    if not inner.strip():
        return f"{start} to {end} is empty{'' if start == end else ': white space only'}"
    for position in (start, end):
        if _cuts_character(text, position):
            around = text[max(position - 2, 0) : position + 2]
            return f"{start} to {end} cuts the character at {position} in {around!r} apart{_unit_hint(text, end)}"
    return Span(start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip()), label.strip())


def _cuts_character(text: str, position: int) -> bool:
    """True when what a reader sees as one character has code points on both sides of `position`."""
    if not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    if before.isspace():
        return False
    if after == _JOINER or before == _JOINER or ord(after) in _SKIN_TONES:
        return True
    if ord(after) in _FLAGS and ord(before) in _FLAGS:
        head = text[:position]
        return (len(head) - len(head.rstrip("".join(map(chr, _FLAGS))))) % 2 == 1
    return unicodedata.category(after) in ("Mn", "Me")


def _unit_hint(text: str, end: int) -> str:
    if end <= len(text.encode("utf-16-le")) // 2 and any(ord(character) > 0xFFFF for character in text):
        return "; are the offsets counted in UTF-16 units, as JavaScript and Java do? Count code points"
    if len(text) < end <= len(text.encode()):
        return "; are the offsets counted in bytes? Count characters"
    return ""


def _show(span: Span, text: str) -> str:
    return f"{text[span.start : span.end]!r} ({span.start} to {span.end}, {span.label})"
