"""`tfllm records`: tokenise and pack a large corpus once, and check what was written."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from tfllm.cli import options
from tfllm.cli.startup import errors, load_tensorflow

_INTERVAL_SECONDS = 10.0  # between two lines when standard error is not a terminal

app = typer.Typer(no_args_is_help=True, help="Prepare a large corpus once for many runs.")


@app.command()
def write(
    corpus: Annotated[list[str], typer.Argument(help="Files, globs, directories or tfds:NAME.")],
    tokenizer: Annotated[Path, typer.Option(help="Tokenizer directory.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="Directory to write, or to go on with after a crash.")],
    sequence_length: options.SequenceLength = 128,
    held_out: Annotated[float, typer.Option(help="Share of the texts kept for validation.")] = 0.01,
    deduplicate: Annotated[
        str, typer.Option(help="none; exact; near: also texts that nearly repeat another.")
    ] = "none",
    remove_texts_of: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Leave out texts that quote this evaluation file.")
    ] = None,
    text: options.TextColumn = None,
    document: options.Document = "line",
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.SkipBadRows = "error",
    shard_megabytes: Annotated[float, typer.Option(help="Text that goes into one shard.")] = 8.0,
    compression: Annotated[str, typer.Option(help="gzip or none.")] = "gzip",
    workers: Annotated[int | None, typer.Option(help="Processes. Default: one for each processor.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: options.Config = None,
) -> None:
    """Tokenise and pack CORPUS into shards that `tfllm pretrain --data` reads."""
    load_tensorflow()
    from tfllm.data import write_records

    progress = _Progress()
    with progress.status:
        manifest = write_records(
            corpus,
            tokenizer,
            out,
            sequence_length=sequence_length,
            held_out=held_out,
            deduplicate=deduplicate,
            remove_texts_of=remove_texts_of,
            text_column=text,
            document=document,
            encoding=encoding,
            on_bad_rows=on_bad_rows,
            shard_megabytes=shard_megabytes,
            compression=compression,
            workers=workers,
            progress=progress,
        )
    _print(manifest, as_json)


@app.command()
def check(
    directory: Annotated[Path, typer.Argument(help="A records directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every shard of DIRECTORY and name those that are missing or damaged (exit code 2)."""
    load_tensorflow()
    from tfllm.data import check_records

    manifest, faults = check_records(directory)
    _print(manifest, as_json, faults=faults)
    if faults:
        for fault in faults:
            typer.echo(f"tfllm: {fault}", err=True)
        raise typer.Exit(2)


class _Progress:
    """What is done so far: a live line on a terminal, a line now and then elsewhere."""

    def __init__(self):
        self.status = errors.status("starting")
        self._started = self._spoken = time.monotonic()

    def __call__(self, stage: str, counts: dict) -> None:
        now = time.monotonic()
        line = f"{stage}: " + ", ".join(f"{counts[name]:,} {name}" for name in counts if name != "bytes")
        if counts.get("characters"):
            line += f", {counts['characters'] / 1e6 / (now - self._started):.1f} million characters a second"
        if errors.is_terminal:
            self.status.update(line)
        elif now - self._spoken >= _INTERVAL_SECONDS:
            self._spoken = now
            errors.print(line, highlight=False, soft_wrap=True)


def _print(manifest: dict, as_json: bool, **more) -> None:
    """Rows, tokens and bytes of each part, and the texts that were left out."""
    parts = {part: _sum(manifest["shards"], part) for part in ("train", "held-out")}
    report = {"parts": parts, "counts": manifest["counts"], **more}
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for part, found in parts.items():
        each = f", {found['bytes'] / found['tokens']:.2f} bytes a token" if found["tokens"] else ""
        shown = ", ".join(f"{value:,} {name}" for name, value in found.items())
        typer.echo(f"{part}: {shown}{each}")
    reasons = {"repeated": "repeat another", "nearly_repeated": "nearly repeat another", "quoting": "quote a test set"}
    left_out = [f"{manifest['counts'].get(name, 0):,} {words}" for name, words in reasons.items()]
    typer.echo(f"texts left out: {', '.join(left_out)}")


def _sum(shards: dict[str, dict], part: str) -> dict[str, int]:
    chosen = [entry for name, entry in shards.items() if name.startswith(part)]
    names = ("texts", "rows", "tokens", "bytes")
    return {"shards": len(chosen), **{name: sum(entry[name] for entry in chosen) for name in names}}
