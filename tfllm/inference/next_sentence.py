"""Whether one text follows another.

B pairs.
"""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("score",)  # of serving_default


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_next_sentence_head`.

    Returns:
        serving_default, next_sentence: text, text_pair string (B,) -> score float32 (B,), the probability that
            `text_pair` follows `text`.
    """
    from tfllm.inference.signatures import TEXT, Signature, encode

    def next_sentence(text, text_pair):
        logits = model(encode(text, tokenizer, sequence_length, text_pair), training=False)  # (B, 2)
        return {"score": tf.nn.softmax(logits)[:, 1]}

    signature = Signature(next_sentence, {"text": TEXT, "text_pair": TEXT})
    return {"serving_default": signature, "next_sentence": signature}


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each pair its `score`, the probability that the second text follows the first."""
    columns = zip(inputs["text"], inputs["text_pair"], outputs["score"], strict=True)
    return [{"text": text, "text_pair": pair, "score": float(score)} for text, pair, score in columns]
