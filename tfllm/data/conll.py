"""Files with one word a line -> sentences: CoNLL columns of any order, and CoNLL-U.

In: a path. Out: `Sentence`s with their text, the place of every word in it and its tag as written, or `BadRow`s.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError, check_one_of
from tfllm.data.rows import BadRow, open_text, text_fault
from tfllm.data.sources import check_apart
from tfllm.data.tag_schemes import are_entity_tags

_LISTED = 10_000  # lines looked at to find out the columns
_CONLLU_COLUMNS = 10
_CONLLU_TAGS = {"upos": 3, "xpos": 4}
_TEXT_COMMENT = re.compile(r"#\s*text\s*=\s*(.*)")
# Scripts written without spaces: Thai, Lao, Burmese, Khmer, kana, ideographs. Hangul is written with spaces.
_NO_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]"
)


class Sentence(NamedTuple):
    """One sentence: where it begins (`file:line`), its text, and of each word its characters, tag and place."""

    place: str
    text: str
    words: list[tuple[int, int]]
    tags: list[str]
    places: list[str]


class _Word(NamedTuple):
    """A token of the text: its place, form, whether a space follows, and the (form, tag) of the words it is made of."""

    place: str
    form: str
    space: bool
    parts: list[tuple[str, str]]


class _Block(NamedTuple):
    """Lines between blank lines, comments apart: (number, line) each, and the text that a comment gives."""

    lines: list[tuple[int, str]]
    text: str | None


def read_columns(
    path: Path, word: int | None = None, tag: int | None = None, encoding: str = "utf-8"
) -> Iterator[Sentence | BadRow]:
    """The sentences of a file with one word a line, in columns separated by tabs or else by spaces.

    Blank lines and `-DOCSTART-` lines end a sentence. A line that begins with `#` is a comment only where it cannot be
    a word: it has no tab in a file of tabs; in a file of spaces it stands before a sentence's first word and has
    another number of columns. The words are found in a comment `# text = ...` if there is one; otherwise one space
    stands between them, or none if most letters of the file are of a script written without (Chinese, Japanese, Thai).

    Args:
        word, tag: numbers of the columns, from 0. Default: the first column that is not a running number; the last one
            that holds entity tags in every line, or else the last one.

    Raises:
        InputError: the file cannot be read, or has no such columns.
    """
    lines = [(number, line) for number, line in _lines(path, encoding)]
    tabs = any("\t" in line for _, line in lines[:_LISTED] if line and not line.startswith("#"))
    split = _split_tabs if tabs else _split_spaces
    width = _width(path, [split(line) for _, line in lines[:_LISTED] if line and not line.startswith("#")])
    blocks = list(_blocks(lines, lambda line, begun: _is_comment(line, begun, width, split if not tabs else None)))
    word, tag = _choose_columns(path, [split(line) for block in blocks for _, line in block.lines], width, word, tag)
    sentences = [_column_words(path, block, split, width, word, tag, encoding) for block in blocks]
    letters = "".join(one.form for found in sentences if isinstance(found, list) for one in found)
    spaces = 2 * len(_NO_SPACES.findall(letters)) <= sum(map(str.isalpha, letters))
    for block, words in zip(blocks, sentences, strict=True):
        yield words if isinstance(words, BadRow) else _sentence(words, block.text, spaces)


def read_conllu(path: Path, tag: str = "upos", encoding: str = "utf-8") -> Iterator[Sentence | BadRow]:
    """The sentences of a CoNLL-U file, with the text as it was: `# text = ...`, or by `SpaceAfter=No`.

    A token of several words ("don't" = "do" + "n't") gives each word its characters; where the words do not spell
    the token ("du" = "de" + "le"), it is one word with all tags ("ADP+DET"). Empty nodes (8.1) are left out.

    Args:
        tag: "upos" or "xpos".

    Source: https://universaldependencies.org/format.html.
    """
    check_one_of("label", tag.lower(), _CONLLU_TAGS)
    for block in _blocks(_lines(path, encoding), lambda line, begun: line.startswith("#")):
        words = _conllu_words(path, block, _CONLLU_TAGS[tag.lower()], encoding)
        yield words if isinstance(words, BadRow) else _sentence(words, block.text, True)


def find_words(forms: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where the words stand in a text that is made of them and white space; None if it is not."""
    places, position = [], 0
    for form in forms:
        while text[position : position + 1].isspace() and not text.startswith(form, position):
            position += 1
        if not text.startswith(form, position):
            return None
        places.append((position, position + len(form)))
        position += len(form)
    return None if text[position:].strip() else places


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Every line with its number; a blank one is ''. Only ASCII white space counts: a word may be a NO-BREAK SPACE."""
    with open_text(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            yield number, line.rstrip("\r\n") if line.strip(" \t\r\n") else ""


def _blocks(lines, is_comment) -> Iterator[_Block]:
    """`is_comment(line, begun)` says whether a line is one; `begun` is True after the sentence's first word."""
    block, text = [], None
    for number, line in lines:
        if not line or line.startswith("-DOCSTART-"):
            if block:
                yield _Block(block, text)
            block, text = [], None
        elif is_comment(line, bool(block)):
            found = _TEXT_COMMENT.fullmatch(line)
            text = found[1] if found else text
        else:
            block.append((number, line))
    if block:
        yield _Block(block, text)


