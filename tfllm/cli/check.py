"""`tfllm check`: is a SavedModel whole, and will TF Serving run it?"""

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
) -> None:
    """Check a SavedModel's files, signatures, ops and weights, and repeat its warm-up requests."""
    load_tensorflow()
    from tfllm.export import check_savedmodel

    findings = check_savedmodel(savedmodel)
    table = Table("check", "result", "found")
    for finding in findings:
        table.add_row(finding.check, "passed" if finding.passed else "FAILED", escape(finding.detail))
    Console().print(table)
    failed = [finding.check for finding in findings if not finding.passed]
    if failed:
        raise InputError(f"{savedmodel} failed the check of {', '.join(failed)}. Export it again.")
