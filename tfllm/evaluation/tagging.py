"""A tagger and tagged texts -> scores.

In: true spans, and those the model finds in the plain text with the functions that are served. Out: a dict of JSON
values.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf
from seqeval import metrics as seqeval_metrics
from seqeval.scheme import IOB2
from sklearn import metrics as sklearn_metrics

from tfllm.checks import InputError
from tfllm.data.spans import Span, begins_span, spans_of_units
from tfllm.data.tagged_texts import TaggedTexts
from tfllm.inference.tagging import NAMES, decode, encode
from tfllm.models import check_length, read_recipe
from tfllm.tokenizers import Tokenizer

_AVERAGES = ("macro", "micro", "weighted")
_STRINGS = tf.TensorSpec([None], tf.string)
_COLUMNS = ("precision", "recall", "f1")


def entity_scores(rows: TaggedTexts, predicted: Sequence[Sequence[Span]]) -> dict:
    """Scores of entities by seqeval: an entity counts when its words and its label are right.

    A word belongs to the entity it shares most characters with. Where the files know no words, characters are compared.

    Args:
        rows: texts with their true entities.
        predicted: those found in each text, in order, not overlapping.

    Returns:
        Dict of JSON values: `examples` (texts), `entities` (true ones); `f1`, `precision`, `recall` over all entities,
        as the CoNLL shared tasks count; `strict_f1`, `strict_precision`, `strict_recall` by seqeval's strict mode
        (equal, as only sequences that can be are predicted); `accuracy` of the tags of words; `macro`, `micro`,
        `weighted` (dicts of `precision`, `recall`, `f1`); `per_class` (label -> these and `support`); `labels`.
    """
    truth, found = (_iob2(rows, spans) for spans in (rows.spans, predicted))
    report = seqeval_metrics.classification_report(truth, found, output_dict=True, zero_division=0)
    strict = seqeval_metrics.classification_report(
        truth, found, output_dict=True, zero_division=0, mode="strict", scheme=IOB2
    )
    averages = {name: _row(report[f"{name} avg"]) for name in _AVERAGES}
    labels = sorted(name for name in report if not name.endswith(" avg"))
    return {
        "examples": len(rows),
        "entities": sum(map(len, rows.spans)),
        **averages["micro"],
        **{f"strict_{name}": value for name, value in _row(strict["micro avg"]).items()},
        "accuracy": float(seqeval_metrics.accuracy_score(truth, found)),
        **averages,
        "per_class": {name: {**_row(report[name]), "support": int(report[name]["support"])} for name in labels},
        "labels": labels,
    }


def word_scores(rows: TaggedTexts, predicted: Sequence[Sequence[Span]]) -> dict:
    """Scores of words and their tags.

    Args:
        rows: texts with all their words tagged.
        predicted: the words found in each text.

    Returns:
        Dict of JSON values: `examples` (texts), `words` (true ones); `accuracy`: the share of true words whose tag is
        that of the found word it shares most characters with; `f1`: of words found with the right borders and tag,
        which is how the CoNLL shared task of 2018 scores tags of plain text; `borders_f1`: with the right borders;
        `macro` and `weighted` (dicts of `precision`, `recall`, `f1` of the tags); `per_class` (tag -> these and
        `support`); `labels`.
    """
    truth = np.array([span.label for spans in rows.spans for span in spans], object)
    chosen = _chosen(rows, predicted)
    labels = np.array([span.label for spans in predicted for span in spans] + [""], object)
    found = labels[chosen]  # of a word without any found one: ""
    names = sorted(set(truth) | set(found) - {""})
    columns = sklearn_metrics.precision_recall_fscore_support(truth, found, labels=names, zero_division=0)
    rows_of = zip(names, *columns, strict=True)
    per_class = {name: {**_numbers(row[:3]), "support": int(row[3])} for name, *row in rows_of}
    return {
        "examples": len(rows),
        "words": len(truth),
        "accuracy": float(np.mean(truth == found)),
        "f1": _exact_f1(rows.spans, predicted),
        "borders_f1": _exact_f1(*([[span[:2] for span in one] for one in spans] for spans in (rows.spans, predicted))),
        **{
            average: _numbers(
                sklearn_metrics.precision_recall_fscore_support(
                    truth, found, labels=names, average=average, zero_division=0
                )
            )
            for average in ("macro", "weighted")
        },
        "per_class": per_class,
        "labels": names,
    }


def evaluate_tagger(
    model: keras.Model,
    tokenizer: Tokenizer,
    rows: TaggedTexts,
    *,
    sequence_length: int = 128,
    batch_size: int = 32,
) -> dict:
    """Let a tagger find the entities, or words, of plain texts, and score them.

    Args:
        model: from `add_tagger_head`.
        tokenizer: the one the model was trained with.
        rows: texts of the model's kind.
        sequence_length: texts with more tokens are read in overlapping windows.
        batch_size: texts, and windows, read together.

    Returns:
        `entity_scores` or `word_scores`, and `predictions`: of each text a list of [start, end, label].

    Raises:
        InputError: if the data holds entities and the model tags words, or the other way round.
    """
    predicted = span_finder(model, tokenizer, sequence_length=sequence_length, batch_size=batch_size)(rows.texts)
    return {**tagging_scores(model, rows, predicted), "predictions": [list(map(list, spans)) for spans in predicted]}


def tagging_scores(model: keras.Model, rows: TaggedTexts, predicted: Sequence[Sequence[Span]]) -> dict:
    """`entity_scores` or `word_scores`, as the model from `add_tagger_head` is for the one or the other.

    Raises:
        InputError: if `rows` are of the other kind.
    """
    kind = read_recipe(model)["arguments"]["kind"]
    if rows.kind != kind:
        raise InputError(f"The model was trained on {kind}, and the data holds {rows.kind}: {rows.places[0]}.")
    return (entity_scores if kind == "entities" else word_scores)(rows, predicted)


def span_finder(
    model: keras.Model, tokenizer: Tokenizer, *, sequence_length: int, batch_size: int
) -> Callable[[Sequence[str]], list[list[Span]]]:
    """A function from texts to the spans that the model, as it is then, finds in each; arguments: `evaluate_tagger`.

    Whatever backend of Keras the model is on, all but the model itself is what a SavedModel holds.
    """
    check_length(model, sequence_length)
    arguments = read_recipe(model)["arguments"]
    kind, labels, whole_words = (arguments[name] for name in ("kind", "labels", "whole_words"))
    read = tf.function(
        lambda text: encode(text, tokenizer, sequence_length, whole_words), autograph=False, input_signature=[_STRINGS]
    )
    _, places = read.get_concrete_function().structured_outputs
    specs = [
        tf.TensorSpec(model.output.shape, tf.float32),
        tf.nest.map_structure(tf.type_spec_from_value, places),
        _STRINGS,
    ]
    choose = tf.function(lambda *given: decode(*given, labels, kind), autograph=False, input_signature=specs)

    def find(texts):
        found = [[] for _ in texts]
        by_length = np.argsort([len(text) for text in texts], kind="stable")  # a batch is padded to its longest text
        for start in range(0, len(texts), batch_size):
            batch = by_length[start : start + batch_size]
            text = tf.constant([texts[number].encode("utf-8", "replace") for number in batch])
            inputs, places = read(text)
            outputs = choose(_outputs(model, inputs, batch_size), places, text)
            for number, spans in zip(batch, _spans(outputs, NAMES[kind]), strict=True):
                found[number] = spans
        return found

    return find


def _spans(outputs: dict[str, tf.Tensor], name: str) -> list[list[Span]]:
    columns = [outputs[name].numpy().tolist() for name in ("start", "end", name)]
    return [
        [Span(start, end, label.decode()) for start, end, label in zip(*(part[:count] for part in row), strict=True)]
        for count, *row in zip(outputs["count"].numpy(), *columns, strict=True)
    ]


def _outputs(model: keras.Model, inputs: dict[str, tf.Tensor], batch_size: int) -> tf.Tensor:
    inputs = {name: tensor.numpy() for name, tensor in inputs.items()}
    rows, width = inputs["token_ids"].shape
    parts = [
        model.predict_on_batch({name: array[start : start + batch_size] for name, array in inputs.items()})
        for start in range(0, rows, batch_size)
    ]
    return tf.constant(np.concatenate(parts) if parts else np.zeros((0, width, *model.output.shape[2:]), np.float32))


def _units(rows: TaggedTexts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The text, the start and the end of every word, or where words are not known of every character."""
    if rows.words is not None:
        flat = [(row, *word) for row, words in enumerate(rows.words) for word in words]
        return tuple(np.array(flat, np.int64).reshape(-1, 3).T)
    lengths = [len(text) for text in rows.texts]
    starts = np.concatenate([np.arange(length) for length in lengths])
    return np.repeat(np.arange(len(lengths)), lengths), starts, starts + 1


