"""Each task's files, read as its training would read them, for the report of `data.inspect`.

In: files and the names of columns. Out: `Inspected`: texts, what is counted by label, and what only this task has.
"""

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tfllm.checks import InputError, check_one_of
from tfllm.data.conversations import read_conversations
from tfllm.data.embedding import read_pair_table
from tfllm.data.multilabel import SEPARATOR, read_multilabel_table
from tfllm.data.multiple_choice import read_choices
from tfllm.data.question_answering import Questions, read_questions
from tfllm.data.regression import read_scored_table
from tfllm.data.seq2seq import read_seq2seq_table
from tfllm.data.tables import Table, read_table
from tfllm.data.tagged_texts import read_tagged_texts
from tfllm.tokenizers import Tokenizer

ROWS = "rows"


class Inspected(NamedTuple):
    """The rows of a task, as the report needs them.

    Attributes:
        table: what is compared: a row's text, or texts, and one value that should be the same for the same text.
        counts: how many there are of each label; None where there are no labels.
        counted: what is counted: rows, entities, words or messages.
        read_with: for each row the text it shares its tokens with, if that is not `table.pairs`.
        each_alone: the two texts of a row are read each by itself.
        windowed: longer rows are read in overlapping windows; else they are cut.
        facts: what only this task has to say, JSON values by name.
        labels_are_names: which people write, and may write wrongly.
    """

    table: Table
    counts: Counter | None
    counted: str = ROWS
    read_with: list[str] | None = None
    each_alone: bool = False
    windowed: bool = False
    facts: Mapping = MappingProxyType({})
    labels_are_names: bool = True

    def texts(self) -> list[tuple[str, ...]]:
        """What a row is made of, for its length."""
        second = self.table.pairs if self.read_with is None else self.read_with
        columns = [self.table.texts] if second is None else [self.table.texts, second]
        return list(zip(*columns, strict=True))

    def special_tokens(self, tokenizer: Tokenizer) -> int:
        """How many special tokens a row has."""
        if self.table.pairs is None and self.read_with is None:
            return 2
        return 4 if self.each_alone else 2 + tokenizer.pair_separators


def read_task(
    task: str,
    files: str | Path | Sequence[str | Path],
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    choices: Sequence[str] | None = None,
    separator: str | None = None,
    score_range: Sequence[float] | None = None,
    source: str | None = None,
    target: str | None = None,
    encoding: str = "utf-8",
    data_dir: str | Path | None = None,
) -> Inspected:
    """The rows of files, read for a task; bad rows are in `table.bad_rows`.

    Args:
        task: a name of `READERS`.
        files: as the task's reader takes them.
        text, text_pair, label: columns. For `qa` the question, the context and the answers, for `choice` the question
            and the answer.
        labels: the labels there are, of `classify`, `pairs` and `multilabel`; None allows any.
        choices, separator, score_range: of `choice`; of `multilabel`; of `regress` and `similarity`.
        source, target: columns, of `seq2seq`.

    Raises:
        InputError: as the reader's; a column the task needs is not named, or one is that it does not read.
    """
    check_one_of("task", task, READERS)
    check_read(
        task,
        text_pair=text_pair,
        labels=labels,
        choices=choices,
        separator=separator,
        score_range=score_range,
        source=source,
        target=target,
    )
    if task in _NEED_PAIR and text_pair is None:
        raise InputError(f"--task {task} needs the column of the second text: --text-pair COLUMN.")
    reading = {"text": text, "text_pair": text_pair, "label": label, "encoding": encoding, "on_bad_rows": "collect"}
    own = {"labels": labels, "choices": choices, "separator": separator, "score_range": score_range}
    own |= {"source": source, "target": target, "data_dir": data_dir}
    return READERS[task](files, reading, own)


_NEED_PAIR = ("pairs", "embed", "similarity")
_READ_BY = {
    "text_pair": ("classify", "pairs", "multilabel", "regress", "embed", "similarity", "qa"),
    "labels": ("classify", "pairs", "multilabel"),
    "choices": ("choice",),
    "separator": ("multilabel",),
    "score_range": ("regress", "similarity"),
    "source": ("seq2seq",),
    "target": ("seq2seq",),
}


def check_read(task: str | None, **given) -> None:
    """Raise InputError for an argument that the task, or a table read without one, would ignore."""
    for name, value in given.items():
        if value is not None and task not in _READ_BY[name]:
            option = "--label-separator" if name == "separator" else f"--{name.replace('_', '-')}"
            others = "without a task nothing reads it" if task is None else f"--task {task} does not read it"
            raise InputError(f"{option} is for --task {', '.join(_READ_BY[name])}; {others}.")


def of_table(table: Table) -> Inspected:
    """Rows with one label each, or none."""
    return Inspected(table, None if table.labels is None else Counter(table.labels))


def _labelled(files, reading: dict, own: dict) -> Inspected:
    options = {"label_needed": True, "labels": own["labels"], "data_dir": own["data_dir"]}
    return of_table(read_table(files, **options, **reading))


