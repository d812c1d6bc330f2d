"""What a model writes after a prompt, and how probable it holds a text.

B texts, T tokens.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfllm.writing import RowSettings, read_settings

if TYPE_CHECKING:
    import keras

    from tfllm.generation import Sampling, TextWriter
    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

OUTPUTS = ("finish_reason", "log_prob", "num_tokens", "text")  # of serving_default
_EXAMPLE = RowSettings(max_new_tokens=8, temperature=0.7, top_k=20, top_p=0.9, seed=1)


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_causal_lm_head`.

    Returns:
        generate: text string (B,), max_new_tokens int32 (B,), temperature float32 (B,), top_k int32 (B,), top_p float32
            (B,), seed int32 (B,) -> text string (B,): what comes after the prompt; num_tokens int32 (B,); finish_reason
            string (B,): "stop" or "length"; log_prob float32 (B,). See `tfllm.writing` for the settings; the others are
            those the model was saved with.
        serving_default: text string (B,) -> the same, with the settings the model was saved with; of a model whose
            tokenizer has a chat template, the answer to a user who says just this.
        chat: of such a model. roles, contents string (B, N), the turns of each conversation, "" where there is none,
            and the settings of `generate` -> the same. See `TextGenerator.answers`.
        fill: of a model that learned to fill gaps. text, suffix string (B,), what comes before a gap and after it, and
            the settings of `generate` -> the same; `text` is what stands in the gap.
        score: text string (B,) -> log_prob float32 (B,), num_tokens int32 (B,), token_log_probs float32 (B, T); see
            `TextWriter.score`.
    """
    from tfllm.generation import TextWriter
    from tfllm.generation.chat import ChatWriter
    from tfllm.generation.fill import FillWriter
    from tfllm.inference.signatures import TEXT, Signature

    rules = read_settings({}, arguments["generation"])[1]
    writer = TextWriter(model, tokenizer, sequence_length, rules)
    signatures = {
        **writing_signatures(writer, arguments["generation"]),
        "score": Signature(tf.function(writer.score, autograph=False, reduce_retracing=True), {"text": TEXT}),
    }
    if tokenizer.chat_template is not None:
        signatures |= _chat_signatures(ChatWriter(model, tokenizer, sequence_length, rules), arguments["generation"])
    if arguments["fills"]:
        signatures["fill"] = _fill_signature(FillWriter(model, tokenizer, sequence_length, rules))
    return signatures


def _fill_signature(writer: "TextWriter") -> "Signature":
    from tfllm.generation import Sampling
    from tfllm.generation.text_generator import SAMPLING
    from tfllm.inference.signatures import TEXT, Signature

    def fill(write, text, suffix, **columns):
        return write(tf.stack([text, suffix], axis=1), Sampling(**columns))

    inputs = {"text": TEXT, "suffix": TEXT, **SAMPLING._asdict()}
    return Signature(_sharing(writer)(fill), inputs, _EXAMPLE._asdict())


def _chat_signatures(writer: "TextWriter", generation: dict) -> dict[str, "Signature"]:
    """`chat`, and `serving_default` which takes a text for what the user says."""
    from tfllm.generation import Sampling
    from tfllm.generation.chat import user_messages
    from tfllm.generation.text_generator import SAMPLING
    from tfllm.inference.signatures import TEXT, Signature

    turns = tf.TensorSpec([None, None], tf.string)
    settings, _ = read_settings({}, generation)
    sharing = _sharing(writer)

    def chat(write, roles, contents, **columns):
        return write(tf.stack([roles, contents], axis=1), Sampling(**columns))

    def serving_default(write, text):
        return write(user_messages(text), _stored(settings, text))

    return {
        "serving_default": Signature(sharing(serving_default), {"text": TEXT}),
        "chat": Signature(
            sharing(chat),
            {"roles": turns, "contents": turns, **SAMPLING._asdict()},
            {"roles": ("user", "assistant", "user"), **_EXAMPLE._asdict()},
        ),
    }


def _stored(settings: RowSettings, text: tf.Tensor) -> "Sampling":
    """The settings a model was saved with, of every text."""
    from tfllm.generation import Sampling
    from tfllm.generation.text_generator import SAMPLING

    columns = zip(settings, SAMPLING, strict=True)
    return Sampling(*(tf.fill(tf.shape(text), tf.cast(value, spec.dtype)) for value, spec in columns))


def writing_signatures(writer: "TextWriter", generation: dict) -> dict[str, "Signature"]:
    """`serving_default` and `generate` of a writer; `generation` holds the settings the model was saved with."""
    from tfllm.generation import Sampling
    from tfllm.generation.text_generator import SAMPLING
    from tfllm.inference.signatures import TEXT, Signature

    settings, _ = read_settings({}, generation)
    inputs = {"text": TEXT, **SAMPLING._asdict()}
    sharing = _sharing(writer)

    def generate(write, text, **columns):
        return write(text, Sampling(**columns))

    def serving_default(write, text):
        return write(text, _stored(settings, text))

    return {
        "serving_default": Signature(sharing(serving_default), {"text": TEXT}),
        "generate": Signature(sharing(generate), inputs, _EXAMPLE._asdict()),
    }


def _sharing(writer: "TextWriter") -> Callable[[Callable], Callable]:
    """`function(write, **inputs)` -> `function(**inputs)`, with `writer.write` traced once for all such functions.

    So a SavedModel holds it once; and a loop that runs operation by operation rounds otherwise than one in a graph.
    As with a `tf.function`, `python_function` of what is returned is not traced: it sees the weights of the moment.
    """
    from tfllm.generation.text_generator import SAMPLING

    traced = tf.function(writer.write, autograph=False, input_signature=[writer.texts, SAMPLING])

    def sharing(function: Callable) -> Callable:
        shared = functools.partial(function, traced)
        shared.python_function = functools.partial(function, writer.write)
        return shared

    return sharing


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each `prompt` the `text` that comes after it, `num_tokens`, `finish_reason` and `log_prob`."""
    from tfllm.generation.batches import rows_of

    return rows_of(inputs["text"], outputs)
