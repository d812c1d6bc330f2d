"""`tfllm predict`: a model's answers to texts, by a model directory or a SavedModel."""

import gzip
import json
import os
import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli.startup import load_tensorflow
from tfllm.cli.tasks import find_show

if TYPE_CHECKING:
    from tfllm.export import Predictor

_TABLES = (".csv", ".tsv", ".jsonl")
_TRAINED = {"question": "text", "context": "text_pair"}  # what a model asks for -> the option that named its column


def predict(
    model: Annotated[
        Path,
        typer.Argument(help="Model directory, savedmodels/NAME or savedmodels/NAME/VERSION.", show_default=False),
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
            help="Texts, one a line; - reads standard input. A .csv, .tsv or .jsonl file has a column for each text "
            "the model asks for."
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            help="--file: column of what the model asks for first. Default: the one it was trained with.",
            metavar="COLUMN",
        ),
    ] = None,
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
    if text is not None and file is None:
        raise InputError("--text names a column of a table: give --file, too.")
    if file is not None and str(file) != "-" and not file.is_file():
        raise InputError(f"{file}: no such file.")
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
    trained = _trained_columns(predictor, model) if url is None else {}
    results = predictor.predict(**_columns(predictor, texts, file, text, trained))
    console = Console(highlight=False)
    if as_json:
        for result in results:
            console.out(json.dumps(result, ensure_ascii=False))
    else:
        find_show(predictor.task)(results, console)


def _check_no_files(texts: list[str]) -> None:
    """Refuse the name of a file: hardly anybody wants that answered."""
    found = next(filter(os.path.isfile, texts), None)
    if found is not None:
        raise InputError(
            f"{found!r} is a file: give --file {found} to ask about what stands in it. If the name itself is the text, "
            "write it to standard input, and give - as the text."
        )


def _trained_columns(predictor: "Predictor", model: Path) -> dict[str, str]:
    """The columns a model directory was trained with, by what it asks for, where the command named them.

    Not those it numbered: another file may have a header, or other columns. `--text 0` is for that.
    """
    try:
        run = manifest.read_manifest(model, "model")["arguments"]["run"]
    except InputError:  # a SavedModel, which does not tell
        run = {}
    columns = {name: run.get(_TRAINED.get(name, name)) for name in predictor.inputs}
    if predictor.task == "seq2seq":
        columns[predictor.inputs[0]] = run.get("source") or "source"
    return {name: column for name, column in columns.items() if column and re.search("[^0-9,]", str(column))}


def _columns(
    predictor: "Predictor", texts: list[str], file: Path | None, text: str | None, trained: dict[str, str]
) -> dict[str, list]:
    """What the model is asked, by the names it asks for."""
    names = predictor.inputs
    if file is not None and "".join(file.suffixes).removesuffix(".gz").endswith(_TABLES):
        table = _read_columns(file, names, text, trained)
    else:
        if text is not None:
            raise InputError(f"{file} is read as one text a line. --text is for tables: {', '.join(_TABLES)}.")
        lines = read_lines(file) if file else []
        if lines and len(names) > 1:
            raise InputError(f"{file}: this model asks for {' and '.join(names)}: give a .csv, .tsv or .jsonl file.")
        table = {name: list(lines) for name in names}
    if len(texts) % len(names):
        raise InputError(f"This model asks for {' and '.join(names)}: give them in turn. Received: {len(texts)} texts.")
    return {name: [*texts[place :: len(names)], *table[name]] for place, name in enumerate(names)}


def _read_columns(file: Path, names: list[str], text: str | None, trained: dict[str, str]) -> dict[str, list]:
    from tfllm.data.rows import BadRow, json_type, read_rows
    from tfllm.data.sources import check_column, has_header

    wanted = trained if text is None else {**trained, names[0]: text}
    columns, found = {name: [] for name in names}, None
    for row in read_rows(file, header=has_header(list(wanted.values()))):
        if isinstance(row, BadRow):
            raise InputError(str(row))
        there = list(row.cells)
        if found is None:
            found = {name: _find_column(name, wanted.get(name), there, file) for name in names}
            if text is not None:
                found[names[0]] = text
        for name, column in found.items():
            check_column(column, there, str(file))
            value = row.cells[column]
            if value is None or isinstance(value, bool | dict):
                raise InputError(f"{row.place}: {column}: must be a text, not a {json_type(value)}.")
            columns[name].append(value if isinstance(value, str | list) else str(value))
    return columns


def _find_column(name: str, wanted: str | None, there: list[str], file: Path) -> str:
    """The column for what the model asks for: the one wanted, or of that name, or what training would choose."""
    from tfllm.data.sources import choose_text_column

    found = next((column for column in (wanted, name) if column in there), None)
    if found is None and name == "text" and wanted is None:
        return choose_text_column([column for column in there if column.casefold() != "label"], str(file))
    return found or wanted or name


def read_lines(file: Path) -> list[str]:
    """The lines of a file, gzipped if its name ends in .gz, or of standard input for "-"."""
    if str(file) != "-" and not file.is_file():
        raise InputError(f"{file}: no such file.")
    content = sys.stdin.buffer.read() if str(file) == "-" else _read_bytes(file)
    lines = content.decode("utf-8-sig", "replace").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _read_bytes(file: Path) -> bytes:
    """What stands in a file, unpacked if its name ends in .gz."""
    content = file.read_bytes()
    if file.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{file}: not gzip data, though its name ends in .gz, or cut off or damaged.") from None


def printable(text: str) -> str:
    """An argument that is not valid UTF-8 reaches Python with surrogates, which nothing can print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
