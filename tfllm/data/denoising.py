"""Corpus files -> batches for a model that reads a damaged text and writes what was there.

In: as for `causal_lm_dataset`, plain text. Out: a tf.data.Dataset that `fit` takes; `data.seq2seq` has an example.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.ahead import made_ahead, mapped
from tfllm.data.features import SEQ2SEQ_INPUTS, check_dataset
from tfllm.data.packing import best_fit_pairs, lay_out
from tfllm.data.pretraining import find_records, read_rows
from tfllm.data.records_shards import tokenize_texts
from tfllm.tokenizers import Tokenizer

NOISES = ("spans", "infill")
SENTINELS = 100
_MULTIPLE = 8


class Noise(NamedTuple):
    """How texts are damaged.

    Attributes:
        kind: "spans": every span of tokens left out becomes a sentinel of its own, and the target is the sentinels,
            each with its span behind it. "infill": every span becomes one mask token, and the target is the whole text.
        rate: share of the tokens that is left out.
        mean_length: of the spans, in tokens. Infilled spans have lengths as Poisson's distribution gives them, 0
            included: there the model must see that nothing is missing.

    Source: Raffel et al. 2020, arXiv:1910.10683, section 3.1.4, for "spans"; Lewis et al. 2020, arXiv:1910.13461,
    section 2.2, for "infill".
    """

    kind: str = "spans"
    rate: float = 0.15
    mean_length: float = 3.0


def denoising_dataset(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer,
    *,
    noise: Noise = Noise(),  # noqa: B008
    start: str | Sequence[str] = "cls",
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
) -> tf.data.Dataset:
    """Batches of damaged texts and what was left out of them, drawn anew in every epoch.

    A text longer than a row is cut into pieces. Several pieces stand in a row, and none sees another.

    Args:
        corpus, tokenizer, sequence_length, batch_size, text_column, document, encoding, on_bad_rows, part, held_out,
            repeat, seed, start_batch: see `causal_lm_dataset`; `sequence_length` is S, that of the damaged texts.
        noise: how texts are damaged.
        start: the special tokens a target begins with; see `add_seq2seq_head`.

    Returns:
        Dataset of (inputs, next_ids, next_weights): inputs a dict of `source_ids`, `source_mask` (B, S), `token_ids`,
        `padding_mask` (B, T); the others (B, T). T follows from S and the noise. Spans need a model of
        `vocabulary_size` = `sentinel_ids(tokenizer)[-1] + 1` at least.

    Raises:
        InputError: as `causal_lm_dataset`, and for records, which hold no texts.
    """
    checks.check_one_of("noise", noise.kind, NOISES)
    if not 0 < noise.rate < 1 or not 1 <= noise.mean_length <= 100:
        raise InputError(
            "Noise needs a rate between 0 and 1 and spans of 1 to 100 tokens on average. "
            f"Received: rate={noise.rate}, mean_length={noise.mean_length}."
        )
    if records := find_records(corpus):
        raise InputError(f"{records.directory}: rows of records are packed and hold no texts to damage. Give the text.")
    length = 128 if sequence_length is None else sequence_length
    starts = len(tokenizer.ids_of(start))
    widths = dict(zip(SEQ2SEQ_INPUTS, np.repeat(_widths(length, noise, starts), 2).tolist(), strict=True))

    def pack(texts, tokenizer, length, random):
        return pack_damaged(texts, tokenizer, length, random, noise, start)

    rows = read_rows(
        corpus,
        tokenizer,
        pack,
        SEQ2SEQ_INPUTS,
        sequence_length=length,
        batch_size=batch_size,
        reading={"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows},
        part=part,
        held_out=held_out,
        repeat=repeat,
        seed=seed,
        start_batch=start_batch,
        widths=widths,
    )

    def to_targets(rows):
        token_ids, mask = rows["token_ids"], rows["padding_mask"]
        last = tf.pad(mask[:, 1:], [[0, 0], [0, 1]]) != mask  # of each target: [SEP] comes after it
        next_ids = tf.where(last, tokenizer.sep_id, tf.pad(token_ids[:, 1:], [[0, 0], [0, 1]]))
        return rows, tf.where(mask > 0, next_ids, 0), tf.cast(mask > 0, tf.float32)

    dataset = mapped(rows, to_targets)
    return check_dataset(made_ahead(dataset), SEQ2SEQ_INPUTS, ["next_ids"], ["next_weights"])


def pack_damaged(
    texts: list[str],
    tokenizer: Tokenizer,
    length: int,
    random: np.random.Generator,
    noise: Noise,
    start: str | Sequence[str] = "cls",
) -> dict[str, np.ndarray]:
    """Rows of SEQ2SEQ_INPUTS, int32 (rows, S) and (rows, T), of texts damaged as `denoising_dataset` says."""
    sentinels = sentinel_ids(tokenizer) if noise.kind == "spans" else np.array([tokenizer.mask_id])
    # [CLS] and [SEP] stand around a source; some tokenizers have no [CLS].
    before, first = tokenizer.ids_of(["cls"] * ("cls" in tokenizer.special_tokens)), tokenizer.ids_of(start)
    most = _longest_piece(length, noise) if noise.kind == "spans" else length - 2
    pairs = []
    for document in tokenize_texts(texts, tokenizer):
        for place in range(0, len(document), most):
            piece = document[place : place + most]
            if len(piece) > 1:
                damage = damage_spans if noise.kind == "spans" else infill
                source, target = damage(piece, sentinels, noise, random)
                pairs.append((np.r_[before, source, tokenizer.sep_id].astype(np.int32), np.r_[first, target]))
    sizes = np.array([[len(part) for part in pair] for pair in pairs]).reshape(-1, 2)
    widths = _widths(length, noise, len(first))
    rows = best_fit_pairs(sizes, np.array(widths))
    columns = zip(*pairs, strict=True) if pairs else ((), ())
    laid = [lay_out(part, rows, width, tokenizer.pad_id) for part, width in zip(columns, widths, strict=True)]
    return dict(zip(SEQ2SEQ_INPUTS, [*laid[0], *laid[1]], strict=True))


def sentinel_ids(tokenizer: Tokenizer) -> np.ndarray:
    """The ids that stand for spans left out: those of tokens `<extra_id_0>`, `<extra_id_1>`, ..., as T5's vocabulary
    has them; or else the 100 ids behind the vocabulary, which no text becomes.
    """
    places = {token: place for place, token in enumerate(tokenizer.vocabulary) if token.startswith("<extra_id_")}
    named = [places[name] for number in range(SENTINELS) if (name := f"<extra_id_{number}>") in places]
    return np.array(named or range(tokenizer.vocabulary_size, tokenizer.vocabulary_size + SENTINELS), np.int32)


def damage_spans(
    tokens: np.ndarray, sentinels: np.ndarray, noise: Noise, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Source and target of at least two tokens.

    Differs from T5's own code: there a text begins with what is kept and ends with a span.

    Example: a b c d e f with `b c` and `f` left out -> a <0> d e <1> | <0> b c <1> f <2>.
    """
    left_out = min(max(round(len(tokens) * noise.rate), 1), len(tokens) - 1)
    count = max(1, min(round(left_out / noise.mean_length), len(tokens) - left_out, len(sentinels) - 1))
    spans = _parts(left_out, count, random)
    kept = _parts(len(tokens) - left_out + 2, count + 1, random)
    kept[[0, -1]] -= 1  # only those between two spans must not be empty
    source, target, place = [], [], 0
    for number in range(count):
        end = place + kept[number]
        source += [tokens[place:end], sentinels[number : number + 1]]
        place = end + spans[number]
        target += [sentinels[number : number + 1], tokens[end:place]]
    return np.concatenate([*source, tokens[place:]]), np.concatenate([*target, sentinels[count : count + 1]])


