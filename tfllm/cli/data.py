"""`tfllm data`: see what a run would see before anything is trained."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tfllm.checks import check_one_of
from tfllm.cli import options
from tfllm.cli.startup import load_tensorflow
from tfllm.cli.tasks import TASKS

BAD_ROWS_FILE = "bad_rows.jsonl"
_MOST_SHOWN = 20  # labels, and bad rows, that are printed; --json has more

app = typer.Typer(no_args_is_help=True, help="Look at data before training.")


@app.callback()
def data() -> None:
    """Look at data before training."""


@app.command()
def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, globs, directories or tfds:NAME[:SPLIT].")
    ],
    task: Annotated[
        str | None,
        typer.Option(help=f"Read FILE... as finetune --task does: {', '.join(TASKS)}. Default: a text, a label."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column with the text. Numbers (0, 1) mean: no header row.")] = None,
    text_pair: Annotated[str | None, typer.Option(help="Column with the second text.")] = None,
    label: Annotated[str | None, typer.Option(help="Column with the label.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="The labels there are: good,bad. A row with another is a bad one.")
    ] = None,
    choices: options.Choices = None,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    label_separator: Annotated[
        str | None, typer.Option(help="multilabel: what joins the names in a cell. Default: |.")
    ] = None,
    score_range: Annotated[
        str | None, typer.Option(help="regress, similarity: lowest and highest score: 0,5.", metavar="LOW,HIGH")
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="Tokenizer directory: give lengths in tokens, too.")] = None,
    sequence_length: Annotated[int | None, typer.Option(min=4, help="Tokens a row may have before it is cut.")] = None,
    test: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Test part, compared with FILE....")] = None,
    corpus: Annotated[bool, typer.Option("--corpus", help="Unlabelled text, one document a line.")] = False,
    encoding: Annotated[str, typer.Option(help="Of all files: utf-8, latin-1, gb18030, utf-16, ...")] = "utf-8",
    on_bad_rows: Annotated[
        str, typer.Option(help=f"error: exit code 2 if there are any. skip: not. collect: write {BAD_ROWS_FILE}.")
    ] = "error",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show labels, lengths, truncation, duplicates, train/test overlap and bad rows of FILE..., for any task."""
    load_tensorflow()
    from tfllm.cli.tasks.base import split_names
    from tfllm.cli.tasks.regression import parse_range
    from tfllm.data.inspect import check_data

    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    report = check_data(
        files,
        task=task,
        text=text,
        text_pair=text_pair,
        label=label,
        labels=split_names(labels),
        choices=split_names(choices),
        separator=label_separator,
        score_range=parse_range(score_range),
        source=source,
        target=target,
        tokenizer=tokenizer,
        sequence_length=sequence_length,
        test=test,
        corpus=corpus,
        encoding=encoding,
    )
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        _print_report(report)
    bad_rows = _all_bad_rows(report)
    if bad_rows and on_bad_rows == "collect":
        _write_bad_rows(bad_rows, _bad_row_count(report))
    if bad_rows and on_bad_rows == "error":
        raise typer.Exit(2)


def _write_bad_rows(bad_rows: list[dict], count: int) -> None:
    from tfllm.data.rows import BadRow
    from tfllm.data.tables import write_bad_rows

    write_bad_rows([BadRow(**row) for row in bad_rows], BAD_ROWS_FILE)
    first = f"the first {len(bad_rows)} of " if count > len(bad_rows) else ""
    typer.echo(f"{BAD_ROWS_FILE}: {first}{count} bad rows.", err=True)


