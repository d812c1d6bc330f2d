"""A classifier's answers: the label's name, its probability, and those of all labels.

B texts or pairs, T tokens, C labels.
"""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("label", "labels", "score", "scores")  # of serving_default


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_classifier_head`; those of pairs take `text_pair`, too.

    Returns:
        serving_default: text string (B,) -> label string (B,), score float32 (B,) of that label,
            scores float32 (B, C), labels string (B, C): the names, in the order of `scores`.
        classify: inputs string (B,), serialized tf.Example with a feature `text`
            -> classes string (B, C), scores float32 (B, C).
        tokens: the model's inputs, int32 (B, T) -> logits float32 (B, C), scores float32 (B, C).
    """
    from tfllm.inference.signatures import TEXT, TOKENS, Signature, encode

    names = tf.constant(arguments["labels"])
    texts = ["text", "text_pair"] if arguments.get("pairs") else ["text"]

    def tokens(**inputs):
        logits = model(inputs, training=False)
        return {"logits": logits, "scores": tf.nn.softmax(logits)}

    def scores_of(text, text_pair=None):
        scores = tokens(**encode(text, tokenizer, sequence_length, text_pair))["scores"]
        return scores, tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1])  # both (B, C)

    def serving_default(**texts):
        scores, rows = scores_of(**texts)
        label = tf.gather(names, tf.argmax(scores, axis=1))
        return {"label": label, "score": tf.reduce_max(scores, axis=1), "scores": scores, "labels": rows}

    def classify(inputs):
        features = dict.fromkeys(texts, tf.io.FixedLenFeature([], tf.string))
        scores, rows = scores_of(**tf.io.parse_example(inputs, features))
        return {"classes": rows, "scores": scores}

    return {
        "serving_default": Signature(serving_default, dict.fromkeys(texts, TEXT)),
        "classify": Signature(classify, {"inputs": TEXT}),
        "tokens": Signature(tokens, dict.fromkeys(model.input, TOKENS)),
    }


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each row its texts, `label`, `score`, and `scores` (label -> probability, in the model's order)."""
    rows = []
    for number, label in enumerate(outputs["label"]):
        names = [name.decode() for name in outputs["labels"][number]]
        rows.append(
            {
                **{name: texts[number] for name, texts in inputs.items()},
                "label": label.decode(),
                "score": float(outputs["score"][number]),
                "scores": dict(zip(names, outputs["scores"][number].tolist(), strict=True)),
            }
        )
    return rows
