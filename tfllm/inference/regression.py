"""A score for a text, or for a pair of texts.

B texts or pairs, T tokens.
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
    """The signatures of a model from `add_regression_head`; those of pairs take `text_pair`, too.

    Returns:
        serving_default: text string (B,) -> score float32 (B,), in the unit of the training data.
        regress: inputs string (B,), serialized tf.Example with a feature `text` -> outputs float32 (B, 1).
        tokens: the model's inputs, int32 (B, T) -> score float32 (B,).
    """
    from tfllm.inference.signatures import TEXT, TOKENS, Signature, encode

    texts = ["text", "text_pair"] if arguments["pairs"] else ["text"]

    def tokens(**inputs):
        return {"score": model(inputs, training=False)[:, 0]}

    def serving_default(text, text_pair=None):
        return tokens(**encode(text, tokenizer, sequence_length, text_pair))

    def regress(inputs):
        features = dict.fromkeys(texts, tf.io.FixedLenFeature([], tf.string))
        return {"outputs": serving_default(**tf.io.parse_example(inputs, features))["score"][:, tf.newaxis]}

    return {
        "serving_default": Signature(serving_default, dict.fromkeys(texts, TEXT)),
        "regress": Signature(regress, {"inputs": TEXT}),
        "tokens": Signature(tokens, dict.fromkeys(model.input, TOKENS)),
    }


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each text, or pair, its `score`."""
    texts = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    return [{**row, "score": float(score)} for row, score in zip(texts, outputs["score"], strict=True)]
