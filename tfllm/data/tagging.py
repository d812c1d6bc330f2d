"""`TaggedTexts` -> token ids with a tag for every token -> batches for a model from `add_tagger_head`.

N texts, W texts and windows of long texts, T tokens of a text.
"""

import logging
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_at_least, did_you_mean
from tfllm.data.batches import Encoded, GroupedBatches, PackedBatches, TokenTargets
from tfllm.data.spans import begins_span, spans_of_units
from tfllm.data.tagged_texts import TaggedTexts
from tfllm.tags import make_tags
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.neighbours import row_numbers
from tfllm.tokenizers.offsets import without_spaces
from tfllm.tokenizers.windows import cut_windows
from tfllm.tokenizers.words import continues_word, word_starts

log = logging.getLogger("tfllm")
_CHUNK_TEXTS = 1000


def tagging_batches(
    rows: TaggedTexts,
    tokenizer: Tokenizer,
    *,
    labels: Sequence[str],
    whole_words: bool = False,
    packed: bool = True,
    sequence_length: int = 128,
    batch_size: int = 32,
    seed: int = 0,
) -> PackedBatches | GroupedBatches:
    """Endless batches of tagged texts that can begin at any batch, for a training that goes on where it was killed.

    Args:
        rows: the texts.
        tokenizer: the model's.
        labels, whole_words: as the head was given them.
        packed: several texts a row; else one text a row.
        sequence_length: T at most; longer texts are cut into overlapping windows.
        batch_size: texts, or windows of long texts, in a batch.
        seed: decides the order.

    Raises:
        InputError: for a label that is not one of `labels`, or a bad argument.
    """
    encoded, targets = encode_tagged(rows, tokenizer, labels, sequence_length, whole_words)
    return (PackedBatches if packed else GroupedBatches)(
        encoded,
        targets,
        pad_id=tokenizer.pad_id,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def encode_tagged(
    rows: TaggedTexts, tokenizer: Tokenizer, labels: Sequence[str], sequence_length: int, whole_words: bool = False
) -> tuple[Encoded, TokenTargets]:
    """`[CLS] tokens [SEP]` of every text or window, and the tag of every token, both (W, (T)).

    A token belongs to the entity or word it shares most characters with; with `whole_words` a word's first token says
    so for the word, and the others have weight 0. A token counts in the window where it has most context; elsewhere,
    or in no word of a text whose words are tagged, its weight is 0, as that of [CLS] and [SEP].
    """
    check_at_least("sequence_length", sequence_length, 3)
    _check_labels(rows, labels)
    parts, lost, cut = [], 0, 0
    for start in range(0, len(rows), _CHUNK_TEXTS):
        chunk = rows.select(range(start, min(start + _CHUNK_TEXTS, len(rows))))
        tokens = tokenizer.tokenize_with_offsets(chunk.texts)
        text = tf.constant([text.encode() for text in chunk.texts])
        starts, ends = without_spaces(text, tokens.character_starts, tokens.character_ends)
        carried = continues_word(text, starts).numpy() if whole_words else np.zeros(starts.values.shape, bool)
        tags, spans = _token_tags(chunk, starts, ends, carried, labels)
        learnt = ~carried & ((rows.kind == "entities") | (spans >= 0))
        parts.append(_windowed(tokenizer, tokens.ids, tags, learnt, sequence_length))
        lost += sum(map(len, chunk.spans)) - len(np.unique(spans[spans >= 0]))
        cut += int(tf.math.count_nonzero(tokens.ids.row_lengths() > sequence_length - 2))
    if lost:
        log.warning("%d %s have no token of their own and cannot be learnt.", lost, rows.kind)
    if cut:
        log.info("%d of %d texts are longer than %d tokens: cut into windows.", cut, len(rows), sequence_length)
    token_ids, values, weights = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
    return Encoded(token_ids, tf.zeros_like(token_ids)), TokenTargets(values, weights)


def has_whole_words(rows: TaggedTexts) -> bool:
    """True when hardly any entity, or word, begins or ends inside a word as BERT splits text: fewer than 1 in 100."""
    inside = 0
    for start in range(0, len(rows), _CHUNK_TEXTS):
        texts = rows.texts[start : start + _CHUNK_TEXTS]
        begins, solid = (part.numpy() for part in word_starts(tf.constant([text.encode() for text in texts])))
        for number, spans in enumerate(rows.spans[start : start + _CHUNK_TEXTS]):
            goes_on = np.append(solid[number] & ~begins[number], False)
            inside += sum(bool(goes_on[span.start] | goes_on[span.end]) for span in spans)
    return 100 * inside < sum(map(len, rows.spans))


def _token_tags(
    rows: TaggedTexts, starts: tf.RaggedTensor, ends: tf.RaggedTensor, carried: np.ndarray, labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The tag of every token, int32 (tokens,), and the number of the span it belongs to, -1 for none."""
    tags, index = make_tags(labels, rows.kind), {label: number for number, label in enumerate(labels)}
    row, start, end = (part.numpy() for part in (row_numbers(starts), starts.values, ends.values))
    spans = spans_of_units(row, start, end, list(map(len, rows.texts)), rows.spans)
    spans = spans[np.maximum.accumulate(np.where(carried, 0, np.arange(len(spans))))]
    label = np.array([index[span.label] for found in rows.spans for span in found] + [0])[spans]
    found = np.where(begins_span(spans), np.array(tags.first)[label], np.array(tags.further)[label])
    return np.where(spans < 0, 0, found).astype(np.int32), spans


def _windowed(
    tokenizer: Tokenizer, ids: tf.RaggedTensor, tags: np.ndarray, learnt: np.ndarray, sequence_length: int
) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Token ids, tags and weights of every window; [CLS] and [SEP] stand as two tokens behind the last."""
    windows = cut_windows(ids.row_lengths(), sequence_length - 2)
    count = tf.size(ids.values, tf.int64)
    column = tf.fill([windows.tokens.nrows(), 1], count)
    tokens = tf.concat([column, windows.tokens, column + 1], axis=1)
    places = tokens.values
    special = [tokenizer.cls_id, tokenizer.sep_id]
    here = tf.gather(tf.concat([windows.owner, [-1, -1]], axis=0), places) == row_numbers(tokens)
    counts = here & tf.gather(np.append(learnt, [0, 0]) > 0, places)
    return (
        tokens.with_values(tf.gather(tf.concat([ids.values, special], axis=0), places)),
        tokens.with_values(tf.gather(np.append(tags, [0, 0]).astype(np.int32), places)),
        tokens.with_values(tf.cast(counts, tf.float32)),
    )


def _check_labels(rows: TaggedTexts, labels: Sequence[str]) -> None:
    known = set(labels)
    for place, spans in zip(rows.places, rows.spans, strict=True):
        for span in spans:
            if span.label not in known:
                near = did_you_mean(span.label, labels)
                raise InputError(f"{place}: {span.label!r} is not one of the labels {', '.join(labels)}{near}.")
