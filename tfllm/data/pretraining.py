"""Corpus files or records -> masked batches, streaming: memory does not grow with the corpus.

In: paths of text (see `sources.read_texts`) or what `write_records` wrote, and a tokenizer.
Out: a tf.data.Dataset that `fit` takes.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.features import ENCODER_INPUTS, FEATURES, MASKED_LM_INPUTS, check_dataset
from tfllm.data.masking import masked_lm_masker
from tfllm.data.next_sentence import sentence_pairs
from tfllm.data.records_dataset import Records, is_records, read_records, records_dataset
from tfllm.data.records_shards import tokenize_and_pack
from tfllm.data.sources import read_texts
from tfllm.data.splits import PARTS, is_held_out
from tfllm.tokenizers import Tokenizer

_CHUNK_CHARACTERS = 2_000_000  # texts tokenised and packed at a time; bounds memory
_SHUFFLE_ROWS = 20_000
_READING = {"text_column": None, "document": "line", "encoding": "utf-8", "on_bad_rows": "error"}


def masked_lm_dataset(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    sequence_length: int | None = None,
    batch_size: int = 32,
    mask_rate: float = 0.15,
    whole_word: bool = False,
    next_sentence: bool = False,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    part: str = "all",
    held_out: float | None = None,
    repeat: bool = True,
    seed: int = 0,
    start_batch: int = 0,
) -> tf.data.Dataset:
    """Batches for masked-language modelling, with dynamic masks.

    Args:
        corpus: files, globs or directories, as `read_texts` takes them; or one records directory.
        tokenizer: turns the text into ids; of records, the one they were written with.
        sequence_length: T, tokens in a row; default 128, or that of the records. Texts are packed into rows (or
            paired, with `next_sentence`).
        batch_size: B, rows in a batch; the last, smaller one is dropped when `repeat` is set.
        mask_rate, whole_word: see `masked_lm_masker`.
        next_sentence: rows are sentence pairs, half of them with a second sentence from another text; the targets are
            dicts with `masked_lm` and `next_sentence`.
        text_column, document, encoding, on_bad_rows: how the files are read, see `read_texts`; not for records.
        part: "all" texts, or those for "train", or the "held-out" ones. A text's own hash decides.
        held_out: share of the texts held out, 0 to 1; default 0.01, or that of the records. 0 takes all for training.
        repeat: True shuffles and never ends, for training with `steps_per_epoch`; False passes once, in order.
        seed: decides the order, the pairs and the masks.
        start_batch: leaves out so many batches: the first is then the one that a run from 0 sees after them. Text is
            read up to there, records are not.

    Returns:
        Dataset of (inputs, targets, weights): inputs is a dict of `token_ids`, `segment_ids`, `padding_mask` (B, T) and
        `mask_positions` (B, M); targets `mask_ids` (B, M); weights `mask_weights` (B, M).

    Raises:
        InputError: for a bad argument, a file that is not there, or a corpus whose first text cannot be read. A
            malformed text further on ends the iteration with a `tf.errors.InvalidArgumentError` that quotes it.
    """
    mask = masked_lm_masker(tokenizer, rate=mask_rate, whole_word=whole_word, seed=seed)
    if next_sentence and (records := find_records(corpus)):
        raise InputError(f"{records.directory}: rows of records are packed and hold no sentence pairs. Give the text.")
    rows = read_rows(
        corpus,
        tokenizer,
        sentence_pairs if next_sentence else _packed,
        (*ENCODER_INPUTS, "label_ids") if next_sentence else ENCODER_INPUTS,
        sequence_length=sequence_length,
        batch_size=batch_size,
        reading={"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows},
        part=part,
        held_out=held_out,
        repeat=repeat,
        seed=seed,
        start_batch=start_batch,
    )
    return _masked(rows, start_batch, mask)


def read_rows(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    pack: Callable[[list[str], Tokenizer, int, np.random.Generator], dict[str, np.ndarray]],
    features: Sequence[str],
    *,
    sequence_length: int | None,
    batch_size: int,
    reading: dict,
    part: str,
    held_out: float | None,
    repeat: bool,
    seed: int,
    start_batch: int,
    widths: Mapping[str, int] = MappingProxyType({}),
) -> tf.data.Dataset:
    """Batches of rows as they are before an objective makes inputs and targets of them; see `masked_lm_dataset`.

    Args:
        pack: texts, tokenizer, T and random numbers that follow from the seed, the epoch and the texts' place -> rows
            with `features`. Records are packed already.
        features: names of `data.features`.
        reading: how text is read, see `read_texts`.
        widths: of features, where it is not `sequence_length`.
    """
    checks.check_at_least("batch_size", batch_size, 1)
    checks.check_one_of("part", part, PARTS)
    checks.check_at_least("start_batch", start_batch, 0)
    records = find_records(corpus)
    if records is not None:
        _check_fits(records, sequence_length, held_out, reading)
        part = "all" if part == "train" and held_out == 0 else part
        rows = {"batch_size": batch_size, "part": part, "repeat": repeat, "seed": seed, "start_batch": start_batch}
        return records_dataset(records.directory, tokenizer, **rows)
    sequence_length = 128 if sequence_length is None else sequence_length
    held_out = 0.01 if held_out is None else held_out
    checks.check_at_least("sequence_length", sequence_length, 8)
    checks.check_between("held_out", held_out, 0, 1)
    next(read_texts(corpus, **reading))
    epochs = itertools.count()  # every pass over the corpus draws other random numbers

    def rows() -> Iterator[dict[str, np.ndarray]]:
        texts = (
            text
            for text in read_texts(corpus, **reading)
            if part == "all" or is_held_out(text, held_out) == (part == "held-out")
        )
        epoch = next(epochs) if repeat else 0
        for number, chunk in enumerate(_chunks(texts)):
            yield pack(chunk, tokenizer, sequence_length, np.random.default_rng((seed, epoch, number)))

    signature = {
        name: tf.TensorSpec(
            (None, widths.get(name, sequence_length))[: FEATURES[name].rank], tf.as_dtype(FEATURES[name].dtype)
        )
        for name in features
    }
    dataset = tf.data.Dataset.from_generator(rows, output_signature=signature).unbatch()
    if repeat:
        dataset = dataset.shuffle(_SHUFFLE_ROWS, seed=seed).repeat()
    return dataset.batch(batch_size, drop_remainder=repeat).skip(start_batch)


def _masked(dataset: tf.data.Dataset, start_batch: int, mask: Callable) -> tf.data.Dataset:
    """The batches with masks, which follow from their numbers; the first has number `start_batch`."""
    paired = "label_ids" in dataset.element_spec
    dataset = mapped(dataset.enumerate(start_batch), mask)
    if paired:
        return made_ahead(mapped(dataset, _with_next_sentence))
    return check_dataset(made_ahead(dataset), MASKED_LM_INPUTS, ["mask_ids"], ["mask_weights"])


def find_records(corpus: str | Path | Sequence[str | Path]) -> Records | None:
    """The records directory that a corpus is, or None if it is text; InputError if it is a mixture."""
    paths = [corpus] if isinstance(corpus, str | Path) else list(corpus)
    if not any(map(is_records, paths)):
        return None
    if len(paths) > 1:
        raise InputError(f"One records directory can be read, alone. Received: {', '.join(map(str, paths))}.")
    return read_records(paths[0])


def _check_fits(records: Records, sequence_length: int | None, held_out: float | None, reading: dict) -> None:
    """Raise InputError if records are asked for what was decided otherwise when they were written."""
    ignored = [name for name, value in reading.items() if value != _READING[name]]
    if ignored:
        raise InputError(
            f"`{ignored[0]}` says how text files are read, and {records.directory} holds records: leave it out. "
            f"Received: {reading[ignored[0]]!r}."
        )
    for name, wanted in (("sequence_length", sequence_length), ("held_out", held_out or None)):
        written = getattr(records, name)
        if wanted not in (None, written):
            raise InputError(
                f"{records.directory} was written with {name}={written}: leave `{name}` out. Received: {wanted}."
            )


def read_held_out(corpus: str | Path | Sequence[str | Path], held_out: float, **reading) -> Iterator[str]:
    """The texts that `masked_lm_dataset(part="held-out")` is made of; `reading` goes to `read_texts`."""
    return (text for text in read_texts(corpus, **reading) if is_held_out(text, held_out))


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Consecutive texts, some _CHUNK_CHARACTERS together."""
    chunk, size = [], 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _packed(texts: list[str], tokenizer: Tokenizer, length: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    token_ids, padding_mask = tokenize_and_pack(texts, tokenizer, length)
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}


def _with_next_sentence(inputs: dict, mask_ids: tf.Tensor, mask_weights: tf.Tensor) -> tuple:
    inputs = dict(inputs)
    label_ids = inputs.pop("label_ids")
    targets = {"masked_lm": mask_ids, "next_sentence": label_ids}
    return inputs, targets, {"masked_lm": mask_weights, "next_sentence": tf.ones_like(label_ids, tf.float32)}
