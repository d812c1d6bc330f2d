"""Questions with choices, one of which is right: CSV, TSV or JSON lines -> `Choices` -> batches.

N questions, C choices of a question at most, T tokens of a question with one choice.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_one_of
from tfllm.data.batches import Encoded, GroupedBatches, TextTargets
from tfllm.data.classification import encode_texts
from tfllm.data.rows import BadRow, Row, check_encoding, json_type, read_rows, text_fault
from tfllm.data.sources import (
    bad_rows_error,
    cell_text,
    check_apart,
    check_column,
    column_name,
    expand_paths,
    has_header,
)
from tfllm.data.tfds import TfdsSource, read_tfds_rows
from tfllm.tokenizers import Tokenizer

log = logging.getLogger("tfllm")
_MOST_DIGITS = 9


@dataclass
class Choices:
    """Rows as columns: entry i of each list belongs to question i.

    Attributes:
        texts: the questions.
        choices: the choices of each question, two or more.
        answers: which of them is right, counted from 0.
        places: where each stands: `quiz.csv:42`.
        bad_rows: the rows left out under 'skip' and 'collect'.
    """

    texts: list[str] = field(default_factory=list)
    choices: list[list[str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def pairs(self) -> list[str]:
        """The choices of each question as one text: what makes two rows with the same question different."""
        return ["\0".join(choices) for choices in self.choices]

    def select(self, indices: Sequence[int]) -> "Choices":
        """These rows, in this order, without bad rows."""
        lists = (self.texts, self.choices, self.answers, self.places)
        return Choices(*([values[index] for index in indices] for values in lists))


class _Columns(NamedTuple):
    question: str
    choices: list[str]
    answer: str


def read_choices(
    paths: str | Path | Sequence[str | Path],
    *,
    question: str | int | None = None,
    choices: Sequence[str | int] | None = None,
    answer: str | int | None = None,
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    data_dir: str | Path | None = None,
) -> Choices:
    """Read questions with their choices and the right one.

    Args:
        paths: files, globs, directories, `tfds:NAME[:SPLIT]`.
        question: its column; default `question`. Numbers ('0', '1') mean that the file has no header row.
        choices: a column for each choice, where the last ones of a row may be empty; or one column that holds a list of
            strings (in CSV written as JSON). Default `choices`.
        answer: the column that tells the right choice: its text; its letter, A for the first; or its number, 0 for the
            first. Default `answer`.
        encoding: of all files.
        on_bad_rows: 'error' = raise and name the first five; 'skip' = leave them out with one warning;
            'collect' = leave them out silently. Both keep them in `bad_rows`.
        data_dir: where TFDS data sets are prepared.

    Raises:
        InputError: nothing is found, a file cannot be read, a column is missing, rows are bad, or none is left.
    """
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    check_encoding(encoding)
    question, answer, *choices = map(column_name, (question, answer, *(choices or ())))
    columns = _Columns(question or "question", choices or ["choices"], answer or "answer")
    check_apart([columns.question, *columns.choices, columns.answer])
    header, found = has_header([question, *choices, answer]), Choices()
    for source in expand_paths(paths):
        checked = False
        rows = (
            read_tfds_rows(source, data_dir) if isinstance(source, TfdsSource) else read_rows(source, encoding, header)
        )
        for row in rows:
            if isinstance(row, Row):
                for name in () if checked else (columns.question, *columns.choices, columns.answer):
                    check_column(name, list(row.cells), str(source))
                checked = True
                row = _append(found, row, columns)
            if row:
                found.bad_rows.append(row)
    bad, total = found.bad_rows, len(found.bad_rows) + len(found)
    if bad and (on_bad_rows == "error" or not len(found)):
        remedy = "Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip)." if len(found) else ""
        raise bad_rows_error(bad, f"{len(bad)} of {total} rows are bad. {remedy}", encoding)
    if not len(found):
        raise InputError(f"No question in {paths if isinstance(paths, str | Path) else ', '.join(map(str, paths))}.")
    if bad and on_bad_rows == "skip":
        log.warning("%d of %d rows were bad and left out; the first: %s", len(bad), total, bad[0])
    return found


def _append(found: Choices, row: Row, columns: _Columns) -> BadRow | None:
    """Append a good row to `found`; a bad one comes back instead."""
    question, reason = cell_text(row.cells, columns.question)
    if reason:
        return BadRow(row.place, columns.question, reason)
    choices, reason = cell_choices(row.cells, columns.choices)
    if reason:
        return BadRow(row.place, ", ".join(columns.choices), reason)
    answer, reason = _cell_answer(row.cells.get(columns.answer), choices)
    if reason:
        return BadRow(row.place, columns.answer, reason)
    for values, value in zip(
        (found.texts, found.choices, found.answers, found.places), (question, choices, answer, row.place), strict=True
    ):
        values.append(value)
    return None


def cell_choices(cells: dict[str, object], columns: list[str]) -> tuple[list[str], str]:
    """The choices of a row, and what is wrong with them ('' when they are good)."""
    values = [cells.get(column) for column in columns]
    if len(columns) == 1:
        values = values[0]
        if isinstance(values, str):
            try:
                values = json.loads(values)
            except (ValueError, RecursionError):
                return [], "must be a list of strings, as JSON; or name a column for each choice"
        if not isinstance(values, list):
            return [], f"must be a list of strings, not a {json_type(values)}"
    else:
        while values and (values[-1] is None or values[-1] == ""):
            values.pop()
    for number, value in enumerate(values, 1):
        if not isinstance(value, str):
            return [], f"choice {number} must be a string, not a {json_type(value)}"
        fault = text_fault(value)
        if fault or not value.strip():
            return [], f"choice {number}: {f'{fault[1]}, at character {fault[0] + 1}' if fault else 'empty'}"
    return values, "" if len(values) > 1 else f"there must be two choices or more, not {len(values)}"


def _cell_answer(value: object, choices: list[str]) -> tuple[int, str]:
    """The number of the right choice, and what is wrong with what was given ('' when it is good).

    A text that is a choice is that choice, even when it looks like a letter or a number.
    """
    if isinstance(value, bool | list | dict) or value is None:
        return 0, f"must be the text, the letter or the number of a choice, not a {json_type(value)}"
    text = str(value).strip()
    same = [number for number, choice in enumerate(choices) if choice.strip() == text]
    if isinstance(value, str) and len(same) == 1:
        return same[0], ""
    if len(same) > 1:
        return 0, f"{text!r} is more than one of the choices"
    if len(text) == 1 and text.isascii() and text.isalpha():
        number = ord(text.upper()) - ord("A")
    elif text.isdecimal():
        if len(text) > _MOST_DIGITS:
            return 0, f"a number of {len(text):,} digits is none of the choices"
        number = int(text)
    else:
        return 0, f"{text!r} is none of the choices" if text else "empty"
    if number < len(choices):
        return number, ""
    return 0, f"{text!r} is none of {len(choices)} choices: letters begin with A, numbers with 0"


def multiple_choice_batches(
    rows: Choices,
    tokenizer: Tokenizer,
    *,
    sequence_length: int = 128,
    batch_size: int = 32,
    seed: int = 0,
) -> "ChoiceBatches":
    """Endless batches for `packed_classifier(model, C)` of a model from `add_choice_head`.

    A row holds a question with each of its choices, `[CLS] question [SEP] choice [SEP]` for each, as packed texts that
    do not see each other. Rows of similar length stand together.

    Args:
        rows: the questions.
        tokenizer: turns texts into ids.
        sequence_length: T at most.
        batch_size: questions in a batch.
        seed: decides the order.

    Returns:
        Batches with the attributes of `GroupedBatches`, but `texts_per_row` is C, the most choices a question has.
        Their values are int32 (B, C): 1 for the right choice, 0 for another, -1 where there is none.
    """
    return ChoiceBatches(rows, tokenizer, sequence_length, batch_size, seed)


class ChoiceBatches(GroupedBatches):
    """See `multiple_choice_batches`."""

    def __init__(self, rows: Choices, tokenizer: Tokenizer, sequence_length: int, batch_size: int, seed: int):
        counts = np.array([len(choices) for choices in rows.choices])
        questions = [text for text, count in zip(rows.texts, counts, strict=True) for _ in range(count)]
        pairs = encode_texts(questions, tokenizer, sequence_length, [one for some in rows.choices for one in some])
        ends = np.concatenate([[0], np.cumsum(counts)])
        numbers = np.concatenate([np.arange(1, count + 1) for count in counts]).astype(np.int32)
        self._numbers = np.repeat(numbers, pairs.token_ids.row_lengths().numpy())  # of every token's choice, from 1
        values = np.where(np.arange(counts.max()) < counts[:, None], 0, -1).astype(np.int32)
        values[np.arange(len(rows)), rows.answers] = 1
        super().__init__(
            Encoded(*(_joined(part, ends) for part in pairs)),
            TextTargets(values, np.ones(len(rows), np.float32)),
            pad_id=tokenizer.pad_id,
            sequence_length=int(counts.max()) * sequence_length,
            batch_size=batch_size,
            seed=seed,
        )
        self.texts_per_row = int(counts.max())

    def _filled(self, rows: list[list[int]], width: int, texts: int | None) -> tuple[dict, np.ndarray, np.ndarray]:
        inputs, values, weights = super()._filled(rows, width, texts)
        for row, (question,) in enumerate(rows):
            inputs["padding_mask"][row, : self._lengths[question]] = self._numbers[
                slice(*self._splits[question : question + 2])
            ]
        return inputs, values, weights


def _joined(pairs: tf.RaggedTensor, ends: np.ndarray) -> tf.RaggedTensor:
    """The pairs of each question as one row."""
    return tf.RaggedTensor.from_row_splits(pairs.flat_values, tf.gather(pairs.row_splits, ends))
