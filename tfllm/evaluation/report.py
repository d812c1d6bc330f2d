"""Scores as tables on a terminal.

In: what the other modules of this package return. Out: nothing; it is printed.
"""

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDEST_MATRIX = 12  # with more classes the commonest confusions are listed instead
_CONFUSIONS = 10


def print_scores(scores: dict, console: Console) -> None:
    """Print every single score; also the classes with their averages, and the confusion matrix, where there are any."""
    overall = _table("", ["score", "value"])
    for name, value in scores.items():
        if isinstance(value, int | float):
            overall.add_row(name.replace("_", " "), _number(value))
    console.print(overall)
    if "per_class" in scores:
        _print_classes(scores, console)
    if "confusion_matrix" in scores:
        _print_confusion(scores, console)


def _print_classes(scores: dict, console: Console) -> None:
    columns = list(next(iter(scores["per_class"].values())))
    table = _table("Classes", ["class", *("F1" if name == "f1" else name for name in columns)])
    for name, row in scores["per_class"].items():
        table.add_row(Text(name), *map(_number, row.values()))
    table.add_section()
    for average in (name for name in ("macro", "micro", "weighted") if name in scores):
        cells = (_number(scores[average][name]) if name in scores[average] else "" for name in columns)
        table.add_row(f"{average} average", *cells)
    console.print(table)
    if scores.get("absent_labels"):
        names = ", ".join(scores["absent_labels"])
        console.print(Text(f"Without an example here, so 0 in the macro average: {names}."))


def _print_confusion(scores: dict, console: Console) -> None:
    names, counts = scores["labels"], scores["confusion_matrix"]
    if len(names) <= _WIDEST_MATRIX:
        table = _table("Confusion matrix", ["true \\ predicted", *names])
        for name, row in zip(names, counts, strict=True):
            table.add_row(Text(name), *map(str, row))
    else:
        table = _table("The commonest confusions", ["true", "predicted", "examples"])
        wrong = [(-n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if n and i != j]
        for negative, true, predicted in sorted(wrong)[:_CONFUSIONS]:
            table.add_row(Text(names[true]), Text(names[predicted]), str(-negative))
    console.print(table)


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=Text(title) if title else None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left")
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
