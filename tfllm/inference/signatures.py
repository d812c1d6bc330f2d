"""What every model answers, and what the tasks' signatures are made of: texts become the encoder's inputs in one place.

B texts, T tokens, D hidden_dim. Every input and output has B as its first dimension, 0 included.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.inference.tasks import NO_HEAD, module_of, task_of
from tfllm.models import add_embedding_head, check_length, longest_text, read_encoder, read_recipe
from tfllm.tokenizers import Tokenizer

DEFAULT_LENGTH = 128  # the data sets' default, too: positions beyond the training length are not trained
TEXT = tf.TensorSpec([None], tf.string)
TOKENS = tf.TensorSpec([None, None], tf.int32)


class Signature(NamedTuple):
    """One entry point: `function(**inputs)` returns a dict of tensors.

    Attributes:
        examples: a value, or a row of values, to ask with, for each input that is neither text nor tokens.
    """

    function: Callable[..., dict[str, tf.Tensor]]
    inputs: dict[str, tf.TensorSpec]
    examples: Mapping[str, float | tuple[str, ...]] = MappingProxyType({})


def build_signatures(model: keras.Model, tokenizer: Tokenizer, sequence_length: int) -> dict[str, Signature]:
    """The signatures that apply to a model: `serving_default` and others of its task, and for any model

        tokenize: text string (B,) -> token_ids int32 (B, T), num_tokens int32 (B,).
        embed: text string (B,) -> embedding float32 (B, D): what a model from `add_embedding_head` gives; of any other
            the mean of the token vectors. A decoder has none.

    Every text becomes `[CLS] text [SEP]`, cut to `sequence_length` tokens, padded to the longest of its batch.

    Args:
        model: an encoder, an encoder with a head, or a decoder with a head.
        tokenizer: the one the model was trained with.
        sequence_length: T at most, at least 3.

    Raises:
        InputError: for a decoder without a head.
    """
    recipe = read_recipe(model)
    if recipe["builder"] in ("build_decoder", "build_encoder_decoder"):
        raise InputError("A decoder without a head answers nothing: put one on it, `add_causal_lm_head` say.")

    task = task_of(recipe["builder"])
    wrap = tokenizer.wrap_source if task == "seq2seq" else tokenizer.wrap

    def tokenize(text):
        ids = wrap(tokenizer.tokenize(text), sequence_length)
        inputs = _padded(ids, tf.zeros_like(ids), tokenizer)
        return {"token_ids": inputs["token_ids"], "num_tokens": tf.reduce_sum(inputs["padding_mask"], axis=1)}

    signatures = {"tokenize": Signature(tokenize, {"text": TEXT})}
    if task in ("generation", "seq2seq"):
        pass  # a token of a decoder knows only those before it: their mean says little
    elif task != NO_HEAD:
        mean = add_embedding_head(read_encoder(model), normalize=False)
        embedding = module_of(NO_HEAD).build_signatures(mean, {}, tokenizer, sequence_length)
        signatures["embed"] = embedding["embed"]
    elif recipe["builder"] != "add_embedding_head":
        model = add_embedding_head(model, normalize=False)
    return {**module_of(task).build_signatures(model, recipe["arguments"], tokenizer, sequence_length), **signatures}


def choose_length(model: keras.Model, sequence_length: int | None) -> int:
    """The length to cut texts at: the one given, if the model has positions for it.

    None: 128, as in training; all positions of a model that writes, as a `TextGenerator`.
    """
    if sequence_length is None:
        writes = task_of(read_recipe(model)["builder"]) in ("generation", "seq2seq")
        return longest_text(model) if writes else min(DEFAULT_LENGTH, longest_text(model))
    checks.check_at_least("sequence_length", sequence_length, 3)
    check_length(model, sequence_length)
    return sequence_length


def encode(
    text: tf.Tensor, tokenizer: Tokenizer, sequence_length: int, text_pair: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """The encoder's inputs, int32 (B, T), for string (B,): `[CLS] text [SEP]`, with a pair also `text_pair [SEP]`."""
    ids = tokenizer.tokenize(text)
    if text_pair is None:
        ids = tokenizer.wrap(ids, sequence_length)
        segments = tf.zeros_like(ids)
    else:
        ids, segments = tokenizer.wrap_pair(ids, tokenizer.tokenize(text_pair), sequence_length)
    return _padded(ids, segments, tokenizer)


def _padded(ids: tf.RaggedTensor, segments: tf.RaggedTensor, tokenizer: Tokenizer) -> dict[str, tf.Tensor]:
    """What `encode` gives, of wrapped rows."""
    num_tokens = ids.row_lengths()
    width = tf.maximum(tf.reduce_max(num_tokens), 2)  # without any row the maximum is the lowest integer
    shape = tf.stack([ids.nrows(), width])
    inputs = {
        "token_ids": ids.to_tensor(tokenizer.pad_id, shape=shape),
        "segment_ids": segments.to_tensor(shape=shape),
        "padding_mask": tf.sequence_mask(num_tokens, width, tf.int32),
    }
    return {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}
