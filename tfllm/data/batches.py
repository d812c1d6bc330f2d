"""Encoded texts and targets -> endless batches that can begin at any one, so that a killed training goes on exactly.

In: ragged token ids of N texts (or pairs), and a target for every text or for every token. Out: tf.data.Datasets of
(inputs, values, weights), inputs a dict of `token_ids`, `segment_ids`, `padding_mask` (see `data.features`).
B rows, T tokens in a row, S texts in a row at most, C numbers in a text's target.

Example, two texts `a b` and `c` in one row, targets per text 7 and 9 | the same targets per token:

    token_ids      2  10  11   3   2  12   3   0
    padding_mask   1   1   1   1   2   2   2   0
    values         7   9                          |  0   7   7   0   0   9   0   0
    weights        1   1                          |  0   1   1   0   0   1   0   0
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead
from tfllm.data.features import ENCODER_INPUTS
from tfllm.data.packing import best_fit

_WINDOW_BATCHES = 50  # batches whose texts are packed, or sorted by length, together
_LENGTH_MULTIPLE = 8  # row lengths are rounded up to it, so that few different shapes occur
_SHORTEST_ROW = 64
_FILLED = 0.97  # what best-fit leaves of a row's room, about
_TOKENS_PER_TEXT = 8  # S is T divided by it


class Encoded(NamedTuple):
    """N texts as the encoder takes them, special tokens included. Both ragged int32 (N, (T))."""

    token_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor


class TextTargets(NamedTuple):
    """What is to be learnt of each text: values (N,) or (N, C), int32 or float32; weights float32 (N,)."""

    values: np.ndarray
    weights: np.ndarray

    def shapes(self, rows: int | None, width: int | None, texts: int | None) -> tuple[tuple, tuple]:
        """Shapes of a batch's values and weights; `texts` None = one text a row, without an axis for it."""
        leading = (rows,) if texts is None else (rows, texts)
        return (*leading, *self.values.shape[1:]), leading

    def put(self, values: np.ndarray, weights: np.ndarray, text: int, row: int, place: int, start: int) -> None:
        """Write the targets of a text that is the `place`-th of its row and begins at token `start`."""
        at = (row, place) if weights.ndim == 2 else row
        values[at], weights[at] = self.values[text], self.weights[text]


class TokenTargets:
    """What is to be learnt of each token.

    Args:
        values: ragged int32 or float32 (N, (T)), aligned with the token ids.
        weights: ragged float32 (N, (T)); 0 where nothing is to be learnt.
    """

    def __init__(self, values: tf.RaggedTensor, weights: tf.RaggedTensor):
        self.values, self._weights = values.values.numpy(), weights.values.numpy()
        self._splits = values.row_splits.numpy()

    def shapes(self, rows: int | None, width: int | None, texts: int | None) -> tuple[tuple, tuple]:
        """Shapes of a batch's values and weights."""
        return (rows, width), (rows, width)

    def put(self, values: np.ndarray, weights: np.ndarray, text: int, row: int, place: int, start: int) -> None:
        """Write the targets of a text that is the `place`-th of its row and begins at token `start`."""
        here = slice(*self._splits[text : text + 2])
        there = row, slice(start, start + here.stop - here.start)
        values[there], weights[there] = self.values[here], self._weights[here]


class _Batches:
    """Rows of texts, given by number -> arrays."""

    def __init__(self, encoded: Encoded, targets: TextTargets | TokenTargets, pad_id: int, batch_size: int, seed: int):
        checks.check_at_least("batch_size", batch_size, 1)
        self._splits, self._lengths = encoded.token_ids.row_splits.numpy(), encoded.token_ids.row_lengths().numpy()
        if not len(self._lengths):
            raise InputError("There is no text to make batches of.")
        self._token_ids, self._segment_ids = encoded.token_ids.values.numpy(), encoded.segment_ids.values.numpy()
        self._targets, self._pad_id, self._seed = targets, pad_id, seed
        self._window = _WINDOW_BATCHES * batch_size

    def _filled(self, rows: list[list[int]], width: int, texts: int | None) -> tuple[dict, np.ndarray, np.ndarray]:
        """Inputs, values and weights of a batch whose rows hold these texts."""
        token_ids = np.full((len(rows), width), self._pad_id, np.int32)
        segment_ids, padding_mask = np.zeros_like(token_ids), np.zeros_like(token_ids)
        shape, weights_shape = self._targets.shapes(len(rows), width, texts)
        values, weights = np.zeros(shape, self._targets.values.dtype), np.zeros(weights_shape, np.float32)
        for row, members in enumerate(rows):
            start = 0
            for place, text in enumerate(members):
                end, source = start + self._lengths[text], slice(*self._splits[text : text + 2])
                token_ids[row, start:end], segment_ids[row, start:end] = (
                    self._token_ids[source],
                    self._segment_ids[source],
                )
                padding_mask[row, start:end] = place + 1
                self._targets.put(values, weights, text, row, place, start)
                start = end
        return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}, values, weights

    def _dataset(
        self, batches: Callable[[], Iterator[tuple]], rows: int | None, width: int | None, texts: int | None
    ) -> tf.data.Dataset:
        values, weights = self._targets.shapes(rows, width, texts)
        signature = (
            {name: tf.TensorSpec((rows, width), tf.int32) for name in ENCODER_INPUTS},
            tf.TensorSpec(values, self._targets.values.dtype),
            tf.TensorSpec(weights, tf.float32),
        )
        return made_ahead(tf.data.Dataset.from_generator(batches, output_signature=signature))


