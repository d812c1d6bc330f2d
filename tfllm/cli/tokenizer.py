"""`tfllm tokenizer`: train a tokenizer, see what it does to a text, measure it on a corpus."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm.checks import InputError, check_between, check_one_of
from tfllm.cli import options
from tfllm.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tfllm.tokenizers import Tokenizer

KINDS = ("wordpiece", "sentencepiece", "byte-bpe")
MODEL_TYPES = ("unigram", "bpe")
_MOST_TOKENS = 10_000_000  # the trainers of libraries end the process when they find no memory

app = typer.Typer(no_args_is_help=True, help="Train, try and measure tokenizers.")

Corpus = Annotated[list[str], typer.Argument(help="Files, globs, directories or tfds:NAME.")]
Directory = Annotated[Path, typer.Argument(help="A tokenizer directory, or a model directory that holds one.")]
Column = Annotated[str | None, typer.Option("--text", help="Column that holds the text, in tables and JSON lines.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def train_tokenizer(
    corpus: "str | Path | Sequence[str | Path]",
    *,
    out: str | Path | None = None,
    kind: str = "wordpiece",
    model_type: str = "unigram",
    vocabulary_size: int = 8000,
    lowercase: bool | None = None,
    text: str | None = None,
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
) -> "Tokenizer":
    """Train a tokenizer on a corpus, and write it if `out` is given.

    Args:
        corpus: a file, glob, directory or `tfds:NAME`, or a list of them; read as a stream.
        out: directory to write; it must not exist.
        kind: "wordpiece", "sentencepiece" or "byte-bpe".
        model_type: of SentencePiece: "unigram" or "bpe".
        vocabulary_size: most tokens wanted; a small corpus gives fewer.
        lowercase: default True for WordPiece (with accents stripped), False for the others; byte-bpe has no True.
        text: column that holds the text, in tables and JSON lines.
        encoding, on_bad_rows: see `read_texts`.

    Raises:
        InputError: if the corpus cannot be read or has no text, `out` is taken, or `lowercase` or `model_type` is asked
            of a kind that has none.
    """
    from tfllm.data.sources import expand_paths, read_texts
    from tfllm.manifest import check_free
    from tfllm.tokenizers import train_byte_bpe, train_sentencepiece, train_wordpiece

    check_one_of("kind", kind, KINDS)
    check_one_of("model_type", model_type, MODEL_TYPES)
    check_between("vocabulary_size", vocabulary_size, 1, _MOST_TOKENS)
    if model_type != "unigram" and kind != "sentencepiece":
        raise InputError(
            f"`model_type` is for kind sentencepiece: leave it out. Received: kind={kind!r}, model_type={model_type!r}."
        )
    if out is not None:
        check_free(out)
    if lowercase and kind == "byte-bpe":
        raise InputError("byte-bpe gives every text back as it was: `lowercase` is for the other kinds.")
    texts = read_texts(corpus, text, encoding=encoding, on_bad_rows=on_bad_rows)
    if kind == "byte-bpe":
        tokenizer = train_byte_bpe(texts, vocabulary_size=vocabulary_size)
    elif kind == "sentencepiece":
        options = {"lowercase": bool(lowercase), "model_type": model_type}
        tokenizer = train_sentencepiece(texts, vocabulary_size=vocabulary_size, **options)
    else:
        tokenizer = train_wordpiece(texts, vocabulary_size=vocabulary_size, lowercase=lowercase is not False)
    if out is not None:
        tokenizer.save(out, inputs=[source for source in expand_paths(corpus) if isinstance(source, Path)])
    return tokenizer


@app.command()
def train(
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    kind: Annotated[str, typer.Option(help="wordpiece, sentencepiece or byte-bpe.")] = "wordpiece",
    model_type: Annotated[str, typer.Option(help="Of SentencePiece: unigram or bpe.")] = "unigram",
    vocabulary_size: Annotated[int, typer.Option(help="Most tokens wanted; a small corpus gives fewer.")] = 8000,
    lowercase: Annotated[
        bool | None,
        typer.Option(
            "--lowercase/--no-lowercase",
            help="Lower-case; WordPiece also strips accents. Default: yes for WordPiece, no for the others.",
        ),
    ] = None,
    text: Column = None,
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.SkipBadRows = "error",
) -> None:
    """Train a tokenizer on CORPUS and write it to --out."""
    load_tensorflow()
    tokenizer = train_tokenizer(
        corpus,
        out=out,
        kind=kind,
        model_type=model_type,
        vocabulary_size=vocabulary_size,
        lowercase=lowercase,
        text=text,
        encoding=encoding,
        on_bad_rows=on_bad_rows,
    )
    typer.echo(f"{out}: {tokenizer.kind}, {tokenizer.vocabulary_size} tokens.")


@app.command()
def encode(
    directory: Directory, texts: Annotated[list[str], typer.Argument(metavar="TEXT...")], as_json: Json = False
) -> None:
    """Show the tokens of each TEXT, their ids, and the characters and bytes they stand for."""
    load_tensorflow()
    from tfllm.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(directory)
    rows = [_token_rows(tokenizer, text) for text in texts]
    if as_json:
        answer = [{"text": text, "tokens": row} for text, row in zip(texts, rows, strict=True)]
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    for text, row in zip(texts, rows, strict=True):
        _print_tokens(text, row)


@app.command()
def report(
    directory: Directory,
    corpus: Corpus,
    text: Column = None,
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.SkipBadRows = "error",
    as_json: Json = False,
) -> None:
    """Measure a tokenizer on CORPUS: length of tokens, unknown words, texts that do not survive a round trip."""
    load_tensorflow()
    from tfllm.data.sources import read_texts
    from tfllm.tokenizers import load_tokenizer
    from tfllm.tokenizers import report as measure

    texts = read_texts(corpus, text, encoding=encoding, on_bad_rows=on_bad_rows)
    found = measure(load_tokenizer(directory), texts)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        _print_report(found)


def _token_rows(tokenizer: "Tokenizer", text: str) -> list[dict]:
    """One dict a token; `part` is the piece of `text` it covers."""
    fields = [field.to_list()[0] for field in tokenizer.tokenize_with_offsets(text)]
    vocabulary = tokenizer.vocabulary
    return [
        {
            "token": vocabulary[token_id],
            "id": token_id,
            "part": text[first:after],
            "characters": [first, after],
            "bytes": [first_byte, after_byte],
        }
        for token_id, first_byte, after_byte, first, after in zip(*fields, strict=True)
    ]


def _print_tokens(text: str, rows: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(text), title_justify="left")
    for name in ("token", "id", "part", "characters", "bytes"):
        table.add_column(name, justify="right" if name == "id" else "left")
    for row in rows:
        spans = [f"{first}-{after}" for first, after in (row["characters"], row["bytes"])]
        table.add_row(Text(row["token"]), str(row["id"]), Text(row["part"]), *spans)
    Console().print(table)


def _print_report(found: dict) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for name in ("texts", "tokens", "bytes_per_token", "characters_per_token", "unknown_rate", "round_trip_failures"):
        value = found[name]
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    console = Console()
    console.print(table)
    for example in found["round_trip_examples"]:
        console.print(Text(f"text:    {example['text']}\ndecoded: {example['decoded']}"))
