"""Which files are meant, and their raw text.

In: paths as a user writes them: files, globs, directories, `tfds:NAME[:SPLIT]`. Out: the files; or their texts one by
one, in constant memory however large the corpus is.
"""

import contextlib
import glob
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tfllm.checks import InputError, check_one_of, did_you_mean, did_you_mean_beside
from tfllm.data.encodings import encoding_advice
from tfllm.data.rows import (
    SUFFIXES,
    BadRow,
    Row,
    check_encoding,
    file_kind,
    json_type,
    open_text,
    read_lines,
    read_rows,
    tells_of_byte,
    text_fault,
)
from tfllm.data.tfds import TfdsSource, parse_tfds, read_tfds_rows

log = logging.getLogger("tfllm")

TEXT_NAMES = ("text", "sentence", "review", "content", "comment", "文本", "内容", "评论")


def expand_paths(paths: str | Path | Sequence[str | Path]) -> list[Path | TfdsSource]:
    """The files that `paths` mean, sorted, each once.

    Args:
        paths: one or several of: a file; a glob (`corpus/**/*.txt`); a directory, searched recursively for .txt, .csv,
            .tsv, .jsonl and .json files, also with .gz, hidden ones left out; `tfds:NAME[:SPLIT]`, parsed only.

    Raises:
        InputError: one of them names nothing that is there.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise InputError("No file was named. Name a file, a glob, a directory or tfds:NAME.")
    found = {source for path in paths for source in _expand(path)}
    return sorted(found, key=str)


def named_path(path: str | Path) -> Path:
    """A path as users write it, where `~` is their home; InputError for an empty name, which is no name of `.`."""
    if not str(path).strip():
        raise InputError("The name of a file or directory is empty: is a variable of the shell not set?")
    with contextlib.suppress(RuntimeError):  # ~somebody who is not there: a name like others
        return Path(path).expanduser()
    return Path(path)


def read_texts(
    paths: str | Path | Sequence[str | Path],
    text_column: str | int | None = None,
    *,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    data_dir: str | Path | None = None,
) -> Iterator[str]:
    """Stream the documents of a corpus, in the sorted order of its files and in constant memory.

    Args:
        paths: as `expand_paths` takes them. Files with an unknown suffix are read as plain text.
        text_column: the column of CSV, TSV, JSON lines and TFDS that holds the text; a number (0, '0') means that
            the file has no header. Default: the only column, else `text` or another of `TEXT_NAMES`.
        document: 'line' = each line of a plain text file is a document; 'file' = each file is one.
        encoding: of all files.
        on_bad_rows: 'error' = raise at the first bad one; 'skip' = leave them out and log how many.
        data_dir: where TFDS data sets are prepared.

    Yields:
        Non-blank texts.

    Raises:
        InputError: nothing is found, a file cannot be read, a document is malformed, or there is no document.
    """
    check_reading(expand_paths(paths), text_column, document, on_bad_rows)
    documents = read_documents(paths, text_column, document=document, encoding=encoding, data_dir=data_dir)
    return _good_texts(documents, on_bad_rows, encoding)


def read_documents(
    paths: str | Path | Sequence[str | Path],
    text_column: str | int | None = None,
    *,
    document: str = "line",
    encoding: str = "utf-8",
    data_dir: str | Path | None = None,
) -> Iterator[str | BadRow]:
    """`read_texts` with malformed documents as `BadRow`s in their places; plain text gives them line and character."""
    check_one_of("document", document, ("line", "file"))
    check_encoding(encoding)
    sources, column = expand_paths(paths), column_name(text_column)
    return (found for source in sources for found in _read_source(source, column, document, encoding, data_dir))


def check_reading(
    sources: Sequence[Path | TfdsSource], text_column: str | int | None, document: str, on_bad_rows: str
) -> None:
    """Raise InputError for arguments of `read_texts` that are unknown, or that none of the sources would read."""
    check_one_of("document", document, ("line", "file"))
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip"))
    plain = [is_plain_text(source) for source in sources]
    if text_column is not None and all(plain):
        raise InputError(
            f"`text_column` (--text) names a column, and plain text has none: leave it out, or give {sources[0]} a "
            f"name that ends in .csv, .tsv or .jsonl. Received: {text_column!r}."
        )
    if document == "file" and not any(plain):
        raise InputError(
            f"`document` (--document) 'file' is for plain text, and {sources[0]} has rows, each a document: leave it "
            "out."
        )


def is_plain_text(source: Path | TfdsSource) -> bool:
    """Whether `read_texts` takes a source for lines, or one document, not for rows with columns."""
    return isinstance(source, Path) and file_kind(source) in (None, "text")


def choose_text_column(columns: Sequence[str], place: str) -> str:
    """The column that holds the text when the user names none; InputError lists the columns when it is not clear."""
    if len(columns) == 1:
        return columns[0]
    usual = [column for column in columns if column.casefold() in TEXT_NAMES]
    exact = [column for column in usual if column.casefold() == "text"]
    if len(exact or usual) == 1:
        return (exact or usual)[0]
    raise InputError(f"{place}: which column holds the text? Name it (--text). {describe_columns(columns)}")


def column_name(column: str | int | None) -> str | None:
    """A column as files name it: its number, which Python callers may give as an int, as a string."""
    return None if column is None else str(column)


def check_column(name: str, columns: Sequence[str], place: str) -> None:
    """Raise InputError, which lists the columns, unless `name` is one of them."""
    if name not in columns:
        raise InputError(f"{place}: no column {name!r}{did_you_mean(name, columns)}. {describe_columns(columns)}")


def check_apart(columns: Sequence[str | None]) -> None:
    """Raise InputError where a column is named for two things, as a text and its label are; None is none."""
    named = [column for column in columns if column is not None]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice is not None:
        raise InputError(
            f"Column {twice!r} is named twice: texts and what is to be learnt of them stand in columns of their own. "
            f"Received: {', '.join(named)}."
        )


def describe_columns(columns: Sequence[str]) -> str:
    """`Columns: ...` for an error message, with what to do when they look like data."""
    shown = ", ".join(repr(column if len(column) <= 30 else f"{column[:29]}…") for column in columns[:20])
    return f"Columns: {shown}. If the file has no header row, name columns by number: 0, 1, ..."


def has_header(columns: Sequence[str | None]) -> bool:
    """False when the columns are named by number, which means that the file has no header row."""
    named = [column for column in columns if column is not None]
    numbers = [column for column in named if column.isdecimal()]
    if numbers and len(numbers) < len(named):
        raise InputError(f"Name all columns by name, or all by number (no header row). Received: {', '.join(named)}.")
    return not numbers


def cell_text(cells: dict[str, object], column: str) -> tuple[str, str]:
    """One cell that must hold a text, and what is wrong with it ('' when it is good)."""
    if column not in cells:
        return "", f"the column is missing{did_you_mean(column, cells)}"
    value = cells[column]
    if not isinstance(value, str):
        return "", f"must be a string, not a {json_type(value)}" if value is not None else "empty"
    fault = text_fault(value)
    if fault:
        return "", f"{fault[1]}, at character {fault[0] + 1}"
    return value, "" if value.strip() else "empty"


def bad_rows_error(bad: Sequence[BadRow], total: str, encoding: str) -> InputError:
    """The InputError for malformed rows: a wrong encoding if that is it, the first five, how many, what to do."""
    advice = undecodable_advice(bad, encoding)
    return InputError("\n".join([*([advice] if advice else []), *map(str, bad[:5]), total]))


def undecodable_advice(bad: Sequence[BadRow], encoding: str) -> str | None:
    """What to do about the encoding of the first file in which a byte could not be decoded; None if there is none."""
    place = next((row.place for row in bad if tells_of_byte(row.reason)), None)
    return None if place is None else encoding_advice(re.sub(r"(:\d+)*(: .*)?$", "", place), encoding)


def _expand(path: str | Path) -> list[Path | TfdsSource]:
    if isinstance(path, str) and path.startswith("tfds:"):
        return [parse_tfds(path)]
    path = named_path(path)
    if path.exists():
        return _files_of(path)
    if glob.has_magic(str(path)):
        matches = [file for match in glob.glob(str(path), recursive=True) for file in _files_of(Path(match))]
        if not matches:
            raise InputError(f"{path}: no file matches this pattern.")
        return matches
    raise InputError(f"{path}: no such file or directory{did_you_mean_beside(path)}.")


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [file for file in path.rglob("*") if file_kind(file) and file.is_file() and not _hidden(file, path)]
    if not files:
        raise InputError(f"{path}: no file here ends in {', '.join(SUFFIXES)} (or those with .gz).")
    return files


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)


def _read_source(
    source: Path | TfdsSource, text_column: str | None, document: str, encoding: str, data_dir: str | Path | None
) -> Iterator[str | BadRow]:
    if isinstance(source, TfdsSource):
        return _column_texts(source, read_tfds_rows(source, data_dir), text_column)
    if is_plain_text(source):
        return _file_text(source, encoding) if document == "file" else _line_texts(source, encoding)
    return _column_texts(source, read_rows(source, encoding, has_header([text_column])), text_column)


def _line_texts(path: Path, encoding: str) -> Iterator[str | BadRow]:
    for number, line in read_lines(path, encoding):
        fault = text_fault(line, encoding)
        yield BadRow(f"{path}:{number}:{fault[0] + 1}", "", fault[1]) if fault else line


def _file_text(path: Path, encoding: str) -> Iterator[str | BadRow]:
    with open_text(path, encoding) as stream:
        text = stream.read().strip()
    fault = text_fault(text, encoding)
    if fault:
        before = text[: fault[0]]
        place = f"{path}:{before.count(chr(10)) + 1}:{fault[0] - before.rfind(chr(10))}"
        yield BadRow(place, "", fault[1])
    elif text:
        yield text


def _column_texts(
    source: Path | TfdsSource, rows: Iterator[Row | BadRow], column: str | None
) -> Iterator[str | BadRow]:
    checked = False
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        if not checked:
            columns = list(row.cells)
            if column is None:
                column = choose_text_column(columns, str(source))
            check_column(column, columns, str(source))
            checked = True
        text, reason = cell_text(row.cells, column)
        if not reason:
            yield text
        elif reason != "empty":  # a blank cell is a blank line: no document
            yield BadRow(row.place, column, reason)


def _good_texts(documents: Iterator[str | BadRow], on_bad_rows: str, encoding: str) -> Iterator[str]:
    good = bad = 0
    for document in documents:
        if isinstance(document, str):
            good += 1
            yield document
        elif on_bad_rows == "error":
            remedy = "Mend it, or leave such documents out: on_bad_rows='skip' (--on-bad-rows skip)."
            raise bad_rows_error([document], remedy, encoding)
        else:
            bad += 1
            if bad == 1:
                log.warning("left out: %s", document)
    if bad:
        log.warning("%d of %d documents were malformed and left out", bad, bad + good)
    if not good:
        raise InputError("There is no document: every line is blank or malformed.")
