"""Records -> rows in an order of their own for every epoch, from any batch on; no row of a damaged shard is used.

In: a directory that `write_records` finished. Out: a tf.data.Dataset of packed rows, or of masked batches by way of
`masked_lm_dataset`.

The order of an epoch follows from (seed, epoch) alone: all shards are shuffled; then _WINDOW of them at a time are
read together and their rows shuffled. So the place of every batch is known without reading those before it.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.features import ENCODER_INPUTS, check_dataset
from tfllm.data.records import WORK
from tfllm.data.records_shards import KIND, padding_mask_of, read_shard, tokenizer_hash
from tfllm.data.splits import PARTS
from tfllm.tokenizers import Tokenizer

_WINDOW = 8  # shards whose rows are shuffled together


class Records(NamedTuple):
    """What a records directory says of itself."""

    directory: Path
    sequence_length: int
    held_out: float
    id_type: str
    compression: str
    tokenizer: str
    shards: dict[str, dict]

    def part(self, part: str) -> dict[str, dict]:
        """The shards of "train", "held-out" or "all", by name."""
        return {name: entry for name, entry in self.shards.items() if part == "all" or name.startswith(part)}


def is_records(path: object) -> bool:
    """Whether a path is a records directory, by the kind in its manifest; an unfinished or damaged one by its files."""
    if not isinstance(path, str | Path):
        return False
    try:
        return json.loads((Path(path) / manifest.FILE_NAME).read_text("utf-8"))["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return (Path(path) / WORK).is_dir() or any(Path(path).glob("train-*.tfrecord*"))


def read_records(directory: str | Path) -> Records:
    """The description of a records directory; InputError if it is none, or unfinished, or damaged."""
    found = manifest.read_manifest(directory, KIND)
    try:
        arguments = found["arguments"]
        names = ("sequence_length", "held_out", "id_type", "compression")
        return Records(Path(directory), *(arguments[name] for name in names), found["tokenizer"], found["shards"])
    except KeyError as error:
        raise InputError(f"{Path(directory) / manifest.FILE_NAME} is damaged: it lacks {error}.") from None


def check_records(directory: str | Path) -> tuple[dict, list[str]]:
    """The manifest of a records directory, and what is wrong with its files: one message each, none if all is well."""
    directory = Path(directory)
    found, records = manifest.read_manifest(directory, KIND), read_records(directory)
    faults = []
    for name, entry in records.shards.items():
        try:
            _read(records, name, entry)
        except InputError as error:
            faults.append(str(error))
    try:
        manifest.check_files(directory, {"files": {k: v for k, v in found["files"].items() if k not in records.shards}})
    except InputError as error:
        faults.append(str(error))
    return found, faults


def records_dataset(
    directory: str | Path,
    tokenizer: Tokenizer,
    *,
    batch_size: int = 32,
    part: str = "all",
    repeat: bool = True,
    seed: int = 0,
    start_batch: int = 0,
    num_workers: int = 1,
    worker_index: int = 0,
) -> tf.data.Dataset:
    """Batches of packed rows, before any mask.

    Args:
        directory: what `write_records` wrote.
        tokenizer: the one it was written with.
        batch_size: B, rows in a batch of this worker.
        part: "all" rows, or those for "train", or the "held-out" ones.
        repeat: True shuffles every epoch anew and never ends; False passes once, in the order of the shards.
        seed: decides the order, with the number of the epoch.
        start_batch: how many batches to leave out; the next are those of a run from 0. It costs no reading.
        num_workers: how many share the rows: B x `num_workers` rows in a row are dealt out, B to each worker.
        worker_index: which of them this is, from 0.

    Returns:
        Dataset of dicts of `token_ids`, `segment_ids`, `padding_mask`, int32 (B, T). Without `repeat` the last batch
        is smaller. A shard that is missing or whose bytes have changed ends the iteration with a
        `tf.errors.InvalidArgumentError` that quotes an InputError with its name, before any of its rows.

    Raises:
        InputError: for a bad argument, a directory that holds no (finished) records, or another tokenizer's.
    """
    checks.check_at_least("batch_size", batch_size, 1)
    checks.check_one_of("part", part, PARTS)
    checks.check_between("seed", seed, 0, 2**31 - 1)
    checks.check_at_least("start_batch", start_batch, 0)
    checks.check_at_least("num_workers", num_workers, 1)
    checks.check_between("worker_index", worker_index, 0, num_workers - 1)
    records = read_records(directory)
    if tokenizer_hash(tokenizer) != records.tokenizer:
        raise InputError(
            f"{directory} was written with another tokenizer. Use the one in {Path(directory) / 'tokenizer'}, "
            "or write the records again."
        )
    shards = [(name, entry) for name, entry in records.part(part).items() if entry["rows"]]
    if not shards:
        raise InputError(
            f"{directory} has no rows in the part {part!r}: its documents are too few for the share held out. Write "
            "the records with another --held-out, or train with --held-out 0."
        )

    whole = batch_size * num_workers
    mine = slice(worker_index * batch_size, (worker_index + 1) * batch_size)

    def batches() -> Iterator[np.ndarray]:
        rows = _rows(records, shards, seed if repeat else None, start_batch * whole)
        return (batch[mine] for batch in _regrouped(rows, whole) if len(batch[mine]))

    shape = (batch_size if repeat else None, records.sequence_length)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec(shape, records.id_type))
    left = max(0, sum(entry["rows"] for _, entry in shards) - start_batch * whole)
    count = tf.data.INFINITE_CARDINALITY if repeat else left // whole + (left % whole > mine.start)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    dataset = mapped(dataset, lambda token_ids: _features(token_ids, tokenizer))
    return check_dataset(made_ahead(dataset), ENCODER_INPUTS)


def _rows(records: Records, shards: list[tuple[str, dict]], seed: int | None, skip: int) -> Iterator[np.ndarray]:
    """Rows (n, T) window by window, from number `skip` on: epoch after epoch by `seed`, or once in order if None."""
    total = sum(entry["rows"] for _, entry in shards)
    window = _WINDOW if seed is not None else 1
    for epoch in range(1) if seed is None else itertools.count(skip // total):
        left = skip if seed is None else max(0, skip - epoch * total)
        order = range(len(shards)) if seed is None else np.random.default_rng((seed, epoch)).permutation(len(shards))
        for start in range(0, len(shards), window):
            chosen = [shards[index] for index in order[start : start + window]]
            size = sum(entry["rows"] for _, entry in chosen)
            if left >= size:
                left -= size
                continue
            rows = np.concatenate([_read(records, name, entry) for name, entry in chosen])
            if seed is not None:
                rows = rows[np.random.default_rng((seed, epoch, 1 + start)).permutation(size)]
            yield rows[left:]
            left = 0


def _read(records: Records, name: str, entry: dict) -> np.ndarray:
    return read_shard(records.directory / name, entry, records.id_type, records.sequence_length, records.compression)


def _regrouped(pieces: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same rows in groups of `size`, the last one with those that are left."""
    kept = None
    for rows in pieces:
        rows = rows if kept is None else np.concatenate([kept, rows])
        end = len(rows) // size * size
        yield from (rows[start : start + size] for start in range(0, end, size))
        kept = rows[end:]
    if kept is not None and len(kept):
        yield kept


def _features(token_ids: tf.Tensor, tokenizer: Tokenizer) -> dict[str, tf.Tensor]:
    token_ids = tf.cast(token_ids, tf.int32)
    padding_mask = padding_mask_of(token_ids, tokenizer.cls_id, tokenizer.pad_id)
    return {"token_ids": token_ids, "segment_ids": tf.zeros_like(token_ids), "padding_mask": padding_mask}
