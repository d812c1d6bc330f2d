"""What a run would see: counts per label, lengths, truncation, duplicates, overlap and bad rows, as a JSON-able dict.

In: files, a `Table`, or a stream of texts. Out: a report. Nothing is changed or written.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfllm.checks import InputError, did_you_mean
from tfllm.data.inspect_tasks import Inspected, check_read, of_table, read_task
from tfllm.data.rows import BadRow, file_kind
from tfllm.data.sources import bad_rows_error, expand_paths, read_documents, undecodable_advice
from tfllm.data.splits import count_overlap, normal_form, normalized_texts
from tfllm.data.tables import Table, is_labelled_folder, read_table
from tfllm.tokenizers import Tokenizer, load_tokenizer

_BATCH = 1000  # texts tokenized together
_FEWEST = 3  # rows of a label: with fewer there is none for validation, or one to learn from
_MOST_SHOWN = 20  # shown in the report; all are counted
_MOST_BAD = 1000  # documents of a corpus that are listed; all are counted


def check_data(
    files: str | Path | Sequence[str | Path],
    *,
    task: str | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    labels: Sequence[str] | None = None,
    choices: Sequence[str] | None = None,
    separator: str | None = None,
    score_range: Sequence[float] | None = None,
    source: str | None = None,
    target: str | None = None,
    tokenizer: str | Path | None = None,
    sequence_length: int | None = None,
    test: str | Path | Sequence[str | Path] | None = None,
    corpus: bool = False,
    encoding: str = "utf-8",
    data_dir: str | Path | None = None,
) -> dict:
    """Read files as a run would and report what is in them; bad rows are listed, not raised.

    Args:
        files: as `read_table` or `read_texts` takes them; with a `task`, as its reader does.
        task: read the files as `tfllm finetune --task` of this name would. None: as a text with a label, if that.
        text, text_pair, label: column names, as in `read_table`, or as the task names its columns.
        labels: the labels there are; a row with another is a bad one. None: any. Not for all tasks.
        choices, separator, score_range, source, target: for the tasks that have them, see `inspect_tasks.read_task`.
        tokenizer: a tokenizer directory; lengths are then given in tokens, too.
        sequence_length: tokens, special ones included; the report says how many rows are longer. Needs `tokenizer`.
        test: the test part, read with the same columns, for the overlap.
        corpus: True = unlabelled documents, a line each. Plain text files for which no column is named always are.
        encoding: of all files.
        data_dir: where TFDS data sets are prepared.

    Returns:
        `inspect_table`'s or `inspect_texts`' report; with a task also what it alone has to say. `encoding_advice`:
        which encoding to name, if bytes of the listed bad rows could not be decoded; else None.

    Raises:
        InputError: a file cannot be read, a column is missing, or an argument does not fit.
    """
    if sequence_length is not None and tokenizer is None:
        raise InputError("`sequence_length` counts tokens: name the tokenizer, too (--tokenizer DIR).")
    if tokenizer is not None:
        tokenizer = load_tokenizer(tokenizer)
    columns = {"text": text, "text_pair": text_pair, "label": label, "encoding": encoding, "data_dir": data_dir}
    columns |= {"labels": labels}
    own = {"choices": choices, "separator": separator, "score_range": score_range, "source": source, "target": target}
    if task is not None:
        if corpus:
            raise InputError("A corpus has no task: leave out `task`, or `corpus`.")
        train, held_out = (None if part is None else read_task(task, part, **columns, **own) for part in (files, test))
        report = _report(train, tokenizer, sequence_length, held_out)
    elif corpus or (text is None and label is None and labels is None and _is_plain_text(files)):
        of_rows = {"test": test, "text_pair": text_pair, "label": label, "labels": labels, **own}
        _check_unread(**of_rows, sequence_length=sequence_length)
        documents = read_documents(files, text, encoding=encoding, data_dir=data_dir)
        report = inspect_texts(documents, tokenizer, encoding)
    else:
        check_read(None, **own)
        columns |= {"on_bad_rows": "collect"}
        train, held_out = (None if part is None else read_table(part, **columns) for part in (files, test))
        report = inspect_table(train, tokenizer, sequence_length, held_out)
    bad = report["bad_rows"] + (report["test"]["bad_rows"] if report.get("test") else [])
    return {**report, "encoding_advice": undecodable_advice([BadRow(**row) for row in bad], encoding)}


def inspect_table(
    table: Table, tokenizer: Tokenizer | None = None, sequence_length: int | None = None, test: Table | None = None
) -> dict:
    """Report on labelled (or unlabelled) rows.

    Returns:
        A dict of JSON values; a part that was not asked for is None:
        `rows`: int. `labels`: {name: how many}, most frequent first; `counted`: what is, "rows".
        `rare_labels`: [{`label`, `count`, `near`}]: those that may be mistakes, see `find_rare_labels`.
        `characters`, `tokens`: {`min`, `median`, `p95`, `max`, `total`} of a row's text (and pair), specials excluded.
        `truncated`, or `windowed` where longer texts are read in windows: {`sequence_length`, `rows`, `share`}: rows
        longer than that with [CLS] and [SEP].
        `duplicates`: {`repeated_rows`: rows whose text stands in an earlier row, `repeats`: the first of these texts
        with their places, `conflicting_texts`: texts that stand under more than one label, `conflicts`: the first of
        them with their places by label}.
        `columns`: all of the first file, also those that are not read.
        `bad_rows`: [{`place`, `column`, `reason`}]. `bad_row_count`: int.
        `test`: {`rows`, `overlap`, `unseen_labels`, `bad_rows`, `bad_row_count`}: rows also in `table`; labels that are
        not.
    """
    report = _report(of_table(table), tokenizer, sequence_length, None if test is None else of_table(test))
    return {**report, "columns": table.columns}


def _report(rows: Inspected, tokenizer: Tokenizer | None, sequence_length: int | None, test: Inspected | None) -> dict:
    texts = rows.texts()
    lengths = None if tokenizer is None else _token_lengths(texts, tokenizer)
    longer = None
    if sequence_length is not None:
        longer = _longer(lengths, sequence_length, rows.special_tokens(tokenizer))
    return {
        "rows": len(rows.table),
        "labels": None if rows.counts is None else dict(rows.counts.most_common()),
        "counted": rows.counted,
        "rare_labels": find_rare_labels(rows.counts) if rows.counts and rows.labels_are_names else [],
        "characters": _summary(Counter(sum(map(len, parts)) for parts in texts)),
        "tokens": None if lengths is None else _summary(lengths),
        "truncated": None if rows.windowed else longer,
        "windowed": longer if rows.windowed else None,
        "duplicates": _duplicates(rows.table),
        **rows.facts,
        "bad_rows": [row._asdict() for row in rows.table.bad_rows],
        "bad_row_count": len(rows.table.bad_rows),
        "test": None if test is None else _compare(rows, test),
    }


def find_rare_labels(counts: Counter) -> list[dict]:
    """Labels that may be mistakes: those that are rare and look like a common one, those with 1 or 2 rows, and those
    that another, more frequent one equals up to case, width and white space.

    Returns:
        For each {`label`, `count`, `near`}: `near` is ` (did you mean 'x'?)`, x at least 20 times as frequent if it is
        another word, or "".
    """
    common = [label for label, rows in counts.most_common(100) if rows >= 20]
    found, first = [], {}
    for label, rows in counts.most_common():
        far_more = [one for one in common if counts[one] >= 20 * rows]
        by_chance = len(label) <= 2 and rows >= _FEWEST  # short labels often are near another
        same = first.setdefault(normal_form(label), label)
        near = f" (did you mean {same!r}?)" if same != label else "" if by_chance else did_you_mean(label, far_more)
        if near or rows < _FEWEST:
            found.append({"label": label, "count": rows, "near": near})
    return found


def inspect_texts(documents: Iterable[str | BadRow], tokenizer=None, encoding: str = "utf-8") -> dict:
    """Report on a stream of documents, which were read in `encoding`, in constant memory.

    Returns:
        {`documents`, `characters`, `tokens`, `bad_rows`, `bad_row_count`}, as in `inspect_table`; of the bad ones the
        first 1,000 are listed.
    """
    characters, tokens, bad, bad_count = Counter(), Counter(), [], 0
    for batch in _batches(documents):
        texts = [document for document in batch if isinstance(document, str)]
        malformed = [document for document in batch if isinstance(document, BadRow)]
        bad_count += len(malformed)
        bad += malformed[: _MOST_BAD - len(bad)]
        characters.update(map(len, texts))
        if tokenizer is not None and texts:
            tokens += _token_lengths(((text,) for text in texts), tokenizer)
    if bad and not characters:
        raise bad_rows_error(bad, f"There is no document that is not bad ({bad_count} are).", encoding)
    if not characters:
        raise InputError("There is no document: every line is blank or malformed.")
    return {
        "documents": characters.total(),
        "characters": _summary(characters),
        "tokens": None if tokenizer is None else _summary(tokens),
        "bad_rows": [row._asdict() for row in bad],
        "bad_row_count": bad_count,
    }


def _check_unread(**of_rows) -> None:
    """Raise InputError for an argument that a corpus does not read."""
    for name, value in of_rows.items():
        if value is not None:
            raise InputError(
                f"`{name}` needs labelled rows: these files are unlabelled text. Name the columns (--text, --label), "
                "or leave it out."
            )


def _is_plain_text(files: str | Path | Sequence[str | Path]) -> bool:
    paths = [files] if isinstance(files, str | Path) else files
    if any(is_labelled_folder(path) for path in paths):
        return False
    return all(isinstance(source, Path) and file_kind(source) in (None, "text") for source in expand_paths(paths))


def _batches(items: Iterable) -> Iterable[list]:
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, _BATCH)), [])


def _token_lengths(rows: Iterable[tuple[str, ...]], tokenizer) -> Counter:
    """How many rows have how many tokens."""
    lengths = Counter()
    for batch in _batches(rows):
        parts = zip(*batch, strict=True)
        lengths.update(sum(tokenizer.tokenize(list(part)).row_lengths().numpy() for part in parts).tolist())
    return lengths


def _summary(lengths: Counter) -> dict[str, int]:
    ordered = sorted(lengths.items())
    return {
        "min": ordered[0][0],
        "median": _percentile(ordered, 50),
        "p95": _percentile(ordered, 95),
        "max": ordered[-1][0],
        "total": sum(length * count for length, count in ordered),
    }


def _percentile(ordered: list[tuple[int, int]], percent: int) -> int:
    """The smallest length that `percent` of the rows do not exceed."""
    rows = sum(count for _, count in ordered)
    reached = itertools.accumulate(count for _, count in ordered)
    return next(length for (length, _), total in zip(ordered, reached, strict=True) if total * 100 >= rows * percent)


def _longer(lengths: Counter, sequence_length: int, special_tokens: int) -> dict:
    rows = sum(count for length, count in lengths.items() if length > sequence_length - special_tokens)
    return {"sequence_length": sequence_length, "rows": rows, "share": rows / lengths.total()}


def _duplicates(table: Table) -> dict:
    columns = (table.texts,) if table.pairs is None else (table.texts, table.pairs)
    conflicts = _conflicts(table) if table.labels is not None else []
    rows_of = {}
    for index, row in enumerate(zip(*columns, strict=True)):
        rows_of.setdefault(row, []).append(index)
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    return {
        "repeated_rows": len(table) - len(rows_of),
        "repeats": [
            {"text": table.texts[rows[0]], "places": [table.places[index] for index in rows]}
            for rows in repeated[:_MOST_SHOWN]
        ],
        "conflicting_texts": len(conflicts),
        "conflicts": conflicts[:_MOST_SHOWN],
    }


def _conflicts(table: Table) -> list[dict]:
    """Texts, equal up to case, width and white space, that stand under more than one label."""
    rows_of = {}
    for index, text in enumerate(normalized_texts(table)):
        rows_of.setdefault(text, []).append(index)
    conflicts = []
    for rows in rows_of.values():
        places = {}
        for index in rows:
            places.setdefault(str(table.labels[index]), []).append(table.places[index])
        if len(places) > 1:
            conflicts.append({"text": table.texts[rows[0]], "places": places})
    return conflicts


def _compare(train: Inspected, test: Inspected) -> dict:
    found = {
        "rows": len(test.table),
        "overlap": count_overlap(train.table, test.table),
        "unseen_labels": sorted(set(test.counts or ()) - set(train.counts or ())),
        "bad_rows": [row._asdict() for row in test.table.bad_rows],
        "bad_row_count": len(test.table.bad_rows),
    }
    if "contexts" in train.facts:
        seen = {normal_form(context) for context in set(train.table.pairs)}
        shared = {context for context in set(test.table.pairs) if normal_form(context) in seen}
        found["overlap_of_contexts"] = sum(context in shared for context in test.table.pairs)
    return found
