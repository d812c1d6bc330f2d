"""A causal language model and text -> loss, perplexity, bits per byte.

In: what `add_causal_lm_head` returns. Out: dicts of JSON values.
Shapes: B batch, T tokens, V vocabulary.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm import checks
from tfllm.checks import InputError
from tfllm.data.causal import next_token_targets
from tfllm.data.features import DECODER_INPUTS, PREFIX_INPUTS, SEQ2SEQ_INPUTS
from tfllm.data.packing import fill_rows
from tfllm.data.records_shards import tokenize_texts
from tfllm.models import check_length
from tfllm.tokenizers import Tokenizer

_MOST_NATS = 700  # beyond it exp is no float; a model this bad has diverged
_TEXTS = 1000  # read and packed at a time; bounds memory


def causal_lm_scores(model: keras.Model, dataset: tf.data.Dataset) -> dict:
    """Loss and perplexity over every token of a data set that is to be predicted.

    Args:
        model: a causal language model.
        dataset: from `causal_lm_dataset(..., repeat=False)`.

    Returns:
        `tokens`: how many were predicted; `loss`: mean cross-entropy in nats per token; `perplexity`: exp of it.

    Raises:
        InputError: if the data set never ends, or has no text.
    """
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError("The data set never ends. Make it with `causal_lm_dataset(..., repeat=False)`.")
    return mean_loss(model)(dataset)


def mean_loss(model: keras.Model) -> Callable[[tf.data.Dataset], dict]:
    """A function from a data set that ends to the tokens, loss and perplexity of the model, as it is then.

    Asked again, as after every epoch, it is not traced anew.
    """
    scorer = _scorer(model)
    return lambda dataset: _means(*_sums(scorer, dataset))


def evaluate_causal_lm(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    sequence_length: int,
    stride: int | None = None,
    batch_size: int = 32,
) -> dict:
    """How well a model predicts texts, in units that do not depend on its tokenizer.

    Every token of every text and its end are predicted once. A text longer than a row is read in windows: in each
    but the first only the last `stride` tokens count, so that they have the others before them.

    Args:
        model: a causal language model.
        tokenizer: the one it was trained with.
        texts: read once, as a stream.
        sequence_length: T, tokens of a window, [CLS] included.
        stride: tokens from one window to the next. The smaller, the more every token has before it, and the longer it
            takes. Default: half of the window.
        batch_size: rows that go through the model together.

    Returns:
        `texts`; `tokens`: how many were predicted; `loss`: nats per token; `perplexity`: exp of it; and, where the end
        of a text counts as one byte and one character, as a line break would, `bits_per_byte` and
        `nats_per_character`. Where text has no token of its own in the vocabulary also `unknown_share`, that of such
        tokens: the other numbers then are not comparable with those of other tokenizers.

    Raises:
        InputError: for a stride that leaves gaps, or if there is no text.

    Source: for the windows, Press et al. 2021, arXiv:2012.15832, section 2.1.
    """
    checks.check_at_least("sequence_length", sequence_length, 3)
    check_length(model, sequence_length)
    stride = stride or max(1, (sequence_length - 1) // 2)
    checks.check_between("stride", stride, 1, sequence_length - 1)
    scorer, texts = _scorer(model), iter(texts)
    total = dict.fromkeys(("texts", "tokens", "unknown", "bytes", "characters"), 0)
    nats = 0.0
    while chunk := list(itertools.islice(texts, _TEXTS)):
        documents = tokenize_texts(chunk, tokenizer)
        found, tokens = _sums(scorer, _windows(documents, tokenizer, sequence_length, stride, batch_size))
        nats += found
        total["tokens"] += tokens
        total["texts"] += len(chunk)
        total["characters"] += sum(map(len, chunk)) + len(chunk)
        total["bytes"] += sum(len(text.encode("utf-8", "replace")) for text in chunk) + len(chunk)
        if "unk" in tokenizer.special_tokens:
            total["unknown"] += sum(int((document == tokenizer.unk_id).sum()) for document in documents)
    scores = {"texts": total["texts"], **_means(nats, total["tokens"])}
    scores["bits_per_byte"] = nats / math.log(2) / total["bytes"]
    scores["nats_per_character"] = nats / total["characters"]
    if total["unknown"]:
        scores["unknown_share"] = total["unknown"] / total["tokens"]
    return scores


def _windows(
    documents: list[np.ndarray], tokenizer: Tokenizer, length: int, stride: int, batch_size: int
) -> Iterator[tuple]:
    """Batches of (inputs, next_ids, weights), the windows of short texts packed together."""
    windows, counted = [], []
    for document in documents:
        tokens = np.append(document, tokenizer.sep_id)
        for start in range(0, max(len(tokens) - (length - 1) + stride, 1), stride):
            window = tokens[start : start + length - 1]
            new = len(window) if start == 0 else len(window) + stride - (length - 1)
            windows.append(np.append(tokenizer.cls_id, window))
            # A token is predicted at the place before it; the last place predicts nothing.
            counted.append(np.r_[np.zeros(len(window) - new, int), np.ones(new, int), 0])
    token_ids, padding_mask = fill_rows(windows, length, tokenizer.pad_id)
    counts, _ = fill_rows(counted, length, 0)
    to_targets = next_token_targets()
    for start in range(0, len(token_ids), batch_size):
        rows = slice(start, start + batch_size)
        inputs, next_ids, _ = to_targets({"token_ids": token_ids[rows], "padding_mask": padding_mask[rows]})
        yield inputs, next_ids, counts[rows]


def _scorer(model: keras.Model) -> keras.Model:
    """The model with `next_ids` as one more input, and the loss of each as output, float32 (B, T).

    Losses are taken inside, so that the (B, T, V) logits never leave the device.
    """
    known = (DECODER_INPUTS, PREFIX_INPUTS, SEQ2SEQ_INPUTS)
    if isinstance(model.output, dict) or set(model.input) not in map(set, known):
        raise InputError("This is not a model that predicts next tokens, which has logits as output.")
    next_ids = keras.Input((None,), dtype="int32", name="next_ids")
    logits = ops.cast(model.output, "float32")  # (B, T, V)
    of_target = ops.take_along_axis(logits, next_ids[..., None], axis=-1)[..., 0]  # (B, T)
    return keras.Model({**model.input, "next_ids": next_ids}, ops.logsumexp(logits, axis=-1) - of_target)


def _sums(scorer: keras.Model, batches: Iterable[tuple]) -> tuple[float, int]:
    """Nats of all tokens that count, and how many they are."""
    nats, tokens = 0.0, 0
    for inputs, next_ids, weights in batches:
        arrays = {name: np.asarray(value) for name, value in {**inputs, "next_ids": next_ids}.items()}
        if "prefix_mask" in scorer.input:
            arrays.setdefault("prefix_mask", np.zeros_like(arrays["padding_mask"]))
        weights = np.asarray(weights, np.float64)
        nats += float((scorer.predict_on_batch(arrays) * weights).sum())
        tokens += int(weights.sum())
    return nats, tokens


def _means(nats: float, tokens: int) -> dict:
    if not tokens:
        raise InputError("There is no text, or none has a token.")
    loss = nats / tokens
    return {"tokens": tokens, "loss": loss, "perplexity": math.exp(min(loss, _MOST_NATS))}
