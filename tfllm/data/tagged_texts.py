"""Files with entities or tagged words -> `TaggedTexts`.

Every malformed text is found and named by file, line and reason before anything is trained.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfllm.checks import InputError, check_one_of
from tfllm.data.conll import Sentence, read_columns, read_conllu
from tfllm.data.entity_rows import EntityRow, read_entity_rows
from tfllm.data.rows import BadRow, check_encoding, file_kind
from tfllm.data.sources import bad_rows_error, expand_paths
from tfllm.data.spans import Span
from tfllm.data.tag_schemes import WordSpan, are_entity_tags, have_ends, read_entities
from tfllm.data.tfds import TfdsSource

log = logging.getLogger("tfllm")


@dataclass
class TaggedTexts:
    """Texts with entities, or with every word tagged: entry i of each list belongs to text i.

    Attributes:
        kind: "entities" or "words".
        texts: as they are served; words of a file with one word a line are joined again, see `data.conll`.
        spans: the entities of each text, or all its words with their tags; in order, not overlapping.
        words: the characters (start, end) of each text's words; None where a file does not know them.
        places: where each text starts: `train.conll:42`.
        bad_rows: the texts left out under 'skip' and 'collect'.
    """

    kind: str
    texts: list[str]
    spans: list[list[Span]]
    words: list[list[tuple[int, int]]] | None
    places: list[str]
    bad_rows: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def labels(self) -> list[str]:
        """The distinct labels, sorted."""
        return sorted({span.label for found in self.spans for span in found})

    def select(self, indices: Sequence[int]) -> "TaggedTexts":
        """These texts, in this order, without bad rows."""
        lists = (self.texts, self.spans, self.words, self.places)
        return TaggedTexts(
            self.kind, *(None if values is None else [values[index] for index in indices] for values in lists)
        )


def read_tagged_texts(
    paths: str | Path | Sequence[str | Path],
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
) -> TaggedTexts:
    """Read texts with entities or with tagged words; the end of a file's name says how it is read.

    `.jsonl`, `.json`: an object a line, `{"text": "...", "entities": [{"start": 0, "end": 5, "label": "LOC"}]}`, see
    `data.entity_rows`. `.conllu`: CoNLL-U, words with UPOS or XPOS. Any other: one word a line in columns, see
    `data.conll.read_columns`; tags like `B-LOC` are entities in whichever of IOB1, IOB2, BIOES, BMES and BILOU they
    are written, any others are tags of words.

    Args:
        paths: files, globs, directories.
        text, label: of JSON lines, the names of the keys; default `text` and `entities`. Of columns, their numbers
            from '0'; default: found out. Of CoNLL-U, `label` is 'upos' (the default) or 'xpos'.
        encoding: of all files.
        on_bad_rows: 'error' = raise and name the first five; 'skip' = leave such texts out with one warning;
            'collect' = leave them out silently. Both keep them in `bad_rows`.

    Raises:
        InputError: nothing is found, a file cannot be read, texts are bad, none is left, or none has a label.
    """
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip", "collect"))
    check_encoding(encoding)
    found = [row for path in expand_paths(paths) for row in _read_file(path, text, label, encoding)]
    bad = [row for row in found if isinstance(row, BadRow)]
    entity_rows = [row for row in found if isinstance(row, EntityRow)]
    sentences = [row for row in found if isinstance(row, Sentence)]
    kind = "entities" if entity_rows or are_entity_tags([tag for one in sentences for tag in one.tags]) else "words"
    read = _read_entities if kind == "entities" else _read_words
    rows = TaggedTexts(kind, [], [], None if entity_rows else [], [], bad)
    for row in entity_rows:
        _append(rows, row.text, row.spans, [], row.place)
    read(rows, sentences)
    _check_rows(rows, on_bad_rows, encoding)
    return rows


def _read_file(
    path: Path | TfdsSource, text: str | None, label: str | None, encoding: str
) -> Iterator[EntityRow | Sentence | BadRow]:
    if isinstance(path, TfdsSource):
        raise InputError(f"{path}: tags are read from files only: CoNLL columns, CoNLL-U or JSON lines.")
    if file_kind(path) == "json":
        return read_entity_rows(path, text or "text", label or "entities", encoding)
    if file_kind(path) == "csv":
        raise InputError(f"{path}: tags are not read from CSV. Give one word and its tag a line, or JSON lines.")
    if path.name.removesuffix(".gz").lower().endswith(".conllu"):
        return read_conllu(path, label or "upos", encoding)
    return read_columns(path, _column("text", text), _column("label", label), encoding)


def _column(name: str, number: str | None) -> int | None:
    if number is not None and not number.isdecimal():
        raise InputError(
            f"A column of words or tags is named by its number: --{name} 0 is the first. Received: {number!r}."
        )
    return None if number is None else int(number)


def _read_words(rows: TaggedTexts, sentences: list[Sentence]) -> None:
    for one in sentences:
        spans = [Span(*characters, tag) for characters, tag in zip(one.words, one.tags, strict=True)]
        _append(rows, one.text, spans, one.words, one.place)


def _read_entities(rows: TaggedTexts, sentences: list[Sentence]) -> None:
    """Append the sentences; those with a tag that is none go to `bad_rows`; what was read leniently is said."""
    ends, lenient = have_ends(tag for one in sentences for tag in one.tags), []
    needless_b = False  # a B that no entity of its type precedes: this is not IOB1, where such an entity begins with I
    for one in sentences:
        spans, faults, found = read_entities(one.tags, ends)
        if faults:
            word, reason = faults[0]
            rows.bad_rows.append(BadRow(one.places[word], "", reason))
            continue
        lenient += [BadRow(one.places[word], "", reason) for word, reason in found]
        for before, span in itertools.pairwise([WordSpan(0, 0, ""), *spans]):
            follows = before.after == span.first and before.label == span.label
            needless_b |= one.tags[span.first].startswith("B") and not follows
        entities = [Span(one.words[first][0], one.words[after - 1][1], label) for first, after, label in spans]
        _append(rows, one.text, entities, one.words, one.place)
    if lenient and (ends or needless_b):
        log.warning(
            "%d tags do not fit the one before; read as beginnings and ends of entities, as seqeval does: %s%s",
            len(lenient),
            "; ".join(map(str, lenient[:3])),
            "; ..." if lenient[3:] else "",
        )


def _append(rows: TaggedTexts, text: str, spans: list[Span], words: list[tuple[int, int]], place: str) -> None:
    rows.texts.append(text)
    rows.spans.append(spans)
    rows.places.append(place)
    if rows.words is not None:
        rows.words.append(words)


def _check_rows(rows: TaggedTexts, on_bad_rows: str, encoding: str) -> None:
    bad, total = rows.bad_rows, len(rows) + len(rows.bad_rows)
    if bad and on_bad_rows == "error":
        remedy = "Mend them, or leave them out: on_bad_rows='skip' (--on-bad-rows skip)."
        raise bad_rows_error(bad, f"{len(bad)} of {total} texts are bad. {remedy}", encoding)
    if bad and not len(rows):
        raise bad_rows_error(bad, f"All {len(bad)} texts are bad.", encoding)
    if bad and on_bad_rows == "skip":
        log.warning("%d of %d texts were bad and left out; the first: %s", len(bad), total, bad[0])
    if not len(rows):
        raise InputError("No text was found: every file is blank.")
    if not rows.labels:
        raise InputError(f"None of the {len(rows)} texts has an entity, so there is nothing to learn or to score.")
