"""Labelled rows: CSV, TSV, JSON lines, TFDS, or a directory whose sub-folders are the labels -> `Table`.

Every malformed row is found and named by file, line, column and reason before anything is trained.
"""

import functools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tfllm.checks import InputError, check_one_of, nearest_or_all
from tfllm.data.rows import BadRow, Row, check_encoding, file_kind, json_type, open_text, read_rows
from tfllm.data.sources import (
    bad_rows_error,
    cell_text,
    check_apart,
    check_column,
    choose_text_column,
    column_name,
    describe_columns,
    expand_paths,
    has_header,
    named_path,
)
from tfllm.data.tfds import TfdsSource, read_tfds_rows

log = logging.getLogger("tfllm")
_MOST_DIGITS = 4300  # of a number that Python reads
ReadLabel = Callable[[dict[str, object], str], tuple[Any, str]]  # (cells, column) -> a label, and what is wrong with it


@dataclass
class Table:
    """Rows as columns: entry i of each list belongs to row i.

    Attributes:
        texts: the text (or first text of a pair); never blank.
        pairs: the second text, or None when no column was asked for.
        labels: the label as written ('1' stays '1'), or what `read_label` made of it, or None when there is no label
            column.
        places: where each row starts: `reviews.csv:42`, `pos/cv003.txt`, `tfds:NAME:SPLIT:INDEX`.
        bad_rows: the rows left out under 'skip' and 'collect'.
        columns: all that the first file has, also those that were not read.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: list | None
    places: list[str]
    bad_rows: list[BadRow] = field(default_factory=list)
    columns: list[str] = field(default_factory=list, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Sequence[int]) -> "Table":
        """A table of these rows, in this order, without bad rows."""
        lists = (self.texts, self.pairs, self.labels, self.places)
        return Table(*(None if values is None else [values[index] for index in indices] for values in lists))


class _Columns(NamedTuple):
    """Names of the columns to read; None = not read, or not chosen yet."""

    text: str | None
    pair: str | None
    label: str | None


def read_table(
    paths: str | Path | Sequence[str | Path],
    *,
    text: str | int | None = None,
    text_pair: str | int | None = None,
    label: str | int | None = None,
    labels: Sequence[str] | None = None,
    read_label: ReadLabel | None = None,
    label_needed: bool = False,
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    data_dir: str | Path | None = None,
) -> Table:
    """Read labelled rows.

    Args:
        paths: files, globs, directories, `tfds:NAME[:SPLIT]`. A directory that holds sub-folders with .txt files, and
            no tables, is read as: sub-folder name = label, one file = one text. Other .txt files are read as TSV.
        text, text_pair, label: column names. Numbers (0, '1') mean that the file has no header row. `text` defaults
            to the column `text` or another usual name if only one fits; `label` to the column `label` if there is one.
        labels: the label names allowed; None allows any.
        read_label: makes a label of a row's cells, where it is no name: several names, a number.
        label_needed: rows without a label column are an error.
        encoding: of all files.
        on_bad_rows: 'error' = raise and name the first five; 'skip' = leave them out with one warning;
            'collect' = leave them out silently. Both keep them in `bad_rows`.
        data_dir: where TFDS data sets are prepared.

    Raises:
        InputError: nothing is found, a file cannot be read, a column is missing, rows are bad, or none is left.
    """
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    check_encoding(encoding)
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    read_label = read_label or functools.partial(label_name, labels=labels)
    table, columns, wanted = Table([], [], [], []), None, _Columns(*map(column_name, (text, text_pair, label)))
    for source, rows in _row_sources(paths, has_header(wanted), encoding, data_dir):
        columns = _read_source(table, source, rows, columns, wanted, read_label)
        if label_needed and columns and not columns.label:  # told before rows that are bad, too
            raise InputError(
                f"{source}: no column 'label'. Name the one that holds the labels: --label COLUMN. "
                f"{describe_columns(table.columns)}"
            )
    _check_bad_rows(table, on_bad_rows, encoding)
    if not table.texts and table.bad_rows:
        raise bad_rows_error(table.bad_rows, f"All {len(table.bad_rows)} rows are bad.", encoding)
    if not table.texts:
        raise InputError(
            f"No usable row in {', '.join(map(str, paths[:5]))}. The first line of a CSV or TSV is its header."
        )
    return Table(
        table.texts,
        table.pairs if columns.pair else None,
        table.labels if columns.label else None,
        table.places,
        table.bad_rows,
        table.columns,
    )


def _row_sources(
    paths: Sequence[str | Path], header: bool, encoding: str, data_dir: str | Path | None
) -> Iterator[tuple[str, Iterator[Row | BadRow]]]:
    """Each source's name and rows."""
    folders = [path for path in paths if is_labelled_folder(path)]
    for folder in folders:
        yield str(folder), _folder_rows(named_path(folder), encoding)
    others = [path for path in paths if path not in folders]
    for source in expand_paths(others) if others or not folders else ():
        if isinstance(source, TfdsSource):
            yield str(source), read_tfds_rows(source, data_dir)
        else:
            yield str(source), read_rows(source, encoding, header)


