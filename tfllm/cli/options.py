"""Options that several commands share, and `--config`."""

import inspect
import tomllib
import typing
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperOption

from tfllm.checks import InputError, did_you_mean

_TOML_TYPES = {  # of an option -> the types of TOML that say it, and what they are called
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    bool: (bool, "true or false"),
    Path: (str, "a path in quotes"),
    str: (int | float, "a text in quotes"),
}
_COMMA_SEPARATED = ("labels", "choices", "score_range")


def _read_config(context: typer.Context, file: Path | None) -> Path | None:
    """Take option values from a TOML file; the command line wins over it."""
    if file is None:
        return None
    try:
        with open(file, "rb") as stream:
            values = tomllib.load(stream)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid TOML: {error}.") from None
    flags = {
        flag.removeprefix("--"): parameter
        for parameter in context.command.params
        for flag in parameter.opts
        if flag.startswith("--") and parameter.name not in ("config", "help")
    }
    for name in values:
        if name.replace("_", "-") not in flags:
            raise InputError(
                f"{file}: {name!r} is not an option of `{context.command.name}`{did_you_mean(name, flags)}."
            )
    chosen = ((flags[name.replace("_", "-")], name, value) for name, value in values.items())
    hints = typing.get_type_hints(inspect.unwrap(context.command.callback))
    given = {
        option.name: _option_value(option, _kind(hints[option.name]), value, f"{file}: {name}")
        for option, name, value in chosen
    }
    context.default_map = {**(context.default_map or {}), **given}
    return file


def _option_value(option: TyperOption, kind: type, value: object, place: str) -> object:
    """A value of TOML as the option takes it: a list where it may be repeated, else one value."""
    values = value if isinstance(value, list) else [value]
    if any(isinstance(one, list | dict) for one in values):
        raise InputError(f"{place}: must be a text, a number, true or false. Received: {value}.")
    for one in values:
        _check_type(kind, one, place)
    if option.multiple:
        return values
    if isinstance(value, list):
        joined = ",".join(map(str, value))
        told = f'Write them in one text: "{joined}"' if option.name in _COMMA_SEPARATED else f"Received: {value}"
        raise InputError(f"{place}: takes one value, not a list. {told}.")
    return value


def _check_type(kind: type, value: object, place: str) -> None:
    """Raise InputError for a number or a truth where an option is another: 2.5 is not cut to 2, true is no 1.

    A text is read as on the command line, and must be a number there, too.
    """
    types, named = _TOML_TYPES[kind]
    if isinstance(value, str):
        fits = kind not in (int, float) or _reads_as(kind, value)
    else:
        fits = isinstance(value, types) and isinstance(value, bool) == (kind is bool)
    if not fits:
        shown = str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else value
        raise InputError(f"{place}: must be {named}. Received: {shown}.")


def _reads_as(number: type, text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return False
    return True


def _kind(hint: object) -> type:
    """The type of one value. Example: list[str] | None -> str."""
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    return _kind(parts[0]) if parts else hint


Config = Annotated[
    Path | None,
    typer.Option(
        callback=_read_config, is_eager=True, help="TOML file with the same names as the flags.", metavar="FILE.toml"
    ),
]
Data = Annotated[list[str], typer.Option(help="Files, globs, directories or tfds:NAME[:SPLIT]. May be repeated.")]
Out = Annotated[Path, typer.Option(help="Directory to write; it must not exist.")]
RunOut = Annotated[
    Path, typer.Option("--out", help="Directory to write. An unfinished training of the same arguments goes on.")
]
MicroBatches = Annotated[
    int, typer.Option(help="Compute a batch in this many parts to save memory; the result is the same.")
]
SaveMinutes = Annotated[float, typer.Option(help="Minutes between two checkpoints.")]
OnDivergence = Annotated[
    str,
    typer.Option(help="stop at a loss that is no number; or skip: back to the last checkpoint, without that batch."),
]
Size = Annotated[str, typer.Option(help="Without --init: tiny, mini, small, medium or base.")]
PreNorm = Annotated[
    bool,
    typer.Option("--pre-norm", help="Without --init: normalise before each part of a layer, not after as BERT does."),
]
BigramBuckets = Annotated[
    int,
    typer.Option(
        help="Without --init: also this many embeddings of two tokens that follow each other, hashed: 50000 help "
        "Chinese. 0: none."
    ),
]
SequenceLength = Annotated[int, typer.Option(help="Tokens in a row, [CLS] and [SEP] included.")]
BatchSize = Annotated[int, typer.Option(help="Rows in a batch.")]
Dropout = Annotated[
    float | None,
    typer.Option(help="Share of activations dropped. Default: 0.1; a model that writes keeps its own with --init."),
]
WeightDecay = Annotated[float, typer.Option(help="Decoupled; not on biases and layer norms.")]
Seed = Annotated[int, typer.Option(help="Decides every random choice.")]
Strategy = Annotated[
    str, typer.Option(help="auto, cpu, gpu, mirrored, multiworker or tpu; --batch-size counts the rows of all devices.")
]
Remat = Annotated[
    bool, typer.Option("--remat", help="Compute activations again when going back: less memory, more time.")
]
Precision = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
TextColumn = Annotated[str | None, typer.Option("--text", help="Column that holds the text.", metavar="COLUMN")]
TextPairColumn = Annotated[
    str | None, typer.Option("--text-pair", help="Column that holds the second text of a pair.", metavar="COLUMN")
]
LabelColumn = Annotated[str | None, typer.Option("--label", help="Column that holds the label.", metavar="COLUMN")]
Choices = Annotated[
    str | None,
    typer.Option(help="choice: a column for each, a,b,c, or one that holds a list.", metavar="COLUMN,..."),
]
SourceColumn = Annotated[
    str | None, typer.Option("--source", help="seq2seq: column to read. Default: source.", metavar="COLUMN")
]
TargetColumn = Annotated[
    str | None, typer.Option("--target", help="seq2seq: column to write. Default: target.", metavar="COLUMN")
]
TargetLength = Annotated[
    int | None, typer.Option(help="seq2seq: tokens of a target at most. Default: --sequence-length.")
]
Encoding = Annotated[str, typer.Option(help="Of all files: utf-8, latin-1, gb18030, utf-16, ...")]
Document = Annotated[str, typer.Option(help="line: each line of a text file is a document; file: each file is.")]
SkipBadRows = Annotated[str, typer.Option("--on-bad-rows", help="error, or skip: leave them out and say how many.")]
OnBadRows = Annotated[
    str, typer.Option(help="error; skip: leave them out; collect: also list them in OUT.bad_rows.jsonl.")
]
TensorBoard = Annotated[Path | None, typer.Option(help="Directory for TensorBoard logs.", metavar="DIR")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show shapes, parameters, memory and time; write nothing.")]
