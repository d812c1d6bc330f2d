"""`tfllm predict`: label and score of texts, by a model directory or a SavedModel."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfllm.checks import InputError
from tfllm.cli.startup import load_tensorflow


def predict(
    model: Annotated[
        Path,
        typer.Argument(help="Model directory, savedmodels/NAME or savedmodels/NAME/VERSION.", show_default=False),
    ],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="Texts, one a line; - reads standard input.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Run a SavedModel that tfllm cannot vouch for.")] = False,
) -> None:
    """Classify texts."""
    if texts == ["-"]:
        texts, file = [], Path("-")
    texts = [*map(_printable, texts or []), *(_read_lines(file) if file else [])]
    if not texts:
        raise InputError(
            "Nothing to classify. Give texts as arguments, --file with one text a line, or - for standard input."
        )

    load_tensorflow()
    from tfllm.export import predict_texts

    results = predict_texts(model, texts, trust=trust)
    console = Console(highlight=False)
    if as_json:
        for result in results:
            console.out(json.dumps(result, ensure_ascii=False))
        return
    table = Table("label", "score", "text")
    for result in results:
        table.add_row(escape(result["label"]), f"{result['score']:.3f}", escape(result["text"]))
    console.print(table)


def _read_lines(file: Path) -> list[str]:
    if str(file) == "-":
        content = sys.stdin.buffer.read()
    elif file.is_file():
        content = file.read_bytes()
    else:
        raise InputError(f"{file}: no such file.")
    lines = content.decode("utf-8-sig", "replace").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _printable(text: str) -> str:
    """An argument that is not valid UTF-8 reaches Python with surrogates, which nothing can print."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