def is_labelled_folder(path: str | Path) -> bool:
    """True for a directory whose sub-folders hold .txt files and that holds no table."""
    folder = named_path(path)
    if not folder.is_dir():
        return False
    kinds = {(file_kind(file), file.parent == folder) for file in expand_paths(folder)}
    return {kind for kind, _ in kinds} == {"text"} and ("text", False) in kinds


def _folder_rows(folder: Path, encoding: str) -> Iterator[Row]:
    for file in expand_paths(folder):
        if file.parent == folder:
            log.warning("%s is left out: it stands beside the folders that name the labels.", file)
            continue
        with open_text(file, encoding) as stream:
            text = stream.read().strip()
        yield Row(str(file), {"text": text, "label": file.relative_to(folder).parts[0]})


def _read_source(
    table: Table,
    source: str,
    rows: Iterator[Row | BadRow],
    columns: _Columns | None,
    wanted: _Columns,
    read_label: ReadLabel,
) -> _Columns | None:
    """Append one source's rows to `table`; the columns they were read from, which the first source decides."""
    checked, bad_before = False, len(table.bad_rows)
    for row in rows:
        if isinstance(row, BadRow):
            table.bad_rows.append(row)
            continue
        if not checked:
            table.columns = table.columns or list(row.cells)
            columns = columns or _choose_columns(source, list(row.cells), wanted)
            for name in columns:
                if name is not None:
                    check_column(name, list(row.cells), source)
            checked = True
        bad = _append(table, row, columns, read_label)
        if bad:
            table.bad_rows.append(bad)
    if not checked and len(table.bad_rows) == bad_before:  # what is wrong with bad ones is told
        log.warning("%s holds no usable row.", source)
    return columns


def _choose_columns(source: str, found: list[str], wanted: _Columns) -> _Columns:
    """The wanted columns, with defaults for the text and the label."""
    texts = (wanted.text, wanted.pair)
    label = wanted.label or next((name for name in found if name.casefold() == "label" and name not in texts), None)
    text = wanted.text or choose_text_column([name for name in found if name != label], source)
    check_apart([text, wanted.pair, wanted.label])
    return _Columns(text, wanted.pair, label)


def _append(table: Table, row: Row, columns: _Columns, read_label: ReadLabel) -> BadRow | None:
    """Append a good row to `table`; a bad one comes back instead."""
    text, reason = cell_text(row.cells, columns.text)
    if reason:
        return BadRow(row.place, columns.text, reason)
    pair = label = ""
    if columns.pair:
        pair, reason = cell_text(row.cells, columns.pair)
        if reason:
            return BadRow(row.place, columns.pair, reason)
    if columns.label:
        label, reason = read_label(row.cells, columns.label)
        if reason:
            return BadRow(row.place, columns.label, reason)
    table.texts.append(text)
    table.pairs.append(pair)
    table.labels.append(label)
    table.places.append(row.place)
    return None


def label_name(cells: dict[str, object], column: str, labels: Sequence[str] | None = None) -> tuple[str, str]:
    """A label without blanks around it, and what is wrong with it ('' when it is good)."""
    value = cells.get(column)
    if isinstance(value, bool | list | dict):
        return "", f"must be a string or a number, not a {json_type(value)}"
    label, reason = cell_text({**cells, column: str(value)} if isinstance(value, int | float) else cells, column)
    label = label.strip()
    if not reason and len(label) > _MOST_DIGITS and label.isdecimal():
        return "", f"a number of {len(label):,} digits is no label"
    if not reason and labels is not None and label not in labels:
        return "", f"{label!r} is not one of the labels{nearest_or_all(label, labels)}"
    return label, reason


def write_bad_rows(bad_rows: Sequence[BadRow], path: str | Path) -> None:
    """Write bad rows as JSON lines with `place`, `column` and `reason`."""
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as stream:  # names of files may be no text
        stream.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in bad_rows)


def _check_bad_rows(table: Table, on_bad_rows: str, encoding: str) -> None:
    bad, total = table.bad_rows, len(table.bad_rows) + len(table)
    if bad and on_bad_rows == "error":
        remedy = "Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip)."
        raise bad_rows_error(bad, f"{len(bad)} of {total} rows are bad. {remedy}", encoding)
    if bad and on_bad_rows == "skip":
        log.warning("%d of %d rows were bad and left out; the first: %s", len(bad), total, bad[0])
