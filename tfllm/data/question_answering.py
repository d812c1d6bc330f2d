"""Questions with the contexts that answer them: files -> `Questions` -> batches of windows.

In: SQuAD JSON, or CSV, TSV and JSON lines with a column each for question, context and answer. Out: rows whose answers
are known to stand in their context, parts that share no context, and batches for a model from `add_span_head`.
N questions, W windows of their contexts, T tokens.
"""

import logging
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_at_least, check_one_of
from tfllm.data.answers import Answer, read_answers
from tfllm.data.batches import Encoded, GroupedBatches, TextTargets
from tfllm.data.rows import BadRow, Row, check_encoding, read_rows
from tfllm.data.sources import (
    bad_rows_error,
    cell_text,
    check_apart,
    check_column,
    column_name,
    expand_paths,
    has_header,
)
from tfllm.data.splits import normal_form
from tfllm.data.squad import is_squad, squad_rows
from tfllm.data.tfds import TfdsSource
from tfllm.tokenizers import Tokenizer, Tokens
from tfllm.tokenizers.question_windows import Windows, cut_windows, longest_question

log = logging.getLogger("tfllm")
_CHUNK = 500  # questions tokenized together


@dataclass
class Questions:
    """Rows as columns: entry i of each list belongs to question i.

    Attributes:
        questions, contexts: the texts.
        answers: the reference answers of each question; none when its context does not answer it.
        ids: the question's id in its file; its place where it has none.
        places: where each stands: `qa.csv:42`, `dev.json: article 3 (Normans), paragraph 2, question 56ddde6b`.
        bad_rows: the rows left out under 'skip' and 'collect'.
        repairs: answers whose place in the context was not as the file says: found again, or not in the context.
    """

    questions: list[str] = field(default_factory=list)
    contexts: list[str] = field(default_factory=list)
    answers: list[list[Answer]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    repairs: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.questions)

    def select(self, indices: Sequence[int]) -> "Questions":
        """These questions, in this order, without bad rows and repairs."""
        lists = (self.questions, self.contexts, self.answers, self.ids, self.places)
        return Questions(*([values[index] for index in indices] for values in lists))


class _Columns(NamedTuple):
    question: str
    context: str
    answer: str


def read_questions(
    paths: str | Path | Sequence[str | Path],
    *,
    question: str | int | None = None,
    context: str | int | None = None,
    answer: str | int | None = None,
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
) -> Questions:
    """Read questions with their contexts and answers.

    An answer must stand in its context. Where it does not stand at the offset the file gives, or the file gives none,
    the nearest place (without an offset, the first) is taken; the log counts such answers. Of several answers those
    that are not in the context are kept for scoring; a question with no other answer is a bad row.

    Args:
        paths: files, globs, directories. A .json file is SQuAD JSON (1.1, 2.0) unless it has an object on each line.
        question, context, answer: column names of the other files; numbers ('0', '1') mean that the file has no header
            row. Defaults: `question`, `context`, and `answers` or `answer`. An answer is a string, a list of strings,
            a list of {"text", "answer_start"}, or a dict of two such lists; empty = the context has no answer. A
            string's offset in characters may stand in a column `answer_start`, the question's id in `id`.
        encoding: of all files.
        on_bad_rows: 'error' = raise and name the first five; 'skip' = leave them out with one warning;
            'collect' = leave them out silently, and say nothing of `repairs`. Both keep them in `bad_rows`.

    Raises:
        InputError: nothing is found, a file cannot be read, a column is missing, rows are bad, or none is left.
    """
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    check_encoding(encoding)
    question, context, answer = map(column_name, (question, context, answer))
    check_apart([question or "question", context or "context", answer])
    header, found = has_header([question, context, answer]), Questions()
    for source in expand_paths(paths):
        if isinstance(source, TfdsSource):
            raise InputError(
                f"{source}: questions are read from files. Write this data set as JSON lines first, each with "
                '`question`, `context` and `answers` ([{"text": ..., "answer_start": ...}]), and give the file.'
            )
        if is_squad(source, encoding):
            rows, columns = squad_rows(source, encoding), _Columns("question", "context", "answers")
        else:
            rows, columns = read_rows(source, encoding, header), None
        for row in rows:
            if isinstance(row, Row):
                columns = columns or _choose_columns(source, row, question, context, answer)
                row = _append(found, row, columns)
            if row:
                found.bad_rows.append(row)
    _report(found, on_bad_rows, encoding)
    if not found.questions:
        raise InputError(
            f"No usable question in {paths if isinstance(paths, str | Path) else ', '.join(map(str, paths))}."
        )
    return found


