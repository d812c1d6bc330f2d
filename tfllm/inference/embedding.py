"""A model's vectors, and how near two texts are to each other by them.

B texts, D hidden_dim.
"""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("embedding",)  # of serving_default


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_embedding_head`.

    Returns:
        serving_default, embed: text string (B,) -> embedding float32 (B, D).
        similarity: text, text_pair string (B,) -> score float32 (B,), the cosine of their embeddings, -1 to 1.
    """
    from tfllm.inference.signatures import TEXT, Signature, encode

    def embed(text):
        return {"embedding": model(encode(text, tokenizer, sequence_length), training=False)}

    def similarity(text, text_pair):
        first, second = (tf.math.l2_normalize(embed(one)["embedding"], axis=1) for one in (text, text_pair))
        return {"score": tf.reduce_sum(first * second, axis=1)}

    return {
        "serving_default": Signature(embed, {"text": TEXT}),
        "embed": Signature(embed, {"text": TEXT}),
        "similarity": Signature(similarity, {"text": TEXT, "text_pair": TEXT}),
    }


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each text its `embedding`, a list of D numbers."""
    return [
        {"text": text, "embedding": vector.tolist()}
        for text, vector in zip(inputs["text"], outputs["embedding"], strict=True)
    ]
