"""Lists of Python strings and settings -> batches of tensors for a function that writes, and its answers as dicts.

Imports no Keras: a SavedModel is asked by it, too.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_texts
from tfllm.writing import RowSettings

ROWS = 32  # in a batch at most: memory does not grow with the number of prompts
DTYPES = RowSettings(tf.int32, tf.float32, tf.int32, tf.float32, tf.int32)


def in_batches(
    function: Callable[..., Mapping[str, tf.Tensor]],
    prompts: Sequence[str],
    settings: RowSettings,
    texts: tf.Tensor | None = None,
) -> list[dict]:
    """The answers of `function(text=, max_new_tokens=, ...)`, which takes and gives tensors, to all prompts.

    Args:
        texts: what `function` takes as `text`, where that is more than the prompts.

    Raises:
        InputError: for settings that are a list of another length.
    """
    texts, columns = as_strings(prompts, "prompts") if texts is None else texts, as_columns(settings, len(prompts))
    rows = []
    for start in range(0, len(prompts), ROWS):
        part = slice(start, start + ROWS)
        outputs = function(text=texts[part], **{name: column[part] for name, column in columns.items()})
        rows += rows_of(prompts[part], {name: value.numpy() for name, value in outputs.items()})
    return rows


def as_strings(texts: Sequence[str], name: str) -> tf.Tensor:
    """string (B,); half a surrogate pair becomes "?". `name` says in an error what they are."""
    check_texts(name, texts)
    return tf.constant([text.encode("utf-8", "replace") for text in texts], tf.string, [len(texts)])


def as_columns(settings: RowSettings, count: int) -> dict[str, tf.Tensor]:
    """The settings of `count` rows, (B,) each."""
    columns = {}
    for name, value, dtype in zip(settings._fields, settings, DTYPES, strict=True):
        column = np.asarray(value)
        if column.ndim and column.shape != (count,):
            raise InputError(f"`{name}` must be one value, or one for each of {count} prompts. Received: {value!r}.")
        columns[name] = tf.constant(np.broadcast_to(column, (count,)), dtype)
    return columns


def rows_of(prompts: Sequence[str], outputs: Mapping[str, np.ndarray]) -> list[dict]:
    """What was written, a dict for each prompt: `prompt`, `text`, `num_tokens`, `finish_reason`, `log_prob`."""
    names = ("text", "num_tokens", "finish_reason", "log_prob")
    return [
        {
            "prompt": prompt,
            "text": text.decode(),
            "num_tokens": int(count),
            "finish_reason": reason.decode(),
            "log_prob": float(log_prob),
        }
        for prompt, text, count, reason, log_prob in zip(prompts, *(outputs[name] for name in names), strict=True)
    ]


def without_prompts(rows: list[dict]) -> list[dict]:
    """What `rows_of` gives, of conversations."""
    return [{name: value for name, value in row.items() if name != "prompt"} for row in rows]


def as_pairs(first: Sequence[str], second: Sequence[str], names: str) -> tf.Tensor:
    """string (B, 2); InputError unless there are as many of each. `names` says what they are: "texts and targets"."""
    one, other = names.split(" and ")
    columns = [as_strings(first, one), as_strings(second, other)]
    if len(first) != len(second):
        raise InputError(f"Give as many {names}. Received: {len(first)} and {len(second)}.")
    return tf.stack(columns, axis=1)


def as_scored(texts: Sequence[str], targets: Sequence[str] | None, *, reads_first: bool) -> list[tf.Tensor]:
    """What a signature `score` takes, string (B,) each: texts, and targets if the model reads before it writes."""
    if reads_first != (targets is not None):
        needed = "reads before it writes: give the `targets` too" if reads_first else "goes on: give no `targets`"
        raise InputError(f"This model {needed}.")
    if not reads_first:
        return [as_strings(texts, "texts")]
    return tf.unstack(as_pairs(texts, targets, "texts and targets"), axis=1)


def scores_of(texts: Sequence[str], outputs: Mapping[str, tf.Tensor]) -> list[dict]:
    """How probable texts are, a dict for each: `text`, `log_prob`, `num_tokens`, `token_log_probs`."""
    names = ("log_prob", "num_tokens", "token_log_probs")
    columns = zip(texts, *(outputs[name].numpy() for name in names), strict=True)
    return [
        {"text": text, "log_prob": float(total), "num_tokens": int(count), "token_log_probs": each[:count].tolist()}
        for text, total, count, each in columns
    ]
