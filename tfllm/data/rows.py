"""One file -> its rows, each with its place: CSV, TSV, JSON lines and plain text, each plain or gzipped.

In: a path. Out: `Row`s (or numbered lines), and a `BadRow` with line, column and reason where the file is malformed.
A file that cannot be read at all (not text, cut off, no usable header) raises InputError.
"""

import codecs
import contextlib
import csv
import functools
import gzip
import io
import itertools
import json
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError, check_exists
from tfllm.data.encodings import encoding_advice, encoding_name, is_utf_8

log = logging.getLogger("tfllm")

SUFFIXES = {".txt": "text", ".csv": "csv", ".tsv": "tsv", ".jsonl": "json", ".json": "json"}
_LARGEST_FIELD = 2**24  # characters; a field of CSV with more is a quote that is never closed
_FOREIGN = {  # first bytes of files that are not text, and what to do with them
    b"\x1f\x8b": "is gzip-compressed: give it a name that ends in .gz",
    b"PK\x03\x04": "is a zip archive (or an Excel file): unpack it, or save it as CSV, first",
    b"PAR1": "is a Parquet file: convert it to CSV or JSON lines first",
    b"%PDF": "is a PDF: extract its text first",
}
_START = 8192  # bytes that tell whether a file is text
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\x1b"))  # hardly ever in text; \x1b is in some encodings
_TOLD_BYTE = re.compile(r"\bbyte 0x\w\w is not valid")  # what `text_fault` says of it
_BYTE = re.compile("[\udc80-\udcff]")  # what `open_text` makes of a byte that could not be decoded


class Row(NamedTuple):
    """One row: its place (`reviews.csv:42`, the line where it starts) and its cells by column name."""

    place: str
    cells: dict[str, object]


class BadRow(NamedTuple):
    """One row that cannot be used: where, in which column ('' when the whole row is meant), and why."""

    place: str
    column: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


def file_kind(path: Path) -> str | None:
    """'text', 'csv', 'tsv' or 'json' by the file's suffix (before `.gz`); None for any other."""
    return SUFFIXES.get(Path(path.name.removesuffix(".gz")).suffix.lower())