def _chosen(rows: TaggedTexts, spans: Sequence[Sequence[Span]]) -> np.ndarray:
    """The span of each word, numbered through all texts; -1 for none."""
    return spans_of_units(*_units(rows), [len(text) for text in rows.texts], spans)


def _iob2(rows: TaggedTexts, spans: Sequence[Sequence[Span]]) -> list[list[str]]:
    """The tag of every word of each text."""
    labels = [span.label for found in spans for span in found]
    chosen = _chosen(rows, spans)
    tags = [
        "O" if span < 0 else f"{'B' if begins else 'I'}-{labels[span]}"
        for span, begins in zip(chosen, begins_span(chosen), strict=True)
    ]
    ends = np.searchsorted(_units(rows)[0], np.arange(len(rows) + 1))
    return [tags[start:end] for start, end in itertools.pairwise(ends)]


def _exact_f1(truth: Iterable[Sequence], found: Iterable[Sequence]) -> float:
    """The harmonic mean of the shares of true and of found spans that are equal to one of the other."""
    pairs = [(set(map(tuple, one)), set(map(tuple, other))) for one, other in zip(truth, found, strict=True)]
    equal, total = (sum(counts) for counts in zip(*((len(a & b), len(a) + len(b)) for a, b in pairs), strict=True))
    return 2 * equal / total if total else 0.0


def _row(report: dict) -> dict[str, float]:
    return _numbers(report[name] for name in ("precision", "recall", "f1-score"))


def _numbers(values: Iterable[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(_COLUMNS, values, strict=False)}