class PackedBatches(_Batches):
    """Batches of rows that hold several texts each, with hardly any padding, always of the same shape.

    Texts of a row do not see each other, so the numbers are those of one text a row; it is only faster. Order and rows
    of a pass over the texts follow from (seed, number of the pass) alone.

    Args:
        encoded: the texts.
        targets: values of texts come out as (B, S) or (B, S, C) with weights (B, S), those of tokens as (B, T).
        pad_id: of the tokenizer.
        sequence_length: T at most, and the length no text exceeds.
        batch_size: texts in a batch on average; a batch is a fixed number of rows, filled as far as texts allow.
        seed: decides the order.

    Attributes:
        epoch_steps: batches in a pass over the texts (of the first pass; others may differ by one).
        texts_per_row: S.

    Example: `batches = PackedBatches(...)`; `batches(100)` is a dataset that begins with batch 100.
    """

    def __init__(
        self,
        encoded: Encoded,
        targets: TextTargets | TokenTargets,
        *,
        pad_id: int,
        sequence_length: int = 128,
        batch_size: int = 32,
        seed: int = 0,
    ):
        super().__init__(encoded, targets, pad_id, batch_size, seed)
        longest = -(-int(self._lengths.max()) // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        self.row_length = min(sequence_length, max(_SHORTEST_ROW, longest))
        self.texts_per_row = max(1, self.row_length // _TOKENS_PER_TEXT)
        needed = batch_size * self._lengths.mean() / self.row_length / _FILLED
        self.rows = max(1, round(max(needed, batch_size / self.texts_per_row)))
        self.epoch_steps = max(1, round(len(self._pass(0)) / self.rows))

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        def batches() -> Iterator[tuple]:
            rows = itertools.chain.from_iterable(self._pass(number) for number in itertools.count())
            rows = itertools.islice(rows, start * self.rows, None)
            while True:
                yield self._filled(list(itertools.islice(rows, self.rows)), self.row_length, self.texts_per_row)

        return self._dataset(batches, self.rows, self.row_length, self.texts_per_row)

    def _pass(self, number: int) -> list[list[int]]:
        """The texts of every row of a pass over all texts, in a new order."""
        random = np.random.default_rng((self._seed, number))
        order, rows = random.permutation(len(self._lengths)), []
        for begin in range(0, len(order), self._window):
            part = order[begin : begin + self._window]
            packed = best_fit(self._lengths[part].tolist(), self.row_length, self.texts_per_row)
            rows += [part[members].tolist() for members in packed]
        return [rows[place] for place in random.permutation(len(rows))]


class GroupedBatches(_Batches):
    """Batches of one text a row, texts of similar length together, each batch padded to its longest.

    Order and batches of a pass follow from (seed, its number) alone. Arguments as for `PackedBatches`, but `batch_size`
    is exact. Values of texts come out as (B,) or (B, C) with weights (B,), those of tokens as (B, T).

    Attributes:
        epoch_steps: batches in a pass over the texts, whose last one may be smaller. Set to less it counts as an epoch
            what is a part of a pass, where each text stands there once for every epoch, say.
        texts_per_row: None, for a row holds one text.
    """

    texts_per_row = None

    def __init__(
        self,
        encoded: Encoded,
        targets: TextTargets | TokenTargets,
        *,
        pad_id: int,
        sequence_length: int = 128,
        batch_size: int = 32,
        seed: int = 0,
    ):
        super().__init__(encoded, targets, pad_id, batch_size, seed)
        self._longest, self._size = sequence_length, batch_size
        self._pass_steps = self.epoch_steps = -(-len(self._lengths) // batch_size)

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        def batches() -> Iterator[tuple]:
            first, skip = divmod(start, self._pass_steps)
            for one in itertools.count(first):
                order = length_grouped(self._lengths, self._size, np.random.default_rng((self._seed, one)))
                for number in range(skip, self._pass_steps):
                    members = order[number * self._size : (number + 1) * self._size]
                    width = rounded_width(int(self._lengths[members].max()), self._longest)
                    yield self._filled([[text] for text in members], width, None)
                skip = 0

        return self._dataset(batches, None, None, None)


def rounded_width(longest: int | tf.Tensor, sequence_length: int) -> int | tf.Tensor:
    """The width of a batch whose longest row has `longest` tokens; no row is longer than `sequence_length`."""
    rounded = -(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
    return tf.minimum(rounded, sequence_length) if tf.is_tensor(rounded) else min(rounded, sequence_length)


def length_grouped(lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> np.ndarray:
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