def _multilabel(files, reading: dict, own: dict) -> Inspected:
    separator = own["separator"] or SEPARATOR
    reading |= {name: own[name] for name in ("labels", "data_dir")}
    table = read_multilabel_table(files, separator=separator, label_needed=True, **reading)
    counts = Counter(itertools.chain.from_iterable(table.labels))
    without = sum(not names for names in table.labels)
    table.labels = [separator.join(sorted(names)) for names in table.labels]
    return Inspected(table, counts, facts={"rows_without_labels": without})


def _scored(files, reading: dict, own: dict) -> Inspected:
    options = {"label_needed": True, "score_range": own["score_range"], "data_dir": own["data_dir"]}
    table = read_scored_table(files, **options, **reading)
    return Inspected(table, None, facts=_of_scores(table))


def _pairs_for_vectors(files, reading: dict, own: dict) -> Inspected:
    label = reading.pop("label")
    table = read_pair_table(files, score=label, score_range=own["score_range"], data_dir=own["data_dir"], **reading)
    return Inspected(table, None, each_alone=True, facts=_of_scores(table) if table.labels else {})


def _similar(files, reading: dict, own: dict) -> Inspected:
    if reading["label"] is None:
        raise InputError("--task similarity needs the column of the scores: --label COLUMN.")
    return _pairs_for_vectors(files, reading, own)


def _choices(files, reading: dict, own: dict) -> Inspected:
    rows = read_choices(
        files,
        question=reading["text"],
        choices=own["choices"],
        answer=reading["label"],
        encoding=reading["encoding"],
        on_bad_rows="collect",
        data_dir=own["data_dir"],
    )
    numbers = [len(choices) for choices in rows.choices]
    right = [choices[answer] for choices, answer in zip(rows.choices, rows.answers, strict=True)]
    table = Table(rows.texts, rows.pairs, right, rows.places, rows.bad_rows)
    return Inspected(
        table,
        Counter(f"choice {answer + 1}" for answer in rows.answers),
        read_with=[max(choices, key=len) for choices in rows.choices],
        facts={"choices": {"min": min(numbers), "max": max(numbers)}},
        labels_are_names=False,
    )


def _tagged(files, reading: dict, own: dict) -> Inspected:
    names = ("text", "label", "encoding", "on_bad_rows")
    rows = read_tagged_texts(files, **{name: reading[name] for name in names})
    spans = [tuple((span.start, span.end, span.label) for span in found) for found in rows.spans]
    counts = Counter(span.label for found in rows.spans for span in found)
    shown = [", ".join(f"{label} {start}-{end}" for start, end, label in found) or "nothing" for found in spans]
    table = Table(rows.texts, None, shown, rows.places, rows.bad_rows)
    facts = {"rows_without_entities": sum(not found for found in spans)} if rows.kind == "entities" else {}
    return Inspected(table, counts, counted=rows.kind, windowed=True, facts=facts)


def _questions(files, reading: dict, own: dict) -> Inspected:
    rows = read_questions(
        files,
        question=reading["text"],
        context=reading["text_pair"],
        answer=reading["label"],
        encoding=reading["encoding"],
        on_bad_rows="collect",
    )
    answers = [" / ".join(sorted({answer.text for answer in found})) or "no answer" for found in rows.answers]
    table = Table(rows.questions, rows.contexts, answers, rows.places, rows.bad_rows)
    return Inspected(table, None, windowed=True, facts=_of_questions(rows))


def _conversations(files, reading: dict, own: dict) -> Inspected:
    rows = read_conversations(files, encoding=reading["encoding"], on_bad_rows="collect")
    texts = ["\n".join(message["content"] for message in messages) for messages in rows.messages]
    roles = Counter(message["role"] for messages in rows.messages for message in messages)
    table = Table(texts, None, None, rows.places, rows.bad_rows)
    return Inspected(table, roles, counted="messages", windowed=True, labels_are_names=False)


def _translated(files, reading: dict, own: dict) -> Inspected:
    """Sources and targets; the lengths are those of the sources."""
    columns = {"source": own["source"] or "source", "target": own["target"] or "target"}
    rows = read_seq2seq_table(
        files, **columns, encoding=reading["encoding"], on_bad_rows="collect", data_dir=own["data_dir"]
    )
    return Inspected(Table(rows.texts, None, rows.pairs, rows.places, rows.bad_rows, rows.columns), None)


def _of_questions(rows: Questions) -> dict:
    lengths = [len(answer.text) for found in rows.answers for answer in found]
    return {
        "contexts": len(set(rows.contexts)),
        "answers": len(lengths),
        "rows_without_answer": sum(not found for found in rows.answers),
        "longest_answer": max(lengths, default=0),
        "repairs": [repair._asdict() for repair in rows.repairs],
    }


def _of_scores(table: Table) -> dict:
    low, high = min(table.labels), max(table.labels)
    spread = {"mean": statistics.fmean(table.labels), "deviation": statistics.pstdev(table.labels)}
    return {"scores": {"min": low, "max": high, **spread}}


READERS: dict[str, Callable[[object, dict, dict], Inspected]] = {
    "classify": _labelled,
    "pairs": _labelled,
    "multilabel": _multilabel,
    "regress": _scored,
    "embed": _pairs_for_vectors,
    "similarity": _similar,
    "choice": _choices,
    "tag": _tagged,
    "qa": _questions,
    "seq2seq": _translated,
    "chat": _conversations,
}