def infill(
    tokens: np.ndarray, mask: np.ndarray, noise: Noise, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Source and target: the tokens with one `mask` (1,) for every span, and the tokens.

    Example: a b c d e with `b c` and nothing after d left out -> a <mask> d <mask> e | a b c d e.
    """
    left_out = min(max(round(len(tokens) * noise.rate), 1), len(tokens) - 1)
    spans = []
    while sum(spans) < left_out:
        spans.append(min(int(random.poisson(noise.mean_length)), left_out - sum(spans)))
    kept = len(tokens) - left_out
    if kept + len(spans) > len(tokens):
        spans = [span for span in spans if span]  # no source is longer than its text
    # Which of all pieces, tokens kept and spans, are spans.
    spots = set(random.choice(kept + len(spans), len(spans), replace=False).tolist())
    source, place, lengths = [], 0, iter(spans)
    for spot in range(kept + len(spans)):
        if spot in spots:
            source.append(mask[0])
            place += next(lengths)
        else:
            source.append(tokens[place])
            place += 1
    return np.array(source, np.int32), tokens


def _parts(total: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` whole numbers of at least 1 with this total, all such equally likely."""
    cuts = np.sort(random.choice(np.arange(1, total), count - 1, replace=False)) if count > 1 else []
    return np.diff(np.r_[0, cuts, total]).astype(int)


def _longest_piece(length: int, noise: Noise) -> int:
    """How many tokens a text may have so that its source, damaged, has `length`.

    Source: as T5's own preprocessors compute it.
    """
    tokens = length - 2
    while _spans(tokens + 1, noise, 1)[0] <= length:
        tokens += 1
    return tokens


def _spans(tokens: int, noise: Noise, starts: int) -> tuple[int, int]:
    """Lengths of source and target of so many tokens, with the special ones; `starts` of them begin a target."""
    left_out = min(max(round(tokens * noise.rate), 1), tokens - 1)
    count = max(1, min(round(left_out / noise.mean_length), tokens - left_out, SENTINELS - 1))
    return tokens - left_out + count + 2, starts + left_out + count + 1


def _widths(length: int, noise: Noise, starts: int) -> tuple[int, int]:
    """S and T."""
    if noise.kind == "infill":
        return length, length
    target = _spans(_longest_piece(length, noise), noise, starts)[1]
    return length, -(-int(target * 1.05) // _MULTIPLE) * _MULTIPLE
