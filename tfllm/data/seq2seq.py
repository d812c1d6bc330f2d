"""Sources and targets -> batches for a model that reads the one and writes the other.

In: two lists of texts. Out: tf.data.Datasets of (inputs, next_ids, next_weights), inputs a dict of `source_ids`,
`source_mask` (R, S), `token_ids`, `padding_mask` (R, T) (see `data.features`). N pairs, R rows of several pairs each.

Example, sources `a b` and `c`, targets `x` and `y z`, in one row:

    source_ids     2  10  11   3   2  12   3   0
    source_mask    1   1   1   1   2   2   2   0
    token_ids      2  20   2  21  22   0
    padding_mask   1   1   2   2   2   0
    next_ids      20   3  21  22   3   0
    next_weights   1   1   1   1   1   0
"""

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead
from tfllm.data.embedding import read_pair_table
from tfllm.data.features import SEQ2SEQ_INPUTS, check_dataset
from tfllm.data.packing import best_fit_pairs, lay_out
from tfllm.data.records_shards import tokenize_texts
from tfllm.data.tables import Table
from tfllm.tokenizers import Tokenizer

log = logging.getLogger("tfllm")
_WINDOW_BATCHES = 50  # batches whose pairs are packed together
_LENGTH_MULTIPLE = 8
_SHORTEST_ROW = 64
_FILLED = 0.95  # what packing leaves of a row's room, about


def read_seq2seq_table(
    paths: str | Path | Sequence[str | Path], *, source: str = "source", target: str = "target", **reading
) -> Table:
    """Read pairs of a source and a target: `texts` and `pairs` of a `Table` without labels.

    Args:
        paths: as `read_table` takes them.
        source, target: names of the columns.
        reading: the other arguments of `read_table`.
    """
    return read_pair_table(paths, text=source, text_pair=target, **reading)


class Seq2SeqBatches:
    """Endless batches of packed rows, always of the same shape, that can begin at any one.

    A source becomes what `Tokenizer.wrap` makes of it, `[CLS] source [SEP]`; a target `[CLS] target`, of which every
    next token and at its end [SEP] is to be predicted. Pairs of a row do not see each other. Order and rows of a pass
    over the pairs follow from (seed, number of the pass) alone.

    Args:
        sources, targets: N texts each.
        tokenizer: of both.
        sequence_length, target_length: tokens of a source and of a target at most, special ones included; longer texts
            are cut at their end, and the log says how many.
        batch_size: pairs in a batch on average.
        start: the special tokens a target begins with; see `add_seq2seq_head`.
        seed: decides the order.

    Attributes:
        epoch_steps: batches in a pass over the pairs (of the first pass; others may differ by one).
        texts_per_row: None: the model takes packed rows as it is.

    Example: `batches = Seq2SeqBatches(...)`; `batches(100)` is a dataset that begins with batch 100.
    """

    texts_per_row = None

    def __init__(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        tokenizer: Tokenizer,
        *,
        sequence_length: int = 128,
        target_length: int = 128,
        batch_size: int = 32,
        start: str | Sequence[str] = "cls",
        seed: int = 0,
    ):
        checks.check_at_least("batch_size", batch_size, 1)
        if len(sources) != len(targets) or not len(sources):
            raise InputError(
                f"Every source needs one target. Received: {len(sources)} sources and {len(targets)} targets."
            )
        self._sources = encode_sources(sources, tokenizer, sequence_length)
        whole = encode_targets(targets, tokenizer, target_length, start)
        self._targets, self._next = [ids[:-1] for ids in whole], [ids[1:] for ids in whole]
        self._pad_id, self._seed = tokenizer.pad_id, seed
        self._sizes = np.array([[len(part) for part in parts] for parts in (self._sources, self._targets)]).T  # (N, 2)
        self._lengths = _row_lengths(self._sizes)
        texts = batch_size * (self._sizes.mean(0) / self._lengths).max() / _FILLED
        self._rows, self._window = max(1, round(texts)), _WINDOW_BATCHES * batch_size
        self.epoch_steps = max(1, round(len(self._pass(0)) / self._rows))

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        """Batches without end, the first of which has number `start`."""

        def batches() -> Iterator[tuple]:
            rows = itertools.chain.from_iterable(self._pass(number) for number in itertools.count())
            rows = itertools.islice(rows, start * self._rows, None)
            while True:
                yield self._filled(list(itertools.islice(rows, self._rows)))

        return self._dataset(batches)

    def once(self) -> tf.data.Dataset:
        """Every pair once; the last rows may be empty."""

        def batches() -> Iterator[tuple]:
            rows = self._pass(0)
            for first in range(0, len(rows), self._rows):
                yield self._filled(rows[first : first + self._rows])

        return self._dataset(batches)

    def _pass(self, number: int) -> list[list[int]]:
        """The pairs of every row of a pass over all pairs, in a new order."""
        random = np.random.default_rng((self._seed, number))
        order, rows = random.permutation(len(self._sizes)), []
        for begin in range(0, len(order), self._window):
            part = order[begin : begin + self._window]
            rows += [part[members].tolist() for members in best_fit_pairs(self._sizes[part], self._lengths)]
        return [rows[place] for place in random.permutation(len(rows))]

    def _filled(self, rows: list[list[int]]) -> tuple[dict, np.ndarray, np.ndarray]:
        rows = rows + [[]] * (self._rows - len(rows))
        source_length, target_length = self._lengths
        source_ids, source_mask = lay_out(self._sources, rows, source_length, self._pad_id)
        token_ids, padding_mask = lay_out(self._targets, rows, target_length, self._pad_id)
        next_ids, _ = lay_out(self._next, rows, target_length, 0)
        parts = (source_ids, source_mask, token_ids, padding_mask)
        return dict(zip(SEQ2SEQ_INPUTS, parts, strict=True)), next_ids, (padding_mask > 0).astype(np.float32)

    def _dataset(self, batches) -> tf.data.Dataset:
        source, target = (tf.TensorSpec((self._rows, int(length)), tf.int32) for length in self._lengths)
        inputs = dict(zip(SEQ2SEQ_INPUTS, (source, source, target, target), strict=True))
        signature = inputs, target, tf.TensorSpec(target.shape, tf.float32)
        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return check_dataset(made_ahead(dataset), SEQ2SEQ_INPUTS, ["next_ids"], ["next_weights"])


