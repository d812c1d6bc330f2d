"""`tfllm predict`: a model's answers to texts, by a model directory or a SavedModel."""

import gzip
import json
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tfllm.checks import InputError
from tfllm.cli.startup import load_tensorflow
from tfllm.cli.tasks import find_show

if TYPE_CHECKING:
    from tfllm.export import Predictor

_TABLES = (".csv", ".tsv", ".jsonl")


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
    texts = [printable(text) for text in texts or []]
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
        predictor = Predictor(model, trust=trust)
    else:
        predictor = RemotePredictor(url, str(model), read_token(token_file) if token_file else None)
    results = predictor.predict(**_columns(predictor, texts, file))
    console = Console(highlight=False)
    if as_json:
        for result in results:
            console.out(json.dumps(result, ensure_ascii=False))
    else:
        find_show(predictor.task)(results, console)


def _columns(predictor: "Predictor", texts: list[str], file: Path | None) -> dict[str, list]:
    """What the model is asked, by the names it asks for."""
    names = predictor.inputs
    if file is not None and "".join(file.suffixes).removesuffix(".gz").endswith(_TABLES):
        table = _read_columns(file, names)
    else:
        lines = read_lines(file) if file else []
        if lines and len(names) > 1:
            raise InputError(f"{file}: this model asks for {' and '.join(names)}: give a .csv, .tsv or .jsonl file.")
        table = {name: list(lines) for name in names}
    if len(texts) % len(names):
        raise InputError(f"This model asks for {' and '.join(names)}: give them in turn. Received: {len(texts)} texts.")
    return {name: [*texts[place :: len(names)], *table[name]] for place, name in enumerate(names)}


def _read_columns(file: Path, names: list[str]) -> dict[str, list]:
    from tfllm.data.rows import BadRow, json_type, read_rows
    from tfllm.data.sources import check_column

    columns = {name: [] for name in names}
    for row in read_rows(file):
        if isinstance(row, BadRow):
            raise InputError(str(row))
        for name in names:
            check_column(name, list(row.cells), str(file))
            value = row.cells[name]
            if value is None or isinstance(value, bool | dict):
                raise InputError(f"{row.place}: {name}: must be a text, not a {json_type(value)}.")
            columns[name].append(value if isinstance(value, str | list) else str(value))
    return columns


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
