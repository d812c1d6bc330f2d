"""The labels of a text: none, one or several, and the probability of each.

B texts or pairs, T tokens, C labels.
"""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("chosen", "count", "labels", "scores")  # of serving_default


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_multilabel_head`; those of pairs take `text_pair`, too.

    Returns:
        serving_default: text string (B,) -> chosen string (B, C): the names of the text's labels, the most probable
            first, then "" where there are fewer; count int32 (B,), of real ones; scores float32 (B, C), the
            probability of every label by itself; labels string (B, C): the names, in the order of `scores`.
        classify: inputs string (B,), serialized tf.Example with a feature `text`
            -> classes string (B, C), scores float32 (B, C).
        tokens: the model's inputs, int32 (B, T) -> logits float32 (B, C), scores float32 (B, C).
    """
    from tfllm.inference.signatures import TEXT, TOKENS, Signature, encode

    names, thresholds = tf.constant(arguments["labels"]), tf.constant(arguments["thresholds"], tf.float32)
    texts = ["text", "text_pair"] if arguments["pairs"] else ["text"]

    def tokens(**inputs):
        logits = model(inputs, training=False)
        return {"logits": logits, "scores": tf.sigmoid(logits)}

    def scores_of(text, text_pair=None):
        scores = tokens(**encode(text, tokenizer, sequence_length, text_pair))["scores"]
        return scores, tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1])  # both (B, C)

    def serving_default(**texts):
        scores, rows = scores_of(**texts)
        has = scores >= thresholds
        count = tf.math.count_nonzero(has, axis=1, dtype=tf.int32)
        _, order = tf.math.top_k(tf.where(has, scores, -1.0), k=len(arguments["labels"]))  # those it has come first
        real = tf.sequence_mask(count, len(arguments["labels"]))
        return {"chosen": tf.where(real, tf.gather(names, order), ""), "count": count, "scores": scores, "labels": rows}

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
    """For each text, or pair, its labels `chosen`, the most probable first, and `scores`, all labels' probabilities."""
    texts = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    columns = (outputs[name] for name in ("chosen", "count", "labels", "scores"))
    return [
        {
            **row,
            "chosen": [name.decode() for name in chosen[:count]],
            "scores": {name.decode(): float(score) for name, score in zip(labels, scores, strict=True)},
        }
        for row, chosen, count, labels, scores in zip(texts, *columns, strict=True)
    ]
