"""`tfllm check`: is a SavedModel whole, and will TF Serving run it?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfllm.checks import InputError
from tfllm.cli.startup import load_tensorflow


def check(
    savedmodel: Annotated[
        Path, typer.Argument(help="savedmodels/NAME or savedmodels/NAME/VERSION.", show_default=False)
    ],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Check a SavedModel's files, signatures, ops and weights, and repeat its warm-up requests in clean processes."""
    load_tensorflow()
    from tfllm.export import check_savedmodel

    findings = check_savedmodel(savedmodel)
    if json_output:
        print(json.dumps([finding._asdict() for finding in findings], indent=1, ensure_ascii=False))
    else:
        _print_table(findings)
    failed = [finding.check for finding in findings if not finding.passed]
    if failed:
        raise InputError(f"{savedmodel} failed the check of {', '.join(failed)}. Export it again.")


def _print_table(findings: list) -> None:
    table = Table("check", "result", "found")
    for finding in findings:
        table.add_row(finding.check, "passed" if finding.passed else "FAILED", escape(finding.detail))
    Console().print(table)
