"""Corpus files -> masked batches, streaming: memory does not grow with the corpus.

In: paths of text (see `sources.read_texts`) and a tokenizer. Out: a tf.data.Dataset that `fit` takes.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.data.features import ENCODER_INPUTS, MASKED_LM_INPUTS, check_dataset
from tfllm.data.masking import masked_lm_masker
from tfllm.data.next_sentence import sentence_pairs
from tfllm.data.packing import pack
from tfllm.data.sources import read_texts
from tfllm.tokenizers import Tokenizer

_CHUNK_CHARACTERS = 2_000_000  # texts tokenised and packed at a time; bounds memory
_SHUFFLE_ROWS = 20_000
PARTS = ("all", "train", "held-out")


def masked_lm_dataset(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    sequence_length: int = 128,
    batch_size: int = 32,
    mask_rate: float = 0.15,
    whole_word: bool = False,
    next_sentence: bool = False,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    part: str = "all",
    held_out: float = 0.01,
    repeat: bool = True,
    seed: int = 0,
) -> tf.data.Dataset:
    """Batches for masked-language modelling, with dynamic masks.

    Args:
        corpus: files, globs or directories, as `read_texts` takes them.
        tokenizer: turns the text into ids.
        sequence_length: T, tokens in a row. Texts are packed into rows (or paired, with `next_sentence`).
        batch_size: B, rows in a batch; the last, smaller one is dropped when `repeat` is set.
        mask_rate, whole_word: see `masked_lm_masker`.
        next_sentence: rows are sentence pairs, half of them with a second sentence from another text; the targets are
            dicts with `masked_lm` and `next_sentence`.
        text_column, document, encoding, on_bad_rows: how the files are read, see `read_texts`.
        part: "all" texts, or those for "train", or the "held-out" ones. A text's own hash decides.
        held_out: share of the texts held out, 0 to 1.
        repeat: True shuffles and never ends, for training with `steps_per_epoch`; False passes once, in order.
        seed: decides the order, the pairs and the masks.

    Returns:
        Dataset of (inputs, targets, weights): inputs is a dict of `token_ids`, `segment_ids`, `padding_mask` (B, T) and
        `mask_positions` (B, M); targets `mask_ids` (B, M); weights `mask_weights` (B, M).

    Raises:
        InputError: for a bad argument, a file that is not there, or a corpus whose first text cannot be read. A
            malformed text further on ends the iteration with a `tf.errors.InvalidArgumentError` that quotes it.
    """
    checks.check_at_least("sequence_length", sequence_length, 8)
    checks.check_at_least("batch_size", batch_size, 1)
    checks.check_one_of("part", part, PARTS)
    checks.check_between("held_out", held_out, 0, 1)
    reading = {"document": document, "encoding": encoding, "on_bad_rows": on_bad_rows}
    next(read_texts(corpus, text_column, **reading))
    epochs = itertools.count()  # every pass over the corpus draws other pairs

    def rows() -> Iterator[dict[str, np.ndarray]]:
        texts = (
            text
            for text in read_texts(corpus, text_column, **reading)
            if part == "all" or _is_held_out(text, held_out) == (part == "held-out")
        )
        epoch = next(epochs) if repeat else 0
        for number, chunk in enumerate(_chunks(texts)):
            if next_sentence:
                yield sentence_pairs(chunk, tokenizer, sequence_length, np.random.default_rng((seed, epoch, number)))
            else:
                yield _packed(chunk, tokenizer, sequence_length)

    row = tf.TensorSpec((None, sequence_length), tf.int32)
    signature = {
        **dict.fromkeys(ENCODER_INPUTS, row),
        **({"label_ids": tf.TensorSpec((None,), tf.int32)} if next_sentence else {}),
    }
    dataset = tf.data.Dataset.from_generator(rows, output_signature=signature).unbatch()
    if repeat:
        dataset = dataset.shuffle(_SHUFFLE_ROWS, seed=seed).repeat()
    dataset = dataset.batch(batch_size, drop_remainder=repeat)
    mask = masked_lm_masker(tokenizer, rate=mask_rate, whole_word=whole_word, seed=seed)
    dataset = dataset.enumerate().map(mask, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if next_sentence:
        return dataset.map(_with_next_sentence).prefetch(tf.data.AUTOTUNE)
    return check_dataset(dataset.prefetch(tf.data.AUTOTUNE), MASKED_LM_INPUTS, ["mask_ids"], ["mask_weights"])


def read_held_out(corpus: str | Path | Sequence[str | Path], held_out: float, **reading) -> Iterator[str]:
    """The texts that `masked_lm_dataset(part="held-out")` is made of; `reading` goes to `read_texts`."""
    return (text for text in read_texts(corpus, **reading) if _is_held_out(text, held_out))


def _is_held_out(text: str, share: float) -> bool:
    return zlib.crc32(text.encode("utf-8", "replace")) % 10_000 < share * 10_000


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


def _packed(texts: list[str], tokenizer: Tokenizer, length: int) -> dict[str, np.ndarray]:
    ids = tokenizer.tokenize(texts)
    documents = np.split(ids.values.numpy(), ids.row_splits.numpy()[1:-1])
    token_ids, padding_mask = pack(documents, length, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)
    return {"token_ids": token_ids, "segment_ids": np.zeros_like(token_ids), "padding_mask": padding_mask}


def _with_next_sentence(inputs: dict, mask_ids: tf.Tensor, mask_weights: tf.Tensor) -> tuple:
    inputs = dict(inputs)
    label_ids = inputs.pop("label_ids")
    targets = {"masked_lm": mask_ids, "next_sentence": label_ids}
    return inputs, targets, {"masked_lm": mask_weights, "next_sentence": tf.ones_like(label_ids, tf.float32)}