def _print_report(report: dict) -> None:
    from rich.console import Console

    console = Console()
    console.print(_lengths(report))
    if report.get("labels"):
        console.print(_labels(report))
    for line in _findings(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lengths(report: dict):
    from rich.table import Table

    unit, rows = ("rows", report["rows"]) if "rows" in report else ("documents", report["documents"])
    table = Table(title=_some(rows, unit), title_justify="left")
    for name in ("length in", "min", "median", "p95", "max", "total"):
        table.add_column(name, justify="left" if name == "length in" else "right")
    for name in ("characters", "tokens"):
        if report[name]:
            table.add_row(name, *(f"{value:,}" for value in report[name].values()))
    return table


def _some(number: int, things: str) -> str:
    thing = "entity" if things == "entities" else things.removesuffix("s")
    return f"{number:,} {thing if number == 1 else things}"


def _labels(report: dict):
    from rich.table import Table
    from rich.text import Text

    labels, counted = report["labels"], report["counted"]
    total = report["rows"] if counted == "rows" else sum(labels.values())  # of rows: some may have several labels
    table = Table(title=_some(len(labels), "labels"), title_justify="left")
    for name in ("label", counted, "share"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for name, count in list(labels.items())[:_MOST_SHOWN]:
        table.add_row(Text(name), f"{count:,}", f"{count / total:.1%}")
    if len(labels) > _MOST_SHOWN:
        table.add_row(f"and {len(labels) - _MOST_SHOWN:,} more", "", "")
    return table


def _findings(report: dict) -> list[str]:
    """One line for each thing worth knowing."""
    lines = [
        *_unlabelled(report),
        *_rare_labels(report),
        *_facts(report),
        *_long_rows(report),
        *_repeated(report),
        *_of_test(report),
    ]
    bad_rows = _all_bad_rows(report)
    lines.append(f"Bad rows: {_bad_row_count(report):,}.")
    lines += [report["encoding_advice"]] if report["encoding_advice"] else []
    lines += [": ".join(filter(None, row.values())) for row in bad_rows[:_MOST_SHOWN]]
    if len(bad_rows) > _MOST_SHOWN:
        lines.append(f"and {_bad_row_count(report) - _MOST_SHOWN:,} more")
    return lines


def _unlabelled(report: dict) -> Iterator[str]:
    """Where the labels may stand, if a table that is read without a task has none."""
    from tfllm.data.sources import describe_columns

    if report.get("labels") is None and len(report.get("columns", [])) > 1:
        yield (
            "No labels: no column 'label'. If another holds them, name it: --label COLUMN. "
            f"{describe_columns(report['columns'])}"
        )


def _rare_labels(report: dict) -> Iterator[str]:
    """Those that may be mistakes."""
    rare, counted = report.get("rare_labels", []), report.get("counted")
    near = [one for one in rare if one["near"]]
    for one in near[:_MOST_SHOWN]:
        yield f"Label {one['label']!r} stands in {_some(one['count'], counted)} only{one['near']}."
    few = [f"{one['label']!r} ({one['count']})" for one in rare if not one["near"]]
    if few:
        more = f" and {len(few) - _MOST_SHOWN:,} more" if len(few) > _MOST_SHOWN else ""
        yield f"Labels with fewer than 3 {counted}, too few to learn: {', '.join(few[:_MOST_SHOWN])}{more}."


def _facts(report: dict) -> Iterator[str]:
    """What only one task has to say."""
    if "scores" in report:
        scores = report["scores"]
        yield (
            f"Scores: {scores['min']:g} to {scores['max']:g}, mean {scores['mean']:.4g}, "
            f"deviation {scores['deviation']:.4g}."
        )
    if "choices" in report:
        yield f"Choices of a question: {report['choices']['min']} to {report['choices']['max']}."
    for name in ("labels", "entities", "answer"):
        if f"rows_without_{name}" in report:
            yield f"Rows without {name}: {report[f'rows_without_{name}']:,}."
    if "contexts" in report:
        yield f"Contexts: {report['contexts']:,}. Longest answer: {report['longest_answer']:,} characters."
        repairs = report["repairs"]
        if repairs:
            first = ": ".join(filter(None, repairs[0].values()))
            yield (
                f"Answers without a place in their context, with a wrong one or several: {len(repairs):,} of "
                f"{report['answers']:,}; {first}"
            )


def _long_rows(report: dict) -> Iterator[str]:
    for name, what in (("truncated", "are cut"), ("windowed", "are read in windows")):
        if report.get(name):
            found = report[name]
            yield (
                f"Longer than {found['sequence_length']} tokens: {found['rows']:,} rows ({found['share']:.1%}), "
                f"which {what}."
            )


def _repeated(report: dict) -> Iterator[str]:
    if "duplicates" not in report:
        return
    found = report["duplicates"]
    yield f"Rows that repeat an earlier text: {found['repeated_rows']:,}."
    for one in found["repeats"][:5]:
        more = f" and {len(one['places']) - 5:,} more" if len(one["places"]) > 5 else ""
        yield f"  {one['text'][:60]!r}: {', '.join(one['places'][:5])}{more}"
    if report["labels"] or found["conflicts"]:
        yield f"Texts under more than one label: {found['conflicting_texts']:,}."
    for conflict in found["conflicts"][:5]:
        places = "; ".join(f"{label!r} at {', '.join(where)}" for label, where in conflict["places"].items())
        yield f"  {conflict['text'][:60]!r}: {places}"


def _of_test(report: dict) -> Iterator[str]:
    test = report.get("test")
    if not test:
        return
    yield f"Test rows: {test['rows']:,}, of which {test['overlap']:,} repeat a text of the training part."
    if "overlap_of_contexts" in test:
        yield f"Test questions about a context of the training part: {test['overlap_of_contexts']:,}."
    if test["unseen_labels"]:
        yield f"Labels of the test part that the training part lacks: {', '.join(test['unseen_labels'])}."


def _bad_row_count(report: dict) -> int:
    """How many there are, also those of a corpus that are not listed."""
    return report["bad_row_count"] + (report["test"]["bad_row_count"] if report.get("test") else 0)


def _all_bad_rows(report: dict) -> list[dict]:
    """Those of the data that are listed, then those of the test part."""
    return report["bad_rows"] + (report["test"]["bad_rows"] if report.get("test") else [])