@contextlib.contextmanager
def open_text(path: Path, encoding: str = "utf-8", newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    """Open a text file, gzipped if its name ends in `.gz`, without its byte order mark.

    Bytes that are not valid in `encoding` come out as lone surrogates, which `text_fault` reports.

    Raises:
        InputError: no such file, not text, not gzip, cut off, or the encoding is unknown.
    """
    check_exists(path)
    check_encoding(encoding)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
            stream.read(_check_start(path, stream.peek(_START)[:_START], encoding))
            with io.TextIOWrapper(stream, encoding, "surrogateescape", newline) as text:
                yield text
    except (EOFError, zlib.error):
        raise InputError(f"{path}: the gzip data is cut off or damaged. Copy or compress the file again.") from None
    except gzip.BadGzipFile:
        raise InputError(f"{path} is not gzip data, though its name ends in .gz. Rename it.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid {encoding} text: {error.reason}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None


def check_encoding(encoding: str) -> None:
    """Raise InputError unless Python knows this text encoding."""
    try:
        "".encode(encoding)
    except LookupError:
        raise InputError(f"`encoding` {encoding!r} is unknown. Usual ones: utf-8, latin-1, gb18030, utf-16.") from None


def text_fault(text: str, encoding: str | None = None) -> tuple[int, str] | None:
    """Position and reason of the first character no model input may hold, or None.

    Such are NUL, bytes that could not be decoded, and halves of surrogate pairs from JSON escapes. The reason names the
    `encoding` that the text was read in, if it is known here.
    """
    position = text.find("\0")
    if position >= 0:
        return position, "NUL byte"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            name = encoding_name(encoding) if encoding else "in the encoding of the file"
            return error.start, f"byte 0x{code - 0xDC00:02x} is not valid {name}"
        return error.start, f"\\u{code:04x} is half of a surrogate pair"
    return None


def read_lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The non-blank lines of a text file with their numbers, counted from 1; LF, CRLF and CR all end a line."""
    with open_text(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                yield number, line.rstrip("\n")


def read_rows(path: Path, encoding: str = "utf-8", header: bool = True) -> Iterator[Row | BadRow]:
    """The rows of a CSV, TSV or JSON lines file; any other file is read as TSV. Blank lines are skipped.

    CSV follows RFC 4180; semicolons part its cells where the header has more of them than commas. TSV has no quoting:
    a quote is an ordinary character and one line is one row.
    Without a header the columns are named '0', '1', ... . A row with a byte that cannot be decoded is bad, whichever
    column it stands in: the encoding is wrong, or the file is damaged.

    Raises:
        InputError: the file cannot be read, or its header is unusable.
    """
    kind = file_kind(path) or "text"
    if kind == "json":
        return _json_rows(path, encoding)
    cells = _csv_cells(path, encoding, header) if kind == "csv" else _tsv_cells(path, encoding)
    return _named_rows(path, cells, header, encoding)


def _check_start(path: Path, start: bytes, encoding: str) -> int:
    """Refuse files that are not text; how many bytes a byte order mark takes, which is to be left out."""
    for magic, reason in _FOREIGN.items():
        if start.startswith(magic):
            raise InputError(f"{path} {reason}.")
    if is_utf_8(encoding) and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is UTF-16. Save it as UTF-8, or say so: encoding='utf-16' (--encoding utf-16).")
    if not is_utf_8(encoding) and start.startswith(codecs.BOM_UTF8):
        raise InputError(f"{path} begins with the byte order mark of UTF-8: leave out the encoding {encoding!r}.")
    controls = len(start) - len(start.translate(None, _CONTROLS))
    if controls > max(8, len(start) / 20) and len("a".encode(encoding)) == 1:  # the others have NULs of their own
        raise InputError(f"{path} is not text: {controls} of its first {len(start)} bytes are control characters.")
    mark = "\ufeff".encode("utf-8" if is_utf_8(encoding) else encoding, "ignore")
    if not mark or not start.startswith(mark):  # in UTF-16 without a byte order, it is no mark but a part of the format
        return 0
    _tell_of_mark(path)
    return len(mark)


@functools.lru_cache(maxsize=1000)  # once a file, however often it is opened
def _tell_of_mark(path: Path) -> None:
    log.warning("%s begins with a byte order mark, which is left out.", path)


def _csv_cells(path: Path, encoding: str, header: bool) -> Iterator[tuple[int, list[str] | str]]:
    """Line number where each row starts, and its cells or what is wrong with it."""
    csv.field_size_limit(_LARGEST_FIELD)
    with open_text(path, encoding, newline="") as lines:
        first = next(lines, "")
        delimiter = _delimiter(first) if header else ","
        row = []  # the lines of the row that is read
        numbered = (row.append(line) or line for line in itertools.chain([first], lines))
        reader = csv.reader(numbered, strict=True, delimiter=delimiter)
        while True:
            line = reader.line_num + 1
            row.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, _csv_fault(str(error), row, line, delimiter)
                continue
            if cells:
                yield line, cells


def _delimiter(header: str) -> str:
    """What parts columns, by the first line: commas, or semicolons, as Excel writes in much of Europe."""
    names = re.sub(r'"[^"]*"', "", header)
    return ";" if names.count(";") > names.count(",") else ","


def _csv_fault(error: str, row: list[str], first: int, delimiter: str) -> str:
    """What is wrong with the lines of a row, of which the first has this number."""
    last, opened = first + len(row) - 1, first + _open_quote(row, delimiter)
    if error == "unexpected end of data":
        return f"the quote that opens in line {opened} is never closed; the row swallows everything up to line {last}"
    if "field limit" in error and last > first:
        return (
            f"the quote that opens in line {opened} is not closed within {_LARGEST_FIELD:,} characters; lines {first} "
            f"to {last} are lost, and reading goes on after them"
        )
    if "field limit" in error:
        return f"a field has more than {_LARGEST_FIELD:,} characters; the line is lost"
    if "expected after" not in error:
        return f"{error} (the row spans lines {first} to {last})" if last > first else error
    if last > opened:
        return (
            f"the quote that opens in line {opened} is not closed there; the next quote, in line {last}, ends the "
            "field, and text follows it. Close it, or double a quote that stands inside a quoted field"
        )
    return "text follows a closing quote; double a quote that stands inside a quoted field"


def _open_quote(row: list[str], delimiter: str) -> int:
    """In which line of a row its last quoted field begins; text after a closing quote ends the search."""
    ends = f"{delimiter}\r\n"
    opened, quoted, begins, closed = 0, False, True, False
    for number, line in enumerate(row):
        for character in line:
            if quoted:
                quoted, closed = character != '"', character == '"'
            elif closed and character == '"':  # a doubled one
                quoted, closed = True, False
            elif closed and character not in ends:
                return opened
            elif begins and character == '"':
                opened, quoted = number, True
            else:
                closed = False
            begins = not quoted and character in ends
    return opened


def _tsv_cells(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path, encoding):
        yield number, line.split("\t")


def _named_rows(
    path: Path, rows: Iterator[tuple[int, list[str] | str]], header: bool, encoding: str
) -> Iterator[Row | BadRow]:
    columns = None
    for line, cells in rows:
        place = f"{path}:{line}"
        if isinstance(cells, str):
            if columns is None and header:
                raise InputError(f"{place}: the header cannot be read: {cells}.")
            yield BadRow(place, "", cells)
        elif columns is None:
            numbers = [str(number) for number in range(len(cells))]
            if header and any(map(_BYTE.search, cells)):
                raise InputError(encoding_advice(path, encoding))
            columns = _column_names(place, cells) if header else numbers
            if not header and cells != numbers:  # pandas writes the numbers themselves as the header
                yield _row(place, columns, cells, encoding)
        elif len(cells) != len(columns):
            yield BadRow(place, "", _wrong_count(len(cells), len(columns), cells[-1]))
        else:
            yield _row(place, columns, cells, encoding)


def _row(place: str, columns: list[str], cells: list[str], encoding: str) -> Row | BadRow:
    """A row, or its first cell that could not be decoded."""
    for column, cell in zip(columns, cells, strict=True):
        if _BYTE.search(cell):
            return BadRow(place, column, _byte_fault(cell, encoding))
    return Row(place, dict(zip(columns, cells, strict=True)))


def tells_of_byte(reason: str) -> bool:
    """Whether a reason of `text_fault` is a byte that could not be decoded."""
    return _TOLD_BYTE.search(reason) is not None


def _byte_fault(text: str, encoding: str) -> str:
    position, reason = text_fault(text.replace("\0", " "), encoding)
    return f"{reason}, at character {position + 1}"


def _column_names(place: str, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise InputError(f"{place}: column {number}: the header names {name!r} twice. Rename one of the two.")
        if not name and number > 1:  # the first may be unnamed: pandas writes its index so
            raise InputError(f"{place}: column {number}: the header has no name here (a trailing comma or tab?).")
    if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
        raise InputError(f"{place}: the only column is {names[0]!r}. Separate columns by commas (.csv) or tabs (.tsv).")
    return names


def _wrong_count(found: int, expected: int, last: str) -> str:
    reason = f"{found} {'column' if found == 1 else 'columns'} where {expected} are expected"
    if found == expected + 1 and not last.strip():
        return f"{reason}: a trailing comma or tab"
    return reason


def _json_rows(path: Path, encoding: str) -> Iterator[Row | BadRow]:
    for position, (number, line) in enumerate(read_lines(path, encoding)):
        place = f"{path}:{number}"
        if position == 0 and (line.strip() in ("[", "{") or line.lstrip().startswith("[{")):
            raise InputError(f"{place}: not JSON lines. Write one object a line: jq -c '.[]' FILE > NEW_FILE.")
        if _BYTE.search(line):
            yield BadRow(place, "", _byte_fault(line, encoding))
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield BadRow(place, "", f"not JSON: {error.msg} at character {error.colno}")
            continue
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists nested 10,000 deep
            yield BadRow(place, "", f"not readable as JSON: {error}")
            continue
        if isinstance(value, dict):
            yield Row(place, value)
        else:
            yield BadRow(place, "", f"must be a JSON object, not a {json_type(value)}")


def json_type(value: object) -> str:
    """What JSON calls the type of a parsed value."""
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null")
