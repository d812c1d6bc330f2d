"""Labelled texts -> batches of rows that hold several texts each, with hardly any padding, always of the same shape.

In: texts and labels. Out: tf.data.Datasets for a model from `packed_classifier`. Texts of a row do not see each other
(see `data.features`), so the numbers are those of one text a row; it is only faster.
B rows, T tokens in a row, S texts in a row at most.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.data.classification import encode_labels, encode_texts
from tfllm.data.features import ENCODER_INPUTS, check_dataset
from tfllm.data.packing import best_fit
from tfllm.tokenizers import Tokenizer

_WINDOW_BATCHES = 50  # batches whose texts are packed together
_SHORTEST_ROW = 64
_FILLED = 0.97  # what best-fit leaves of a row's room, about
_TOKENS_PER_TEXT = 8  # S is T divided by it


class PackedBatches:
    """Endless packed batches that can begin at any one, for a training that goes on where it was killed.

    The texts are tokenized once. Order and rows of a pass follow from (seed, number of the pass) alone.

    Args:
        texts, labels, tokenizer, label_names, sequence_length, seed: as `classification_dataset` takes them.
        batch_size: texts in a batch on average; a batch is a fixed number of rows, filled as far as texts allow.
        class_weights: what an example of each label counts; None counts all alike.

    Attributes:
        epoch_steps: batches in a pass over the texts (of the first pass; others may differ by one).
        texts_per_row: S.

    Example: `batches = PackedBatches(...)`; `batches(100)` is a dataset that begins with batch 100. Its elements are
    (inputs, row_label_ids, row_label_weights).
    """

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
        self._labels = encode_labels(texts, labels, label_names).numpy()
        weights = np.ones(len(label_names)) if class_weights is None else np.asarray(class_weights)
        self._weights = weights[self._labels].astype("float32")
        ids = encode_texts(texts, tokenizer, sequence_length)
        self._ids, self._ends, self._lengths = ids.values.numpy(), ids.row_splits.numpy()[1:], ids.row_lengths().numpy()
        self._pad_id, self._seed, self._window = tokenizer.pad_id, seed, _WINDOW_BATCHES * batch_size
        self.row_length = min(sequence_length, max(_SHORTEST_ROW, -(-int(self._lengths.max(initial=1)) // 8) * 8))
        self.texts_per_row = max(1, self.row_length // _TOKENS_PER_TEXT)
        needed = batch_size * self._lengths.mean() / self.row_length / _FILLED
        self.rows = max(1, round(max(needed, batch_size / self.texts_per_row)))
        self.epoch_steps = max(1, round(len(self._pass(0)) / self.rows))

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        shape = (self.rows, self.row_length)
        inputs = {name: tf.TensorSpec(shape, tf.int32) for name in ENCODER_INPUTS}
        texts = [tf.TensorSpec((self.rows, self.texts_per_row), dtype) for dtype in (tf.int32, tf.float32)]
        dataset = tf.data.Dataset.from_generator(lambda: self._batches(start), output_signature=(inputs, *texts))
        return check_dataset(
            dataset.prefetch(tf.data.AUTOTUNE), ENCODER_INPUTS, ["row_label_ids"], ["row_label_weights"]
        )

    def _batches(self, start: int) -> Iterator[tuple]:
        rows = itertools.chain.from_iterable(self._pass(number) for number in itertools.count())
        rows = itertools.islice(rows, start * self.rows, None)
        while True:
            yield self._filled(list(itertools.islice(rows, self.rows)))

    def _pass(self, number: int) -> list[list[int]]:
        """The texts of every row of a pass over all texts, in a new order."""
        random = np.random.default_rng((self._seed, number))
        order, rows = random.permutation(len(self._lengths)), []
        for begin in range(0, len(order), self._window):
            part = order[begin : begin + self._window]
            packed = best_fit(self._lengths[part].tolist(), self.row_length, self.texts_per_row)
            rows += [part[members].tolist() for members in packed]
        return [rows[place] for place in random.permutation(len(rows))]

    def _filled(self, rows: list[list[int]]) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        token_ids = np.full((self.rows, self.row_length), self._pad_id, np.int32)
        padding_mask = np.zeros_like(token_ids)
        label_ids = np.zeros((self.rows, self.texts_per_row), np.int32)
        weights = np.zeros_like(label_ids, np.float32)
        for row, texts in enumerate(rows):
            start = 0
            for place, text in enumerate(texts):
                length, end = self._lengths[text], self._ends[text]
                token_ids[row, start : start + length] = self._ids[end - length : end]
                padding_mask[row, start : start + length] = place + 1
                start += length
            label_ids[row, : len(texts)], weights[row, : len(texts)] = self._labels[texts], self._weights[texts]
        inputs = {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}
        return inputs, label_ids, weights
