"""`tfllm predict`: a model's answers to texts, by a model directory or a SavedModel."""

import codecs
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console

from tfllm import manifest
from tfllm.checks import InputError, check_exists
from tfllm.cli.startup import load_tensorflow
from tfllm.cli.tasks import find_show
from tfllm.cli.tasks.base import split_names

if TYPE_CHECKING:
    from tfllm.data.rows import Row

_TABLES = ("csv", "tsv", "json")  # kinds of files
_TABLE_NAMES = ".csv, .tsv, .jsonl or .json"
_STANDARD_INPUT = "standard input"


def predict(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="Model directory, savedmodels/NAME or savedmodels/NAME/VERSION; with --url its name at that server.",
            show_default=False,
        ),
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", show_default=False, help="A model that asks for two texts takes them in turn."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help=f"Texts, one a line; - reads standard input. A {_TABLE_NAMES} file has a column for each text "
            "the model asks for."
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="--file: column of what the model asks for first. Default: the one it was trained with, which a "
            "server does not tell: with --url name it.",
            metavar="COLUMN",
        ),
    ] = None,
    encoding: Annotated[str, typer.Option(help="--file: utf-8, latin-1, gb18030, utf-16, ...")] = "utf-8",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Run a SavedModel that tfllm cannot vouch for.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Ask a server, TF Serving or `tfllm serve`: http://HOST:8501 or grpc://HOST:8500. MODEL is its name "
            "there."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="With --url: file with the token that server asks for.")
    ] = None,
) -> None:
    """Answer texts: labels, scores, entities, answers, vectors, whatever the model is for."""
    if texts == ["-"]:
        texts, file = [], Path("-")
    texts = [printable(one) for one in texts or []]
    _check_no_files(texts)
    if texts and file is not None:
        raise InputError("Give texts as arguments, or --file, not both.")
    if text is not None and file is None:
        raise InputError("--text names a column of a table: give --file, too.")
    if encoding != "utf-8" and file is None:
        raise InputError("--encoding is that of a file: give --file, too.")
    if file is not None:
        _check_readable(file)
    if not texts and file is None:
        raise InputError(
            "Nothing to answer. Give texts as arguments, --file with one text a line, or - for standard input."
        )

    if token_file is not None and url is None:
        raise InputError("--token-file is for a server: give --url, too.")

    load_tensorflow()
    from tfllm.cli.remote import RemotePredictor
    from tfllm.cli.serve import read_token
    from tfllm.export import Predictor

    if url is None:
        if manifest.is_unfinished(model):
            manifest.read_manifest(model, "model")  # raises, and says what to do
        predictor = Predictor(model, trust=trust)
    else:
        predictor = RemotePredictor(url, str(model), read_token(token_file) if token_file else None)
    trained = predictor.columns if url is None else {}  # a server does not tell
    results = predictor.predict(**_columns(predictor.inputs, texts, _Table(file, encoding, text, trained)))
    console = Console(highlight=False)
    if as_json:
        for result in results:
            console.out(json.dumps(result, ensure_ascii=False))
    else:
        find_show(predictor.task)(results, console)


def _check_readable(file: Path) -> None:
    """Raise InputError for a file that is not there, or a directory; - and pipes are read, too."""
    if str(file) == "-":
        return
    check_exists(file)
    if file.is_dir():
        raise InputError(f"{file} is a directory: give a file.")


def _check_no_files(texts: list[str]) -> None:
    """Refuse the name of a file: hardly anybody wants that answered."""
    found = next(filter(os.path.isfile, texts), None)
    if found is not None:
        raise InputError(
            f"{found!r} is a file: give --file {found} to ask about what stands in it. If the name itself is the text, "
            "write it to standard input, and give - as the text."
        )


class _Table(NamedTuple):
    """A file and how it is read: its encoding, the column of --text, and those of the training."""

    file: Path | None
    encoding: str
    text: str | None
    trained: dict[str, str]


def _columns(names: list[str], texts: list[str], table: _Table) -> dict[str, list]:
    """What the model is asked, by the names it asks for."""
    from tfllm.data.rows import file_kind

    file = table.file
    if file is None:
        if len(texts) % len(names):
            asked = " and ".join(names)
            raise InputError(f"This model asks for {asked}: give them in turn. Received: {len(texts)} texts.")
        return {name: texts[place :: len(names)] for place, name in enumerate(names)}
    if file_kind(file) in _TABLES:
        return _read_columns(table, names)
    if table.text is not None:
        raise InputError(f"{file} is read as one text a line. --text is for tables: {_TABLE_NAMES}.")
    lines = read_lines(file, table.encoding)
    if lines and len(names) > 1:
        raise InputError(f"{file}: this model asks for {' and '.join(names)}: give a {_TABLE_NAMES} file.")
    return {name: list(lines) for name in names}


