"""Labelled texts -> batches of texts of similar length.

In: texts and label ids. Out: a tf.data.Dataset that `fit`, `evaluate` and `predict` take.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.features import ENCODER_INPUTS, check_dataset
from tfllm.tokenizers import Tokenizer

log = logging.getLogger("tfllm")
_WINDOW_BATCHES = 50  # batches whose rows are sorted by length together
_CHUNK_TEXTS = 1000
_LENGTH_MULTIPLE = 8  # row lengths are rounded up to it, so that few different shapes occur


def classification_dataset(
    texts: Sequence[str],
    labels: Sequence[str],
    tokenizer: Tokenizer,
    *,
    label_names: Sequence[str],
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
        sequence_length=sequence_length,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        targets=encode_labels(texts, labels, label_names),
        static_shapes=static_shapes,
    )
    return check_dataset(dataset, ENCODER_INPUTS, ["label_ids"])


class ClassificationBatches:
    """Endless batches of labelled texts that can begin at any batch; for a training that goes on where it was killed.

    The texts are tokenized once. Order and batches of epoch e follow from (seed, e) alone.

    Args:
        texts, labels, tokenizer, label_names, sequence_length, batch_size, seed: as for `classification_dataset`.
        class_weights: what an example of each label counts; None counts all alike.

    Attributes:
        epoch_steps: batches in an epoch.
        texts_per_row: None, for a row holds one text; see `PackedBatches`.

    Example: `batches = ClassificationBatches(...)`; `batches(100)` is a dataset that begins with batch 100. Its
    elements are (inputs, label_ids), and with `class_weights` also a float32 (B,) of weights.
    """

    texts_per_row = None

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        tokenizer: Tokenizer,
        *,
        label_names: Sequence[str],
        sequence_length: int = 128,
        batch_size: int = 32,
        class_weights: Sequence[float] | None = None,
        seed: int = 0,
    ):
        checks.check_at_least("batch_size", batch_size, 1)
        self._class_weights = None if class_weights is None else tf.constant(class_weights, tf.float32)
        self._label_ids = encode_labels(texts, labels, label_names)
        self._ids = encode_texts(texts, tokenizer, sequence_length)
        self._pad_id, self._length, self._size, self._seed = tokenizer.pad_id, sequence_length, batch_size, seed
        self.epoch_steps = -(-len(texts) // batch_size)

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        lengths = self._ids.row_lengths().numpy()

        def batches() -> Iterator[np.ndarray]:
            first, skip = divmod(start, self.epoch_steps)
            for epoch in itertools.count(first):
                order = _length_grouped(lengths, self._size, np.random.default_rng((self._seed, epoch)))
                for number in range(skip, self.epoch_steps):
                    yield order[number * self._size : (number + 1) * self._size]
                skip = 0

        dataset = _gathered(batches, self._ids, self._label_ids, self._pad_id, self._length)
        dataset = check_dataset(dataset, ENCODER_INPUTS, ["label_ids"])
        if self._class_weights is None:
            return dataset
        return dataset.map(lambda inputs, label_ids: (inputs, label_ids, tf.gather(self._class_weights, label_ids)))


def encode_labels(texts: Sequence[str], labels: Sequence[str], label_names: Sequence[str]) -> tf.Tensor:
    """int32 (texts,): the position of each label in `label_names`."""
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
    sequence_length: int = 128,
    batch_size: int = 32,
    shuffle: bool = False,
    seed: int = 0,
    targets: tf.Tensor | None = None,
    static_shapes: bool = False,
) -> tf.data.Dataset:
    """Batches of texts without labels, or with `targets` (one row each); see `classification_dataset`."""
    checks.check_at_least("batch_size", batch_size, 1)
    ids = encode_texts(texts, tokenizer, sequence_length)
    lengths = ids.row_lengths().numpy()
    last = len(lengths) - len(lengths) % batch_size if static_shapes else len(lengths)
    epochs = itertools.count()

    def batches() -> Iterator[np.ndarray]:
        order = np.arange(len(lengths))
        if shuffle:
            order = _length_grouped(lengths, batch_size, np.random.default_rng((seed, next(epochs))))
        for start in range(0, last, batch_size):
            yield order[start : start + batch_size]

    static = (batch_size, sequence_length) if static_shapes else None
    dataset = _gathered(batches, ids, targets, tokenizer.pad_id, sequence_length, static)
    return dataset.apply(tf.data.experimental.assert_cardinality(-(-last // batch_size)))


def _gathered(
    batches: Callable[[], Iterator[np.ndarray]],
    ids: tf.RaggedTensor,
    targets: tf.Tensor | None,
    pad_id: int,
    sequence_length: int,
    static: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Batches of the rows that `batches` names; all of the shape `static` if it is given."""

    def gather(rows):
        chosen = tf.gather(ids, rows)
        width = static[1] if static else _batch_width(chosen, sequence_length)
        batch = {
            name: tf.ensure_shape(part, static or [None, None]) for name, part in _padded(chosen, pad_id, width).items()
        }
        return (batch, tf.gather(targets, rows)) if targets is not None else batch

    dataset = tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec((None,), tf.int64))
    return dataset.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, sequence_length: int) -> tf.RaggedTensor:
    """`[CLS] text [SEP]` of every text, cut to sequence_length; says how many were cut.

    Texts are tokenized some at a time: ids of whole documents take many times the bytes of their text.
    """
    checks.check_at_least("sequence_length", sequence_length, 3)
    rows, cut = [tf.RaggedTensor.from_row_lengths(tf.constant([], tf.int32), tf.constant([], tf.int64))], 0
    for start in range(0, len(texts), _CHUNK_TEXTS):
        ids = tokenizer.tokenize(list(texts[start : start + _CHUNK_TEXTS]))
        cut += int(tf.math.count_nonzero(ids.row_lengths() > sequence_length - 2))
        rows.append(tokenizer.wrap(ids, sequence_length))
    if cut:
        share = 100 * cut / len(texts)
        log.warning(
            "%d of %d texts (%.1f %%) are longer than %d tokens and were cut.", cut, len(texts), share, sequence_length
        )
    return tf.concat(rows, axis=0)


def _padded(ids: tf.RaggedTensor, pad_id: int, width: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The encoder's inputs, int32 (B, width)."""
    token_ids = ids.to_tensor(pad_id, shape=tf.stack([ids.nrows(), tf.cast(width, tf.int64)]))
    padding_mask = tf.sequence_mask(ids.row_lengths(), width, tf.int32)
    return {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}


def _batch_width(ids: tf.RaggedTensor, sequence_length: int) -> tf.Tensor:
    """The length of the longest row, rounded up so that few different widths occur."""
    longest = tf.reduce_max(ids.row_lengths())
    return tf.minimum(-(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE, sequence_length)


def _length_grouped(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> np.ndarray:
    """A random order in which every run of `batch_size` rows has similar lengths, and the runs are in random order."""
    order = random.permutation(len(lengths))
    window = _WINDOW_BATCHES * batch_size
    grouped = [
        part[np.argsort(lengths[part], kind="stable")] for part in np.split(order, range(window, len(order), window))
    ]
    order = np.concatenate(grouped) if grouped else order
    full = len(order) // batch_size * batch_size
    runs = order[:full].reshape(-1, batch_size)
    return np.concatenate([random.permutation(runs).reshape(-1), order[full:]])
