"""Labelled texts -> batches of texts of similar length.

In: texts and label ids. Out: a tf.data.Dataset that `fit`, `evaluate` and `predict` take.
"""

import itertools
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.batches import Encoded, GroupedBatches, PackedBatches, TextTargets, length_grouped, rounded_width
from tfllm.data.features import ENCODER_INPUTS, check_dataset
from tfllm.tokenizers import Tokenizer

log = logging.getLogger("tfllm")
_CHUNK_TEXTS = 1000


def classification_dataset(
    texts: Sequence[str],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    label_names: Sequence[str],
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    static_shapes: bool = False,
) -> tf.data.Dataset:
    """Batches of labelled texts, each padded to its own longest text.

    Args:
        texts, labels: the text and the label name of each example (`read_table` gives both).
        tokenizer: turns the text into ids; [CLS] and [SEP] are added.
        label_names: all labels, in the order of the model's logits.
        pairs: the second text of each example; [SEP] stands between the two.
        sequence_length: T at most; longer texts are cut, and the log says how many.
        batch_size: B.
        shuffle: True draws a new order for every epoch from `seed` and puts texts of similar length together; False
            keeps the order.
        static_shapes: pad every batch to `sequence_length`, and leave out the last one if it is smaller: what a TPU
            needs so that it compiles one program only.

    Returns:
        Dataset of (inputs, label_ids): inputs a dict of `token_ids`, `segment_ids`, `padding_mask` int32 (B, T),
        label_ids int32 (B,). Its `cardinality` is known.

    Raises:
        InputError: for an unknown label or a bad argument.
    """
    dataset = text_dataset(
        texts,
        tokenizer,
        pairs=pairs,
        sequence_length=sequence_length,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        targets=encode_labels(texts, labels, label_names),
        static_shapes=static_shapes,
    )
    return check_dataset(dataset, ENCODER_INPUTS, ["label_ids"])


def classification_batches(
    texts: Sequence[str],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    label_names: Sequence[str],
    pairs: Sequence[str] | None = None,
    packed: bool = True,
    sequence_length: int = 128,
    batch_size: int = 32,
    class_weights: Sequence[float] | None = None,
    seed: int = 0,
) -> PackedBatches | GroupedBatches:
    """Endless batches of labelled texts that can begin at any batch; for a training that goes on where it was killed.

    Args:
        texts, labels, tokenizer, label_names, sequence_length, batch_size, seed: as for `classification_dataset`.
        pairs: the second text of each example.
        packed: several texts a row, for a model from `packed_classifier`; else one text a row.
        class_weights: what an example of each label counts; None counts all alike.
    """
    label_ids = encode_labels(texts, labels, label_names).numpy()
    weights = np.ones(len(label_names)) if class_weights is None else np.asarray(class_weights)
    return (PackedBatches if packed else GroupedBatches)(
        encode_texts(texts, tokenizer, sequence_length, pairs),
        TextTargets(label_ids, weights[label_ids].astype("float32")),
        pad_id=tokenizer.pad_id,
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
    )


def encode_labels(texts: Sequence[str], labels: Sequence[str], label_names: Sequence[str]) -> tf.Tensor:
    """int32 (texts,): the position of each label in `label_names`."""
    checks.check_texts("texts", texts)
    checks.check_texts("labels", labels)
    if len(texts) != len(labels):
        raise InputError(f"Every text needs one label. Received: {len(texts)} texts and {len(labels)} labels.")
    index = {name: position for position, name in enumerate(label_names)}
    unknown = sorted(set(labels) - set(index))
    if unknown:
        raise InputError(f"label {unknown[0]!r} is not one of the labels{checks.did_you_mean(unknown[0], index)}.")
    return tf.constant([index[label] for label in labels], tf.int32)


def text_dataset(
    texts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    targets: tf.Tensor | None = None,
    static_shapes: bool = False,
) -> tf.data.Dataset:
    """Batches of texts without labels, or with `targets` (one row each); see `classification_dataset`."""
    checks.check_at_least("batch_size", batch_size, 1)
    encoded = encode_texts(texts, tokenizer, sequence_length, pairs)
    lengths = encoded.token_ids.row_lengths().numpy()
    last = len(lengths) - len(lengths) % batch_size if static_shapes else len(lengths)
    static = (batch_size, sequence_length) if static_shapes else (None, None)
    epochs = itertools.count()

    def batches() -> Iterator[np.ndarray]:
        order = np.arange(len(lengths))
        if shuffle:
            order = length_grouped(lengths, batch_size, np.random.default_rng((seed, next(epochs))))
        for start in range(0, last, batch_size):
            yield order[start : start + batch_size]

    def gather(rows):
        ids, segments = (tf.gather(part, rows) for part in encoded)
        width = static[1] or rounded_width(tf.reduce_max(ids.row_lengths()), sequence_length)
        shape = tf.stack([ids.nrows(), tf.cast(width, tf.int64)])
        inputs = {
            "token_ids": ids.to_tensor(tokenizer.pad_id, shape=shape),
            "segment_ids": segments.to_tensor(shape=shape),
            "padding_mask": tf.sequence_mask(ids.row_lengths(), width, tf.int32),
        }
        inputs = {name: tf.ensure_shape(part, static) for name, part in inputs.items()}
        return (inputs, tf.gather(targets, rows)) if targets is not None else inputs

    dataset = tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec((None,), tf.int64))
    dataset = mapped(dataset, gather)
    return made_ahead(dataset.apply(tf.data.experimental.assert_cardinality(-(-last // batch_size))))


def encode_texts(
    texts: Sequence[str], tokenizer: Tokenizer, sequence_length: int, pairs: Sequence[str] | None = None
) -> Encoded:
    """`[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`, cut to sequence_length; says how many were cut.

    Texts are tokenized some at a time: ids of whole documents take many times the bytes of their text.
    """
    checks.check_at_least("sequence_length", sequence_length, 3 if pairs is None else 5)
    checks.check_texts("texts", texts)
    checks.check_texts("pairs", [] if pairs is None else pairs)
    empty = tf.RaggedTensor.from_row_lengths(tf.constant([], tf.int32), tf.constant([], tf.int64))
    rows, segments, cut = [empty], [empty], 0
    for start in range(0, len(texts), _CHUNK_TEXTS):
        chunk = slice(start, start + _CHUNK_TEXTS)
        ids = tokenizer.tokenize(list(texts[chunk]))
        if pairs is None:
            length = ids.row_lengths() + 2
            rows.append(tokenizer.wrap(ids, sequence_length))
            segments.append(tf.zeros_like(rows[-1]))
        else:
            second = tokenizer.tokenize(list(pairs[chunk]))
            length = ids.row_lengths() + second.row_lengths() + 3
            for kept, part in zip((rows, segments), tokenizer.wrap_pair(ids, second, sequence_length), strict=True):
                kept.append(part)
        cut += int(tf.math.count_nonzero(length > sequence_length))
    if cut:
        share = 100 * cut / len(texts)
        log.warning(
            "%d of %d texts (%.1f %%) are longer than %d tokens and were cut.", cut, len(texts), share, sequence_length
        )
    return Encoded(tf.concat(rows, axis=0), tf.concat(segments, axis=0))
