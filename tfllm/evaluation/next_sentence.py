"""A model that tells whether one text follows another, and documents -> scores.

In: documents, of which pairs are made as in pretraining. Out: a dict of JSON values. N pairs.
"""

from collections.abc import Sequence

import keras
import numpy as np
from scipy.special import log_softmax

from tfllm.checks import InputError
from tfllm.data.next_sentence import sentence_pairs
from tfllm.tokenizers import Tokenizer


def evaluate_next_sentence(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    sequence_length: int = 128,
    batch_size: int = 32,
    seed: int = 0,
) -> dict:
    """Let a model say of pairs of passages whether the second follows the first; of half of them it does.

    Args:
        model: from `add_next_sentence_head` or `add_pretraining_heads`.
        tokenizer: the one the model was trained with.
        texts: documents of several sentences; the second half of a pair that does not belong comes from another.
        sequence_length: tokens of a pair.
        batch_size: pairs predicted together.
        seed: decides the pairs.

    Returns:
        Dict of JSON values: `pairs` (N), `accuracy`, `loss`, the mean cross-entropy in nats: log(2) = 0.6931 for who
        cannot tell.

    Raises:
        InputError: if the model has no next-sentence head, or no pair can be made.
    """
    outputs = model.output["next_sentence"] if isinstance(model.output, dict) else model.output
    if outputs.shape[1:] != (2,):
        raise InputError("This model has no next-sentence head: its output must be (B, 2).")
    inputs = {name: tensor for name, tensor in model.input.items() if name != "mask_positions"}
    rows = sentence_pairs(list(texts), tokenizer, sequence_length, np.random.default_rng(seed))
    labels = rows.pop("label_ids")
    if not len(labels):
        raise InputError("No pair can be made of the texts: each needs two sentences, or two tokens at least.")
    logits = keras.Model(inputs, outputs).predict(rows, batch_size=batch_size, verbose=0).astype(np.float64)
    nats = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return {
        "pairs": len(labels),
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "loss": float(nats.mean()),
    }
