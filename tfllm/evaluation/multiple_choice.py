"""Choices against the right ones.

In: a model from `add_choice_head` and questions. Out: a dict of JSON values. N questions, C choices of one at most.
"""

import keras
import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.classification import text_dataset
from tfllm.data.multiple_choice import Choices
from tfllm.inference.multiple_choice import decode
from tfllm.tokenizers import Tokenizer


def evaluate_multiple_choice(
    model: keras.Model, tokenizer: Tokenizer, rows: Choices, *, sequence_length: int = 128, batch_size: int = 32
) -> dict:
    """Let a model choose, and score it.

    Args:
        model: from `add_choice_head`.
        tokenizer: the one the model was trained with.
        rows: the questions with their choices and the right ones.
        sequence_length: of a question with one choice; longer ones are cut, and the log says how many.
        batch_size: questions with one choice each, read together.

    Returns:
        `examples` (N), `accuracy`, `chance`, what choosing blindly would give, `loss`, the mean cross-entropy in nats,
        and `predictions`: the number of the choice made for each question, from 0.

    Raises:
        InputError: if the model's outputs are not numbers.
    """
    counts = [len(choices) for choices in rows.choices]
    questions = [text for text, count in zip(rows.texts, counts, strict=True) for _ in range(count)]
    choices = [choice for several in rows.choices for choice in several]
    by_length = np.argsort(
        [len(pair[0]) + len(pair[1]) for pair in zip(questions, choices, strict=True)], kind="stable"
    )
    dataset = text_dataset(
        [questions[pair] for pair in by_length],
        tokenizer,
        pairs=[choices[pair] for pair in by_length],
        sequence_length=sequence_length,
        batch_size=batch_size,
    )
    logits = model.predict(dataset, verbose=0)[np.argsort(by_length), 0]
    if not np.isfinite(logits).all():
        raise InputError("The model's outputs are not all numbers (NaN or infinity): its training has diverged.")
    by_question = tf.RaggedTensor.from_row_lengths(logits, counts)
    answers = decode(by_question.to_tensor(), tf.RaggedTensor.from_row_lengths(choices, counts).to_tensor())
    predicted, scores = answers["index"].numpy(), answers["scores"].numpy()
    right = scores[np.arange(len(rows)), rows.answers].astype(np.float64)
    return {
        "examples": len(rows),
        "accuracy": float((predicted == np.array(rows.answers)).mean()),
        "chance": float(np.mean(1 / np.array(counts))),
        "loss": float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean()),
        "predictions": predicted.tolist(),
    }
