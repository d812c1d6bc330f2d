"""Pairs of texts for vectors: pairs that belong together, or pairs with a score of how near they are.

In: two lists of texts. Out: batches in which the two texts of a pair are two texts, encoded each by itself, one after
the other. N pairs; B rows, T tokens in a row, S texts in a row at most.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.ahead import mapped
from tfllm.data.batches import Encoded, GroupedBatches, PackedBatches, TextTargets, rounded_width
from tfllm.data.classification import encode_texts
from tfllm.data.regression import read_scored_table
from tfllm.data.tables import Table, read_table
from tfllm.tokenizers import Tokenizer


def read_pair_table(
    paths: str | Path | Sequence[str | Path],
    *,
    text: str | None = None,
    text_pair: str,
    score: str | None = None,
    score_range: Sequence[float] | None = None,
    **reading,
) -> Table:
    """Read pairs of texts, with a score if there is a column of scores.

    Args:
        paths, text, text_pair: as `read_table` takes them.
        score: the column of scores. None: all pairs belong together; a column `label` is not read.
        score_range: lowest and highest score there can be; None allows any number.
        reading: the other arguments of `read_table`.

    Returns:
        `Table` whose `labels` are floats, or None without scores.
    """
    columns = {"text": text, "text_pair": text_pair}
    if score is not None:
        return read_scored_table(paths, label=score, score_range=score_range, **columns, **reading)
    table = read_table(paths, read_label=lambda cells, column: ("", ""), **columns, **reading)
    table.labels = None
    return table


def scores_to_cosines(scores: Sequence[float], score_range: Sequence[float] | None = None) -> np.ndarray:
    """float32 (N,): the lowest score of the range becomes 0, the highest 1. None: the range of the scores themselves.

    Raises:
        InputError: if all scores are equal and there is no range.
    """
    scores = np.asarray(scores, np.float64)
    low, high = score_range or (scores.min(), scores.max())
    if not low < high:
        raise InputError(f"All scores are {low:g}: there is nothing to learn. Give the range there can be.")
    return ((scores - low) / (high - low)).astype(np.float32)


class EmbeddingBatches:
    """Endless batches of pairs that can begin at any batch.

    Packed, the texts of a row do not see each other, and the two of a pair stand in one row: their `padding_mask` is
    2k - 1 and 2k. Else rows 2k and 2k + 1 of a batch hold a pair.

    Args:
        texts, pairs: N texts each; the two of a place belong together.
        tokenizer: turns texts into ids; every one becomes `[CLS] text [SEP]`.
        cosines: what the cosine of each pair's vectors should be, float (N,); None = the pairs belong together, and
            texts of other pairs do not.
        packed: for a model from `packed_classifier`.
        sequence_length: tokens of a pair at most: longer ones are cut, the longer text first, and the log says so.
        batch_size: pairs in a batch (on average, if packed).
        seed: decides the order.

    Attributes:
        epoch_steps: batches in a pass over the pairs.
        texts_per_row: S, or None if a row holds one text.

    Elements are (inputs, values, weights), one value and weight a text, (B, S) or (B,): the cosine wanted, float32; or
    a number that equal texts share, int32, from 1. See `losses.CosineLoss` and `losses.InBatchNegativesLoss`.

    Example, the pairs (a, b c) and (d, a) packed into one row:

        token_ids      2  a  3  2  b  c  3  2  d  3  2  a  3
        padding_mask   1  1  1  2  2  2  2  3  3  3  4  4  4
        values         1  2  3  1
    """

    def __init__(
        self,
        texts: Sequence[str],
        pairs: Sequence[str],
        tokenizer: Tokenizer,
        *,
        cosines: Sequence[float] | None = None,
        packed: bool = True,
        sequence_length: int = 128,
        batch_size: int = 32,
        seed: int = 0,
    ):
        if len(texts) != len(pairs) or len(texts) != len(texts if cosines is None else cosines):
            raise InputError(f"Every text needs a partner. Received: {len(texts)} texts and {len(pairs)} partners.")
        if cosines is None:
            values = _numbers([*texts, *pairs]).reshape(2, -1).T
        else:
            values = np.repeat(np.asarray(cosines, np.float32)[:, np.newaxis], 2, axis=1)
        self._length, self._pad_id = sequence_length, tokenizer.pad_id
        self._batches = (PackedBatches if packed else GroupedBatches)(
            _encode_pairs(texts, pairs, tokenizer, sequence_length),
            TextTargets(values, np.ones(len(texts), np.float32)),
            pad_id=tokenizer.pad_id,
            sequence_length=sequence_length,
            batch_size=batch_size,
            seed=seed,
        )
        self.epoch_steps = self._batches.epoch_steps
        self.texts_per_row = 2 * self._batches.texts_per_row if packed else None

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        return mapped(self._batches(start), self._numbered if self.texts_per_row else self._split)

    def _numbered(self, inputs: dict, values: tf.Tensor, weights: tf.Tensor) -> tuple:
        """Rows whose pairs are numbered -> rows whose texts are numbered."""
        mask, second = inputs["padding_mask"], inputs["segment_ids"]
        texts = tf.where(mask > 0, 2 * mask - 1 + second, 0)
        inputs = {**inputs, "padding_mask": texts, "segment_ids": tf.zeros_like(second)}
        return inputs, tf.reshape(values, [values.shape[0], self.texts_per_row]), tf.repeat(weights, 2, axis=1)

    def _split(self, inputs: dict, values: tf.Tensor, weights: tf.Tensor) -> tuple:
        """Rows of one pair (B, T) -> rows of one text (2B, T)."""
        second = inputs["segment_ids"] == 1
        first = (inputs["padding_mask"] == 1) & ~second
        parts = [tf.ragged.boolean_mask(inputs["token_ids"], part) for part in (first, second)]
        rows = tf.ragged.stack(parts, axis=1).merge_dims(0, 1)  # (2B, (T))
        lengths = rows.row_lengths()
        width = rounded_width(tf.reduce_max(lengths), self._length)
        token_ids = rows.to_tensor(self._pad_id, shape=tf.stack([rows.nrows(), width]))
        padding_mask = tf.sequence_mask(lengths, width, tf.int32)
        inputs = {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}
        inputs = {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}
        return inputs, tf.reshape(values, [-1]), tf.repeat(weights, 2)


def _numbers(texts: Iterable[str]) -> np.ndarray:
    """int32, from 1: a number for each text, the same for equal ones."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers) + 1) for text in texts], np.int32)


def _encode_pairs(texts: Sequence[str], pairs: Sequence[str], tokenizer: Tokenizer, sequence_length: int) -> Encoded:
    """`[CLS] text [SEP] [CLS] pair [SEP]`, with segment 1 from the second [CLS] on: how pairs keep together.

    The tokenizer's own segments do not tell the two texts apart where it puts pairs into one.
    """
    separators = tokenizer.pair_separators
    ids, _ = encode_texts(texts, tokenizer, sequence_length - 2 + separators, pairs)
    count = tf.cumsum(tf.cast(ids.values == tokenizer.sep_id, tf.int32), exclusive=True)
    before = ids.with_values(count - tf.gather(count, tf.gather(ids.row_starts(), ids.value_rowids())))  # [SEP]s so far
    first, second = (tf.ragged.boolean_mask(ids, part) for part in (before == 0, before >= separators))
    second = tf.concat([tf.fill([second.nrows(), 1], tokenizer.cls_id), second], axis=1)
    return Encoded(tf.concat([first, second], axis=1), tf.concat([tf.zeros_like(first), tf.ones_like(second)], axis=1))
