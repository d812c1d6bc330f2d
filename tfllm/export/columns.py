"""The columns of the data a model was trained with: kept beside a SavedModel's graph, read by `tfllm predict`."""

import re
from collections.abc import Mapping, Sequence

from tfllm.checks import check_one_of

_OPTIONS = {"question": "text", "context": "text_pair"}  # what a model asks for -> the option that named its column
_KEPT = ("text", "text_pair", "choices", "source")


def checked_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """The columns as a user gives them, by option; InputError for another option."""
    for option in columns or {}:
        check_one_of("columns", option, _KEPT)
    return dict(columns or {})


def named_columns(run: Mapping) -> dict[str, str]:
    """The columns that the arguments of a training named, by option."""
    return {name: run[name] for name in _KEPT if isinstance(run.get(name), str)}


def columns_of(run: Mapping, task: str, inputs: Sequence[str]) -> dict[str, str]:
    """The columns a model was trained with, by what it asks for, where the command named them.

    Not those it numbered: another file may have a header, or other columns. `--text 0` is for that.

    Args:
        run: the arguments of the training, or what `named_columns` gave.
        task, inputs: as of `Predictor`.

    Example: {"text": "stem", "choices": "a,b"}, inputs question and choices -> {"question": "stem", "choices": "a,b"}.
    """
    named = named_columns(run)
    columns = {name: named.get(_OPTIONS.get(name, name)) for name in inputs}
    if task == "seq2seq":
        columns[inputs[0]] = named.get("source") or "source"
    return {name: column for name, column in columns.items() if column and re.search("[^0-9,]", column)}
