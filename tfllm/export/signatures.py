"""What a SavedModel answers: functions from text or token ids to label names, scores and vectors.

In: a Keras model of a tfllm builder, and its tokenizer. Out: named functions with the types of their inputs.
B texts, T tokens, C labels, D hidden_dim. Every input and output has B as its first dimension, 0 included.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm import checks
from tfllm.models import check_length, longest_text, read_encoder, read_recipe
from tfllm.tokenizers import Tokenizer

DEFAULT_LENGTH = 128  # the data sets' default, too: positions beyond the training length are not trained
_TEXT = tf.TensorSpec([None], tf.string)
_TOKENS = tf.TensorSpec([None, None], tf.int32)


class Signature(NamedTuple):
    """One entry point: `function(**inputs)` returns a dict of tensors."""

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]


def build_signatures(model: keras.Model, tokenizer: Tokenizer, sequence_length: int) -> dict[str, Signature]:
    """The signatures that apply to a model.

    Every text becomes `[CLS] text [SEP]`, cut to `sequence_length` tokens, padded to the longest of its batch.

    Args:
        model: an encoder, or an encoder with a head.
        tokenizer: the one the model was trained with.
        sequence_length: T at most, at least 3.

    Returns:
        For a classifier:
            serving_default: text string (B,) -> label string (B,), score float32 (B,) of that label,
                scores float32 (B, C), labels string (B, C): the names, in the order of `scores`.
            classify: inputs string (B,), serialized tf.Example with a feature `text`
                -> classes string (B, C), scores float32 (B, C).
            tokens: the model's inputs, int32 (B, T) -> logits float32 (B, C), scores float32 (B, C).
        For any model:
            tokenize: text string (B,) -> token_ids int32 (B, T), num_tokens int32 (B,).
            embed: text string (B,) -> embedding float32 (B, D), the mean of the token vectors. Without a classifier
                head it is serving_default too.
    """
    recipe = read_recipe(model)
    whole = read_encoder(model)
    encoder = keras.Model(whole.input, whole.output["sequence_output"], name="token_vectors")

    def tokenize(text):
        token_ids, num_tokens = _token_ids(text, tokenizer, sequence_length)
        return {"token_ids": token_ids, "num_tokens": num_tokens}

    def embed(text):
        token_ids, num_tokens = _token_ids(text, tokenizer, sequence_length)
        vectors = encoder(model_inputs(token_ids, num_tokens), training=False)  # (B, T, D)
        real = tf.sequence_mask(num_tokens, tf.shape(token_ids)[1], tf.float32)[:, :, tf.newaxis]
        return {"embedding": tf.reduce_sum(vectors * real, axis=1) / tf.reduce_sum(real, axis=1)}

    signatures = {"tokenize": Signature(tokenize, {"text": _TEXT}), "embed": Signature(embed, {"text": _TEXT})}
    if recipe["builder"] != "add_classifier_head":
        return {"serving_default": signatures["embed"], **signatures}
    return {**_classifier_signatures(model, tokenizer, sequence_length, recipe["arguments"]["labels"]), **signatures}


def choose_length(model: keras.Model, sequence_length: int | None) -> int:
    """The length to cut texts at: the one given, if the model has positions for it; else 128, as in training."""
    if sequence_length is None:
        return min(DEFAULT_LENGTH, longest_text(model))
    checks.check_at_least("sequence_length", sequence_length, 3)
    check_length(model, sequence_length)
    return sequence_length


def model_inputs(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> dict[str, tf.Tensor]:
    """The model's inputs, int32 (B, T), for rows that hold one text each."""
    return {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.sequence_mask(num_tokens, tf.shape(token_ids)[1], tf.int32),
    }


def _classifier_signatures(
    model: keras.Model, tokenizer: Tokenizer, sequence_length: int, labels: list[str]
) -> dict[str, Signature]:
    names = tf.constant(labels)

    def tokens(**inputs):
        logits = model(inputs, training=False)
        return {"logits": logits, "scores": tf.nn.softmax(logits)}

    def scores_of(text):
        scores = tokens(**model_inputs(*_token_ids(text, tokenizer, sequence_length)))["scores"]
        return scores, tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1])  # both (B, C)

    def serving_default(text):
        scores, rows = scores_of(text)
        label = tf.gather(names, tf.argmax(scores, axis=1))
        return {"label": label, "score": tf.reduce_max(scores, axis=1), "scores": scores, "labels": rows}

    def classify(inputs):
        features = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})
        scores, rows = scores_of(features["text"])
        return {"classes": rows, "scores": scores}

    return {
        "serving_default": Signature(serving_default, {"text": _TEXT}),
        "classify": Signature(classify, {"inputs": _TEXT}),
        "tokens": Signature(tokens, dict.fromkeys(model.input, _TOKENS)),
    }


def _token_ids(text: tf.Tensor, tokenizer: Tokenizer, sequence_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """token_ids int32 (B, T) and num_tokens int32 (B,) of `[CLS] text [SEP]`."""
    ids = tokenizer.wrap(tokenizer.tokenize(text), sequence_length)
    num_tokens = ids.row_lengths()
    width = tf.maximum(tf.reduce_max(num_tokens), 2)  # without any row the maximum is the lowest integer
    token_ids = ids.to_tensor(tokenizer.pad_id, shape=tf.stack([ids.nrows(), width]))
    return tf.ensure_shape(token_ids, [None, None]), tf.cast(num_tokens, tf.int32)
