"""Corpus files or records -> batches for a model that predicts the next token.

In: as for `masked_lm_dataset`. Out: a tf.data.Dataset that `fit` takes; `data.features` has a worked example.
B batch, T tokens.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.features import DECODER_INPUTS, check_dataset
from tfllm.data.packing import fill_rows
from tfllm.data.pretraining import find_records, read_rows
from tfllm.data.records_shards import tokenize_texts
from tfllm.tokenizers import Tokenizer

_REPLACEMENT = "\ufffd"  # at the ends of a text: a character that is not whole


def causal_lm_dataset(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    sequence_length: int | None = None,
    batch_size: int = 32,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    part: str = "all",
    held_out: float | None = None,
    repeat: bool = True,
    seed: int = 0,
    start_batch: int = 0,
    middle_share: float = 0.0,
) -> tf.data.Dataset:
    """Batches for causal language modelling: every token is to be predicted from the earlier ones of its text.

    A text becomes `[CLS] text [SEP]`: it begins with [CLS], and [SEP] is what a model writes when it has done. Several
    texts stand in a row, and none sees another. A text that is longer than a row is cut; each part begins with [CLS],
    only the last ends with [SEP]. Of plain text, the first cut is elsewhere in every epoch.

    Args:
        corpus, tokenizer, sequence_length, batch_size, part, held_out, repeat, seed, start_batch: see
            `masked_lm_dataset`.
        text_column, document, encoding, on_bad_rows: how the files are read, see `read_texts`; not for records.
        middle_share: share of the texts of which the middle is moved to the end, see `fill_in_middle`; not for records.

    Returns:
        Dataset of (inputs, next_ids, next_weights): inputs is a dict of `token_ids` and `padding_mask`; all (B, T).

    Raises:
        InputError: as `masked_lm_dataset`.
    """
    checks.check_between("middle_share", middle_share, 0, 1)
    if middle_share and (records := find_records(corpus)):
        raise InputError(f"{records.directory}: rows of records are packed, and no text can be parted. Give the text.")
    rows = read_rows(
        corpus,
        tokenizer,
        functools.partial(pack_texts, middle_share=middle_share),
        DECODER_INPUTS,
        sequence_length=sequence_length,
        batch_size=batch_size,
        reading={"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows},
        part=part,
        held_out=held_out,
        repeat=repeat,
        seed=seed,
        start_batch=start_batch,
    )
    to_targets = next_token_targets(every_part_ends=find_records(corpus) is not None)
    dataset = mapped(rows, to_targets)
    return check_dataset(made_ahead(dataset), DECODER_INPUTS, ["next_ids"], ["next_weights"])


def pack_texts(
    texts: list[str], tokenizer: Tokenizer, length: int, random: np.random.Generator, middle_share: float = 0.0
) -> dict[str, np.ndarray]:
    """Rows of token_ids and padding_mask, int32 (rows, T), with texts cut as `causal_lm_dataset` says.

    Example: a text of the tokens 10 to 15, T=4, first part of 2 -> [CLS] 10 11 | [CLS] 12 13 14 | [CLS] 15 [SEP].
    """
    pieces = []
    for document in tokenize_texts(texts, tokenizer):
        tokens = np.append(document, tokenizer.sep_id)
        first = len(tokens) if len(tokens) < length else random.integers(1, length)
        starts = [0, *range(first, len(tokens), length - 1)]
        pieces += np.split(tokens, starts[1:])
    if middle_share:
        pieces = fill_in_middle(pieces, tokenizer, middle_share, length - 1, random)
    pieces = [np.append(tokenizer.cls_id, piece) for piece in pieces]
    token_ids, padding_mask = fill_rows(pieces, length, tokenizer.pad_id)
    return {"token_ids": token_ids, "padding_mask": padding_mask}


def fill_in_middle(
    pieces: list[np.ndarray], tokenizer: Tokenizer, share: float, length: int, random: np.random.Generator
) -> list[np.ndarray]:
    """The texts, some as `[MASK] prefix [MASK] suffix [MASK] middle [SEP]`: a model learns to write the middle.

    A text is parted between any two characters, for a gap may begin within a word; of one that was cut within a
    character the rest of that is left out. The three tokens that tell the parts
    are one, which every tokenizer has: their order tells them apart.

    Args:
        pieces: token ids of each text; those of its end have a [SEP] as their last.
        share: of the texts, drawn at random.
        length: most tokens of a text; what goes beyond is cut.

    Source: Bavarian et al. 2022, arXiv:2207.14255, section 3: prefix, suffix, middle, parted by characters.
    Differs: one token for their three.
    """
    chosen = np.flatnonzero(random.random(len(pieces)) < share)
    if not len(chosen):
        return pieces
    lengths = [len(pieces[one]) for one in chosen]
    ids = tf.RaggedTensor.from_row_lengths(np.concatenate([pieces[one] for one in chosen]), lengths)
    parts = []
    for text in (one.decode().strip(_REPLACEMENT) for one in tokenizer.detokenize(ids).numpy()):
        begin, end = np.sort(random.integers(0, len(text) + 1, 2))
        parts += [text[:begin], text[end:], text[begin:end]]
    tokens, moved, mark = iter(tokenize_texts(parts, tokenizer)), list(pieces), [tokenizer.mask_id]
    for one in chosen:
        prefix, suffix, middle = (next(tokens) for _ in range(3))
        whole = np.concatenate([mark, prefix, mark, suffix, mark, middle, [tokenizer.sep_id]])
        moved[one] = whole[:length].astype(np.int32)
    return moved


def next_token_targets(*, every_part_ends: bool = False) -> Callable[[dict[str, tf.Tensor]], tuple]:
    """A function from rows of token_ids and padding_mask, int32 (B, T), to (inputs, next_ids, next_weights).

    Args:
        every_part_ends: a [SEP] stands also where a long text was cut, as in records: at the end of a row that is one
            text. It is not to be predicted: the text goes on there.
    """

    def to_targets(rows):
        token_ids, padding_mask = rows["token_ids"], rows["padding_mask"]
        next_ids = tf.pad(token_ids[:, 1:], [[0, 0], [0, 1]])
        next_mask = tf.pad(padding_mask[:, 1:], [[0, 0], [0, 1]])
        wanted = (padding_mask == next_mask) & (padding_mask > 0)
        if every_part_ends:
            last = tf.range(tf.shape(token_ids)[1]) == tf.shape(token_ids)[1] - 2
            wanted &= ~((padding_mask[:, -1:] == 1) & last)
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
        return inputs, tf.where(next_mask > 0, next_ids, 0), tf.cast(wanted, tf.float32)

    return to_targets