def _choose_columns(source: Path, row: Row, question: str | None, context: str | None, answer: str | None) -> _Columns:
    names = list(row.cells)
    columns = _Columns(
        question or "question", context or "context", answer or ("answers" if "answers" in names else "answer")
    )
    for name in columns:
        check_column(name, names, str(source))
    return columns


def _append(found: Questions, row: Row, columns: _Columns) -> BadRow | None:
    """Append a good row to `found`; a bad one comes back instead."""
    texts = []
    for column in (columns.question, columns.context):
        text, reason = cell_text(row.cells, column)
        if reason:
            return BadRow(row.place, column, reason)
        texts.append(text)
    answers, repairs, reason = read_answers(row.cells, columns.answer, texts[1])
    if reason:
        return BadRow(row.place, columns.answer, reason)
    found.repairs += [BadRow(row.place, columns.answer, repair) for repair in repairs]
    identity = row.cells.get("id")
    for values, value in zip(
        (found.questions, found.contexts, found.answers, found.ids, found.places),
        (*texts, answers, row.place if identity in (None, "") else str(identity), row.place),
        strict=True,
    ):
        values.append(value)
    return None


def _report(found: Questions, on_bad_rows: str, encoding: str) -> None:
    bad, total = found.bad_rows, len(found.bad_rows) + len(found)
    if bad and (on_bad_rows == "error" or not len(found)):
        remedy = "Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip)."
        total = f"{len(bad)} of {total} questions are bad. {remedy if len(found) else ''}"
        raise bad_rows_error(bad, total, encoding)
    if bad and on_bad_rows == "skip":
        log.warning("%d of %d questions were bad and left out; the first: %s", len(bad), total, bad[0])
    if found.repairs and on_bad_rows != "collect":
        log.warning(
            "%d of %d answers have no place in their context, a wrong one or several; the first: %s",
            len(found.repairs),
            sum(map(len, found.answers)),
            found.repairs[0],
        )
    empty = sum(not answers for answers in found.answers)
    log.info("%d questions, %d of them without an answer in their context", len(found), empty)


def split_questions(rows: Questions, fraction: float, seed: int) -> tuple[Questions, Questions]:
    """Split into a train and a validation part that share no context, each in the order of `rows`.

    Args:
        rows: the questions.
        fraction: share of the questions that go to validation, about; between 0 and 1, both excluded.
        seed: the same seed gives the same parts.

    Raises:
        InputError: a part would be empty.
    """
    groups = _shuffled_groups(rows, seed)
    held_out = []
    while 0 < fraction < 1 and groups and len(held_out) < fraction * len(rows):
        held_out += groups.pop()
    if not held_out or not groups:
        raise InputError(
            "`fraction` (--validation-share) must leave a context for validation and one for training; questions "
            "about one context stay together. "
            f"Received: {fraction} of {len(rows)} questions about {len(_groups(rows))} contexts."
        )
    return _without(rows, held_out), rows.select(sorted(held_out))


def fold_questions(rows: Questions, folds: int, seed: int) -> Iterator[tuple[Questions, Questions]]:
    """Train and validation parts for k-fold cross-validation; no context stands in two validation parts.

    Raises:
        InputError: fewer than two folds, or fewer contexts than folds.
    """
    check_at_least("folds", folds, 2)
    groups = _shuffled_groups(rows, seed)
    if len(groups) < folds:
        raise InputError(f"`folds` must not exceed the number of contexts. Received: {folds}, {len(groups)} contexts.")
    parts = ([index for group in groups[fold::folds] for index in group] for fold in range(folds))  # dealt like cards
    return ((_without(rows, part), rows.select(sorted(part))) for part in parts)


def warn_of_shared_contexts(train: Questions, validation: Questions) -> int:
    """How many validation questions are about a context of the training part, with a warning if there is any."""
    shared = set(_groups(train))
    overlap = sum(len(rows) for context, rows in _groups(validation).items() if context in shared)
    if overlap:
        log.warning(
            "%d of the %d validation questions are about contexts of the training part: scores on them are too good.",
            overlap,
            len(validation),
        )
    return overlap