def _read_columns(table: _Table, names: list[str]) -> dict[str, list]:
    from tfllm.data.rows import BadRow, check_encoding, read_rows
    from tfllm.data.sources import bad_rows_error, check_column, has_header

    check_encoding(table.encoding)
    numbered = table.text is not None and table.text.isdecimal()  # then the file has no header to find names in
    wanted = {} if numbered else {name: [column] for name, column in table.trained.items()}
    wanted |= {"choices": split_names(table.trained["choices"])} if "choices" in wanted else {}
    wanted |= {names[0]: [table.text]} if table.text is not None else {}
    columns, found = {name: [] for name in names}, None
    header = has_header([column for some in wanted.values() for column in some])
    for row in read_rows(table.file, table.encoding, header=header):
        if isinstance(row, BadRow):
            raise bad_rows_error([row], "Mend it.", table.encoding)
        there = list(row.cells)
        if found is None:
            found = {name: _find_columns(name, wanted.get(name), there, table.file) for name in names}
            found |= {names[0]: [table.text]} if table.text is not None else {}
        for name, some in found.items():
            for column in some:
                check_column(column, there, str(table.file))
            columns[name].append(_cell(row, some))
    return columns


def _cell(row: "Row", columns: list[str]) -> str | list[str]:
    """What stands in a column, or in one for each choice."""
    from tfllm.data.multiple_choice import cell_choices
    from tfllm.data.rows import json_type, text_fault

    if len(columns) > 1:
        choices, reason = cell_choices(row.cells, columns)
        if reason:
            raise InputError(f"{row.place}: {', '.join(columns)}: {reason}.")
        return choices
    value = row.cells[columns[0]]
    if value is None or isinstance(value, bool | dict):
        raise InputError(f"{row.place}: {columns[0]}: must be a text, not a {json_type(value)}.")
    texts = (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))
    fault = next(filter(None, map(text_fault, texts)), None)
    if fault:
        raise InputError(f"{row.place}: {columns[0]}: {fault[1]}, at character {fault[0] + 1}.")
    return value if isinstance(value, str | list) else str(value)


def _find_columns(name: str, wanted: list[str] | None, there: list[str], file: Path) -> list[str]:
    """Where what the model asks for stands: in the columns wanted, or that name, or where training would look."""
    from tfllm.data.rows import file_kind
    from tfllm.data.sources import TEXT_NAMES, choose_text_column

    found = next((columns for columns in (wanted, [name]) if columns and set(columns) <= set(there)), None)
    if found is None and name == "text" and wanted is None:
        if len(there) == 1 and file_kind(file) != "json" and there[0].casefold() not in TEXT_NAMES:
            shown = there[0] if len(there[0]) <= 30 else f"{there[0][:29]}…"
            raise InputError(
                f"{file}: its first line, {shown!r}, was taken for the header, and is no usual name of a column. If it "
                "is the header, name it: --text COLUMN. If it is a text: --text 0, or a .txt file with one text a line."
            )
        return [choose_text_column([column for column in there if column.casefold() != "label"], str(file))]
    return found or wanted or [name]


def read_lines(file: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a file, gzipped if its name ends in .gz, or of standard input for "-"."""
    _check_readable(file)
    load_tensorflow()
    from tfllm.data.rows import BadRow, open_text, text_fault
    from tfllm.data.sources import bad_rows_error

    name = _STANDARD_INPUT if str(file) == "-" else file
    with open_text(file, encoding) if str(file) != "-" else _standard_input(encoding) as stream:
        lines = stream.read().split("\n")
    lines = lines if lines[-1] else lines[:-1]
    faults = ((number, text_fault(line, encoding)) for number, line in enumerate(lines, 1))
    bad = [BadRow(f"{name}:{number}:{fault[0] + 1}", "", fault[1]) for number, fault in faults if fault]
    if bad:
        raise bad_rows_error(bad, f"{len(bad)} of {len(lines)} lines are bad. Mend them.", encoding)
    return lines


@contextlib.contextmanager
def _standard_input(encoding: str) -> Iterator[io.TextIOWrapper]:
    """As `open_text` opens a file."""
    from tfllm.data.rows import check_encoding

    check_encoding(encoding)
    content = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)
    try:
        yield io.TextIOWrapper(io.BytesIO(content), encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        raise InputError(f"{_STANDARD_INPUT} is not valid {encoding} text: {error.reason}.") from None


def printable(text: str) -> str:
    """An argument that is not valid UTF-8 reaches Python with surrogates, which nothing can print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
