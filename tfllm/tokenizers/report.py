"""How well a tokenizer fits texts: token length, unknown words, what does not survive a round trip.

In: a tokenizer and texts. Out: a `dict` of plain numbers and a few examples.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer

EXAMPLES = 5
EXAMPLE_CHARACTERS = 200
BATCH_SIZE = 256


def report(tokenizer: Tokenizer, texts: Iterable[str]) -> dict:
    """Measure a tokenizer on texts, read once as a stream.

    Returns:
        `texts`, `tokens`: how many. `bytes_per_token`, `characters_per_token`: UTF-8 bytes and characters of the texts
        per token; more means shorter sequences. `unknown_rate`: part of the tokens that are the unk token.
        `round_trip_failures`: texts whose ids, turned into text and tokenized again, are other ids.
        `round_trip_examples`: up to five of them, as `{"text", "decoded"}`, cut to 200 characters.

    Raises:
        InputError: if the texts have no tokens.
    """
    totals, examples = Counter(), []
    for batch in _batches(texts):
        ids = tokenizer.tokenize(batch)
        decoded = tokenizer.detokenize(ids)
        failed = _rows_that_differ(ids, tokenizer.tokenize(decoded))
        totals["texts"] += len(batch)
        totals["characters"] += sum(map(len, batch))
        totals["bytes"] += int(tf.reduce_sum(tf.strings.length(batch)))
        totals["tokens"] += ids.flat_values.shape[0]
        if "unk" in tokenizer.special_tokens:
            totals["unknown"] += int(np.count_nonzero(ids.flat_values == tokenizer.unk_id))
        totals["failures"] += len(failed)
        for row in failed[: EXAMPLES - len(examples)]:
            text = decoded[row].numpy().decode()
            examples.append({"text": batch[row][:EXAMPLE_CHARACTERS], "decoded": text[:EXAMPLE_CHARACTERS]})
    if not totals["tokens"]:
        raise InputError("There is nothing to measure: the texts are empty or white space.")
    return {
        "texts": totals["texts"],
        "tokens": totals["tokens"],
        "bytes_per_token": totals["bytes"] / totals["tokens"],
        "characters_per_token": totals["characters"] / totals["tokens"],
        "unknown_rate": totals["unknown"] / totals["tokens"],
        "round_trip_failures": totals["failures"],
        "round_trip_examples": examples,
    }


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    texts = iter(texts)
    while batch := list(islice(texts, BATCH_SIZE)):
        yield batch


def _rows_that_differ(first: tf.RaggedTensor, second: tf.RaggedTensor) -> list[int]:
    pairs = zip(first.to_list(), second.to_list(), strict=True)
    return [row for row, (one, other) in enumerate(pairs) if one != other]
