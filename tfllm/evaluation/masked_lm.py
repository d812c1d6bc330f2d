"""A masked language model and text -> loss, masked accuracy, pseudo-perplexity.

In: what `add_masked_lm_head` or `add_pretraining_heads` returns. Out: dicts of JSON values.
Shapes: B batch, T tokens, M masked positions, V vocabulary.
"""

import math
import random
from collections.abc import Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm import checks
from tfllm.checks import InputError
from tfllm.tokenizers import Tokenizer

_MOST_NATS = 700  # beyond it exp is no float; a model this bad has diverged
_LENGTH_MULTIPLE = 8  # row lengths are rounded up to it, so that few different shapes occur


def masked_lm_scores(model: keras.Model, dataset: tf.data.Dataset) -> dict:
    """Loss and accuracy over every masked position of a data set, exactly: sums divided by the count at the end.

    Args:
        model: a masked language model, with or without a next-sentence head.
        dataset: from `masked_lm_dataset(..., repeat=False)`.

    Returns:
        `masked_tokens`: how many positions were predicted; `loss`: mean cross-entropy in nats per position;
        `masked_accuracy`. With a next-sentence head and pairs in the data also `pairs` and `next_sentence_accuracy`.

    Raises:
        InputError: if the data set never ends, or has nothing masked.
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("The data set never ends. Make it with `masked_lm_dataset(..., repeat=False)`.")
    scorer = _scorer(model)
    total = dict.fromkeys(("masked_tokens", "nats", "right", "pairs", "pairs_right"), 0.0)
    for inputs, targets, weights in dataset:
        pairs = targets.get("next_sentence") if isinstance(targets, dict) else None
        mask_ids = targets["masked_lm"] if isinstance(targets, dict) else targets
        weights = np.asarray(weights["masked_lm"] if isinstance(weights, dict) else weights, np.float64)  # (B, M)
        arrays = {name: np.asarray(value) for name, value in {**inputs, "mask_ids": mask_ids}.items()}
        found = scorer.predict_on_batch(arrays)
        total["masked_tokens"] += weights.sum()
        total["nats"] += (found["nats"] * weights).sum()
        total["right"] += (found["right"] * weights).sum()
        if pairs is not None and "next_sentence" in found:
            total["pairs"] += len(pairs)
            total["pairs_right"] += (found["next_sentence"].argmax(axis=-1) == pairs.numpy()).sum()
    return _means(total)


def pseudo_perplexity(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    sequence_length: int = 128,
    max_texts: int = 100,
    batch_size: int = 64,
) -> dict:
    """exp of the mean negative log-likelihood of a token, each masked in turn while all others are visible.

    Every token costs one row through the model, so a sample of the texts stands for all. Compare only models with the
    same tokenizer.

    Args:
        model: a masked language model.
        tokenizer: the one it was trained with.
        texts: read once, as a stream.
        sequence_length: longer texts are cut to it, [CLS] and [SEP] included.
        max_texts: how many texts are drawn at random, always the same ones; all of them when there are fewer.
        batch_size: rows that go through the model together.

    Returns:
        `pseudo_perplexity` (1 is certainty, V is guessing), `texts` (how many there are), `sampled_texts`, and
        `sampled_tokens`, each of which was predicted once.

    Raises:
        InputError: if the texts have no token.

    Source: Salazar et al. 2020, arXiv:1910.14659, section 2.3.
    """
    checks.check_at_least("sequence_length", sequence_length, 3)
    checks.check_at_least("max_texts", max_texts, 1)
    sample, count = _sample(texts, max_texts)
    scorer, nats, tokens = _scorer(model), 0.0, 0
    rows = tokenizer.wrap(tokenizer.tokenize(sample), sequence_length).to_list()
    for inputs in _one_masked_each(rows, tokenizer, batch_size):
        found = scorer.predict_on_batch(inputs)["nats"]  # (B, 1)
        nats, tokens = nats + found.sum(dtype=np.float64), tokens + len(found)
    if not tokens:
        raise InputError("Pseudo-perplexity needs text: there is no text, or none has a token.")
    return {
        "pseudo_perplexity": math.exp(min(nats / tokens, _MOST_NATS)),
        "texts": count,
        "sampled_texts": len(sample),
        "sampled_tokens": tokens,
    }


def _scorer(model: keras.Model) -> keras.Model:
    """The model with `mask_ids` as one more input, and per masked position: `nats` (its loss), `right` (0 or 1).

    Losses are taken inside, so that the (B, M, V) logits never leave the device.
    """
    outputs = model.output if isinstance(model.output, dict) else {"masked_lm": model.output}
    if "mask_positions" not in model.input or "masked_lm" not in outputs:
        raise InputError("This is not a masked language model: it has no `mask_positions` or no `masked_lm` output.")
    mask_ids = keras.Input((None,), dtype="int32", name="mask_ids")
    logits = ops.cast(outputs["masked_lm"], "float32")  # (B, M, V)
    of_target = ops.take_along_axis(logits, mask_ids[..., None], axis=-1)[..., 0]  # (B, M)
    scores = {
        "nats": ops.logsumexp(logits, axis=-1) - of_target,
        "right": ops.cast(ops.equal(ops.argmax(logits, axis=-1), mask_ids), "float32"),
    }
    if "next_sentence" in outputs:
        scores["next_sentence"] = outputs["next_sentence"]
    return keras.Model({**model.input, "mask_ids": mask_ids}, scores, name="masked_lm_scorer")


def _means(total: dict[str, float]) -> dict:
    if not total["masked_tokens"]:
        raise InputError("The data set has nothing masked: there is no text, or none has a token.")
    scores = {
        "masked_tokens": int(total["masked_tokens"]),
        "loss": float(total["nats"] / total["masked_tokens"]),
        "masked_accuracy": float(total["right"] / total["masked_tokens"]),
    }
    if total["pairs"]:
        scores |= {"pairs": int(total["pairs"]), "next_sentence_accuracy": float(total["pairs_right"] / total["pairs"])}
    return scores


def _sample(texts: Iterable[str], size: int) -> tuple[list[str], int]:
    """`size` texts drawn uniformly from a stream, and how many there were. Source: Vitter 1985, algorithm R."""
    draw, sample, count = random.Random(0), [], 0
    for count, text in enumerate(texts, 1):
        if len(sample) < size:
            sample.append(text)
        elif (place := draw.randrange(count)) < size:
            sample[place] = text
    return sample, count


def _one_masked_each(rows: list[list[int]], tokenizer: Tokenizer, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches in which every token but [CLS] and [SEP] of every row is masked once, rows of similar length together."""
    rows = sorted(rows, key=len)
    places = [(row, position) for row in rows for position in range(1, len(row) - 1)]
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        width = -(-len(batch[-1][0]) // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        token_ids = np.full((len(batch), width), tokenizer.pad_id, np.int32)
        padding_mask = np.zeros_like(token_ids)
        for number, (row, position) in enumerate(batch):
            token_ids[number, : len(row)] = row
            padding_mask[number, : len(row)] = 1
            token_ids[number, position] = tokenizer.mask_id
        yield {
            "token_ids": token_ids,
            "segment_ids": np.zeros_like(token_ids),
            "padding_mask": padding_mask,
            "mask_positions": np.array([[position] for _, position in batch], np.int32),
            "mask_ids": np.array([[row[position]] for row, position in batch], np.int32),
        }
