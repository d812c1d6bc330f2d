"""The right one of several choices: its text, its place among them, its probability and those of all.

B questions, C choices of a question, P pairs of a question and a choice, T tokens of a pair.
"""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("choice", "index", "score", "scores")  # of serving_default
_ABSENT = -1e9


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_choice_head`.

    Returns:
        serving_default: question string (B,), choices string (B, C), "" where a question has fewer -> what `decode`
            gives.
        tokens: the model's inputs, int32 (B, T), a row for each pair -> logits float32 (B,).
    """
    from tfllm.inference.parts import in_parts
    from tfllm.inference.signatures import TEXT, TOKENS, Signature, encode

    def serving_default(question, choices):
        pairs = tf.repeat(question, tf.shape(choices)[1])  # (P,)
        inputs = encode(pairs, tokenizer, sequence_length, tf.reshape(choices, [-1]))
        return decode(tf.reshape(in_parts(model, inputs), tf.shape(choices)), choices)

    def tokens(**inputs):
        return {"logits": model(inputs, training=False)[:, 0]}

    return {
        "serving_default": Signature(
            serving_default, {"question": TEXT, "choices": tf.TensorSpec([None, None], tf.string)}
        ),
        "tokens": Signature(tokens, dict.fromkeys(model.input, TOKENS)),
    }


def decode(logits: tf.Tensor, choices: tf.Tensor) -> dict[str, tf.Tensor]:
    """The answer to every question.

    Args:
        logits: float32 (B, C).
        choices: string (B, C); "" is no choice.

    Returns:
        choice string (B,), index int32 (B,), from 0, score float32 (B,), its probability; scores float32 (B, C), 0 for
        what is no choice. Without any choice: "", -1 and 0.
    """
    from tfllm.tokenizers.base import valid_utf8

    present = choices != ""
    scores = tf.where(present, tf.nn.softmax(tf.where(present, logits, _ABSENT)), 0.0)
    # A column of what is no choice: the answer where there is none.
    answer = tf.argmax(tf.pad(scores, [[0, 0], [1, 0]]), axis=1, output_type=tf.int32)
    return {
        "choice": valid_utf8(tf.gather(tf.pad(choices, [[0, 0], [1, 0]], constant_values=""), answer, batch_dims=1)),
        "index": answer - 1,
        "score": tf.reduce_max(tf.pad(scores, [[0, 0], [1, 0]]), axis=1),
        "scores": scores,
    }


def to_rows(inputs: dict[str, list], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each question `question`, `choices`, `choice`, `index`, `score`, and `scores`, in the choices' order."""
    return [
        {
            "question": question,
            "choices": choices,
            "choice": outputs["choice"][row].decode(),
            "index": int(outputs["index"][row]),
            "score": float(outputs["score"][row]),
            "scores": outputs["scores"][row][: len(choices)].tolist(),
        }
        for row, (question, choices) in enumerate(zip(inputs["question"], inputs["choices"], strict=True))
    ]