def encode_sources(texts: Sequence[str], tokenizer: Tokenizer, sequence_length: int) -> list[np.ndarray]:
    """`[CLS] text [SEP]` of every text, or as the tokenizer wraps it, int32 (T,)."""
    checks.check_at_least("sequence_length", sequence_length, 3)
    documents = tokenize_texts(texts, tokenizer)
    special = 2 if "cls" in tokenizer.special_tokens else 1
    _warn_of_cuts("sources", [len(document) + special for document in documents], sequence_length)
    ids = tf.ragged.stack([tf.constant(one, tf.int32) for one in documents])
    wrapped = tokenizer.wrap_source(ids, sequence_length)
    return np.split(wrapped.values.numpy(), wrapped.row_splits.numpy()[1:-1])


def encode_targets(
    texts: Sequence[str], tokenizer: Tokenizer, target_length: int, start: str | Sequence[str]
) -> list[np.ndarray]:
    """`[CLS] text [SEP]` of every text, of which a model reads all but the last and predicts all but the first."""
    first = tokenizer.ids_of(start)
    special = len(first) + 1
    checks.check_at_least("target_length", target_length, special + 1)
    documents = tokenize_texts(texts, tokenizer, target=True)
    _warn_of_cuts("targets", [len(document) + special for document in documents], target_length)
    kept = [document[: target_length - special] for document in documents]
    return [np.r_[first, document, tokenizer.sep_id].astype(np.int32) for document in kept]


def _row_lengths(sizes: np.ndarray) -> np.ndarray:
    """Tokens of source and target in a row, for pairs of these sizes, (N, 2): both are full after as many pairs."""
    longest, means = np.maximum(sizes.max(0), _SHORTEST_ROW), sizes.mean(0)
    pairs = (longest / means).max()
    return (-(-np.maximum(pairs * means, longest).astype(int) // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE).astype(int)


def _warn_of_cuts(name: str, lengths: Sequence[int], most: int) -> None:
    cut = sum(length > most for length in lengths)
    if cut:
        share = 100 * cut / len(lengths)
        log.warning(
            "%d of %d %s (%.1f %%) are longer than %d tokens and were cut.", cut, len(lengths), name, share, most
        )