def _groups(rows: Questions) -> dict[str, list[int]]:
    """The questions about each context, up to case, width and white space."""
    groups = {}
    for index, context in enumerate(rows.contexts):
        groups.setdefault(context, []).append(index)
    merged = {}
    for context, members in groups.items():  # a context's normal form is made once, not for each of its questions
        merged.setdefault(normal_form(context), []).extend(members)
    return merged


def _shuffled_groups(rows: Questions, seed: int) -> list[list[int]]:
    groups = list(_groups(rows).values())
    random.Random(seed).shuffle(groups)
    return groups


def _without(rows: Questions, indices: Sequence[int]) -> Questions:
    return rows.select(sorted(set(range(len(rows))) - set(indices)))


def question_batches(
    rows: Questions,
    tokenizer: Tokenizer,
    *,
    sequence_length: int = 384,
    stride: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> GroupedBatches:
    """Endless batches of windows of similar length, with the first and the last token of the answer.

    Args:
        rows: of the reference answers of a question the most frequent one that stands in the context is learnt.
        tokenizer: turns texts into ids.
        sequence_length, stride: see `cut_windows`.
        batch_size: windows in a batch.
        seed: decides the order.

    Returns:
        Batches whose values are int32 (B, 2), places in the window; 0, that of [CLS], where the window does not hold
        the whole answer.
    """
    token_ids, segment_ids, values, weights, cut = [], [], [], [], 0
    longest = longest_question(tokenizer, sequence_length)
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        contexts = tokenizer.tokenize_with_offsets(rows.contexts[chunk])
        questions = tokenizer.tokenize(rows.questions[chunk])
        cut += int(tf.math.count_nonzero(questions.row_lengths() > longest))
        windows = cut_windows(tokenizer, questions, contexts.ids, sequence_length, stride)
        token_ids.append(windows.token_ids)
        segment_ids.append(windows.segment_ids)
        spans, known = _token_spans(rows.answers[chunk], contexts)
        values.append(_places(spans, windows))
        weights.append(known[windows.questions.numpy()])
    encoded, weights = Encoded(tf.concat(token_ids, axis=0), tf.concat(segment_ids, axis=0)), np.concatenate(weights)
    log.info("%d questions make %d windows of at most %d tokens", len(rows), len(weights), sequence_length)
    if cut:
        log.warning("%d of %d questions are longer than %d tokens and were cut.", cut, len(rows), longest)
    if not weights.all():
        log.warning("%d windows are not learnt from: no token covers their answer.", int((weights == 0).sum()))
    targets = TextTargets(np.concatenate(values), weights)
    return GroupedBatches(
        encoded, targets, pad_id=tokenizer.pad_id, sequence_length=sequence_length, batch_size=batch_size, seed=seed
    )


def _token_spans(answers: Sequence[list[Answer]], contexts: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """First and last context token of each question's answer, int32 (N, 2), -1 without an answer; and float32 (N,), 0
    where there is an answer that no token covers (invisible characters)."""
    spans, known = np.full((len(answers), 2), -1, np.int32), np.ones(len(answers), np.float32)
    splits = contexts.ids.row_splits.numpy()
    starts, ends = contexts.character_starts.values.numpy(), contexts.character_ends.values.numpy()
    for row, references in enumerate(answers):
        counts = Counter(answer for answer in references if answer.start >= 0)
        if not counts:
            continue
        answer, here = counts.most_common(1)[0][0], slice(*splits[row : row + 2])
        first = np.searchsorted(ends[here], answer.start, "right")  # the first token that ends after the answer begins
        last = np.searchsorted(starts[here], answer.start + len(answer.text), "left") - 1
        if first <= last:
            spans[row] = first, last
        else:
            known[row] = 0
    return spans, known


def _places(spans: np.ndarray, windows: Windows) -> np.ndarray:
    """Where spans of context tokens stand in the windows, int32 (W, 2); 0 in a window that does not hold them whole."""
    starts, places, lengths = (part.numpy()[:, None] for part in (windows.starts, windows.places, windows.lengths))
    within = spans[windows.questions.numpy()] - starts  # (W, 2)
    inside = ((within >= 0) & (within < lengths)).all(axis=1, keepdims=True)
    return np.where(inside, within + places, 0).astype(np.int32)