def _split_tabs(line: str) -> list[str]:
    return [cell.strip(" ") for cell in line.split("\t")]


def _split_spaces(line: str) -> list[str]:
    return [cell for cell in line.split(" ") if cell]


def _width(path: Path, rows: list[list[str]]) -> int:
    """The number of columns most lines have."""
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    if width < 2:
        raise InputError(
            f"{path}: no columns. Each line must be a word and its tag, separated by a tab or a space, and blank lines "
            "must stand between sentences."
        )
    return width


def _is_comment(line: str, begun: bool, width: int, split) -> bool:
    if not line.startswith("#"):
        return False
    return "\t" not in line if split is None else not begun and len(split(line)) != width


def _choose_columns(
    path: Path, rows: list[list[str]], width: int, word: int | None, tag: int | None
) -> tuple[int, int]:
    for name, number in (("text", word), ("label", tag)):
        if number is not None and not 0 <= number < width:
            raise InputError(f"{path}: no column {number} for the {name}. The columns are 0 to {width - 1}.")
    full = [row for row in rows if len(row) == width]
    if word is None:
        word = 1 if width > 2 and all(row[0].isdecimal() for row in full) else 0
    if tag is None:
        columns = [number for number in range(width) if number != word]
        tagged = [number for number in columns if are_entity_tags([row[number] for row in full])]
        tag = (tagged or columns)[-1]
    check_apart([str(word), str(tag)])
    return word, tag


def _column_words(
    path: Path, block: _Block, split, width: int, word: int, tag: int, encoding: str
) -> list[_Word] | BadRow:
    words = []
    for number, line in block.lines:
        place, cells = f"{path}:{number}", split(line)
        if len(cells) != width:
            reason = "a word without a tag" if len(cells) == 1 else f"{len(cells)} columns where others have {width}"
            return BadRow(place, "", f"{reason}: {line[:60]!r}")
        fault = text_fault(line, encoding)
        if fault or not cells[word] or not cells[tag]:
            reason = f"{fault[1]}, at character {fault[0] + 1}" if fault else "empty"
            return BadRow(place, str(word if fault or not cells[word] else tag), reason)
        words.append(_Word(place, cells[word], True, [(cells[word], cells[tag])]))
    return words


def _conllu_words(path: Path, block: _Block, tag: int, encoding: str) -> list[_Word] | BadRow:
    words, inside = [], 0  # `inside`: the last id of the token of several words that is being read
    for number, line in block.lines:
        place, cells = f"{path}:{number}", line.split("\t")
        if len(cells) != _CONLLU_COLUMNS:
            return BadRow(place, "", f"{len(cells)} columns where CoNLL-U has 10, separated by tabs")
        fault = text_fault(line, encoding)
        if fault:
            return BadRow(place, "", f"{fault[1]}, at character {fault[0] + 1}")
        identity = re.fullmatch(r"(\d+)(?:([-.])(\d+))?", cells[0])
        if not identity:
            return BadRow(place, "ID", f"must be a number, or 1-2, or 1.1, not {cells[0]!r}")
        first, mark, last = identity.groups()
        space = "SpaceAfter=No" not in cells[-1].split("|")
        if not cells[1]:
            return BadRow(place, "FORM", "empty")
        if mark == "-":
            words.append(_Word(place, cells[1], space, []))
            inside = int(last)
        elif not mark:
            if cells[tag] == "_":
                return BadRow(place, "", "a word without a tag: '_'")
            if int(first) > inside:
                words.append(_Word(place, cells[1], space, []))
            words[-1].parts.append((cells[1], cells[tag]))
    lonely = [word for word in words if not word.parts]
    return BadRow(lonely[0].place, "ID", "a token of several words without its words") if lonely else words


def _sentence(words: list[_Word], text: str | None, spaces: bool) -> Sentence:
    places = None if text is None else find_words([word.form for word in words], text)
    if places is None:
        text = "".join(word.form + " " * (spaces and word.space) for word in words[:-1]) + words[-1].form
        places = find_words([word.form for word in words], text)
    found = []  # (characters, tag, place) of every word
    for word, (start, end) in zip(words, places, strict=True):
        if "".join(form for form, _ in word.parts) != word.form:
            found.append(((start, end), "+".join(tag for _, tag in word.parts), word.place))
            continue
        for form, tag in word.parts:
            found.append(((start, start + len(form)), tag, word.place))
            start += len(form)
    return Sentence(words[0].place, text, *map(list, zip(*found, strict=True)))
