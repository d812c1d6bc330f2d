"""SavedModels that answer at once, each with the inputs and outputs of one task, for the page.

What they answer depends on the text, so that a view that shows something else is noticed; their outputs are named as
those of `tfllm.inference`, which is asserted.
"""

import importlib
import json
from pathlib import Path

import tensorflow as tf

TEXT = tf.TensorSpec([None], tf.string)
LISTS = tf.TensorSpec([None, None], tf.string)
LABELS = ["negative", "<b>positive</b>"]
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"


def write_page_models(base: Path) -> None:
    """Write a model of every task under `base`."""
    for task, (inputs, answer) in _ANSWERS.items():
        _save(base / task, task, {"serving_default": (inputs, answer)})
    _save(base / "embedding", "embedding", {"serving_default": ([TEXT], _embed), "similarity": ([TEXT] * 2, _similar)})
    writer = {"serving_default": ([TEXT], _write_all), "generate": (_SETTINGS, _write), "tokenize": ([TEXT], _tokenize)}
    _save(base / "generation", "generation", writer)
    talker = {"serving_default": ([TEXT], _write_all), "chat": ([LISTS, LISTS, *_SETTINGS[1:]], _chat)}
    for name in ("talker", "talker_too"):
        _save(base / name, "generation", {**talker, "tokenize": ([TEXT], _tokenize)})


def _save(directory: Path, task: str, signatures: dict) -> None:
    module, names = tf.Module(), {}
    functions = {}
    for name, (specs, function) in signatures.items():
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
        names[name] = list(arguments)
        keyed = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in zip(arguments, specs, strict=True)}
        functions[name] = tf.function(function, autograph=False).get_concrete_function(**keyed)
    tf.saved_model.save(module, str(directory / "1"), signatures=functions)
    expected = set(importlib.import_module(f"tfllm.inference.{task}").OUTPUTS)
    assert expected <= set(functions["serving_default"].structured_outputs), task
    facts = {"task": task, "inputs": names["serving_default"], "labels": LABELS, "sequence_length": 512}
    (directory / "1" / "assets.extra").mkdir(exist_ok=True)
    (directory / "1" / "assets.extra" / "tfllm.json").write_text(json.dumps(facts), "utf-8")


def _rows(value, text):
    """The value once for each text."""
    value = tf.constant(value)
    return tf.tile(value[tf.newaxis], tf.concat([tf.shape(text)[:1], tf.ones_like(tf.shape(value))], 0))


def _classify(text):
    good = tf.cast(tf.strings.regex_full_match(text, "(?s).*good.*"), tf.float32)
    scores = tf.stack([0.9 - 0.8 * good, 0.1 + 0.8 * good], axis=1)
    label = tf.gather(LABELS, tf.argmax(scores, axis=1))
    return {"label": label, "score": tf.reduce_max(scores, axis=1), "scores": scores, "labels": _rows(LABELS, text)}


def _choose_labels(text):
    chosen = _rows([LABELS[1], ""], text)
    scores, count = _rows([0.2, 0.75], text), _rows(1, text)
    return {"chosen": chosen, "count": count, "scores": scores, "labels": _rows(LABELS, text)}


def _score(text):
    return {"score": tf.cast(tf.strings.length(text), tf.float32) / 4}


def _follows(text, text_pair):
    return {"score": tf.cast(tf.equal(text, text_pair), tf.float32) * 0.5 + 0.25}


def _tag(text):
    """The first five characters are an entity, and the last one."""
    length = tf.strings.length(text, unit="UTF8_CHAR")
    start, end = tf.stack([tf.zeros_like(length), length - 1], 1), tf.stack([tf.fill(tf.shape(length), 5), length], 1)
    return {
        "count": tf.fill(tf.shape(text), 2),
        "entity": _rows(["PER", HOSTILE], text),
        "start": start,
        "end": end,
        "byte_start": start,
        "byte_end": end,
        "score": _rows([0.75, 0.5], text),
        "text": _rows(["", ""], text),
    }


def _answer(context, question):
    """The first five characters of the context; nothing, when nothing is asked."""
    asked = tf.strings.length(question) > 0
    some, none = tf.fill(tf.shape(context), 5), tf.fill(tf.shape(context), -1)
    return {
        "answer": tf.where(asked, tf.strings.substr(context, 0, 5, unit="UTF8_CHAR"), ""),
        "start": tf.where(asked, tf.zeros_like(some), none),
        "end": tf.where(asked, some, none),
        "score": _rows(0.625, context),
    }


def _fill(text):
    words = _rows([["cat", "dog", "<i>", "a", "b"]], text)
    count = tf.cast(tf.strings.regex_full_match(text, r"(?s).*\[MASK\].*"), tf.int32)
    filled = tf.strings.regex_replace(text, r"\[MASK\]", "cat")
    return {"words": words, "scores": _rows([[0.5, 0.25, 0.1, 0.1, 0.05]], text), "count": count, "filled": filled}


def _pick(choices, question):
    scores = tf.cast(tf.equal(choices, question[:, tf.newaxis]), tf.float32)
    index = tf.argmax(scores, axis=1, output_type=tf.int32)
    choice = tf.gather(choices, index, axis=1, batch_dims=1)
    return {"choice": choice, "index": index, "score": tf.reduce_max(scores, axis=1), "scores": scores}


def _embed(text):
    return {"embedding": tf.stack([tf.cast(tf.strings.length(text), tf.float32)] * 3, axis=1)}


def _similar(text, text_pair):
    return {"score": tf.where(tf.equal(text, text_pair), 1.0, -0.5)}


_SETTINGS = [TEXT, *(tf.TensorSpec([None], kind) for kind in (tf.int32, tf.float32, tf.int32, tf.float32, tf.int32))]


def _write(text, max_new_tokens, temperature, top_k, top_p, seed):
    """`0😀 1😀 2😀 ...`, so many; the prompt comes first."""
    del temperature, top_k, top_p, seed
    count = tf.minimum(max_new_tokens, 40)
    words = tf.strings.join([tf.strings.as_string(tf.range(40)), "😀"])
    some = tf.ragged.range(count)
    written = tf.strings.reduce_join(tf.gather(words, some), axis=1, separator=" ")
    reason = tf.where(max_new_tokens > 40, "stop", "length")
    return {
        "text": tf.strings.join([text, " ", written]),
        "num_tokens": count,
        "finish_reason": reason,
        "log_prob": -tf.cast(count, tf.float32),
    }


def _write_all(text):
    zeros = tf.zeros_like(text, tf.int32)
    return _write(text, zeros + 8, tf.cast(zeros, tf.float32), zeros, tf.cast(zeros, tf.float32), zeros)


def _chat(roles, contents, max_new_tokens, temperature, top_k, top_p, seed):
    """Says how many messages there are, and repeats the last."""
    last = tf.strings.join(
        [tf.strings.as_string(tf.reduce_sum(tf.cast(roles != "", tf.int32), 1)), contents[:, -1]], ":"
    )
    return _write(last, max_new_tokens, temperature, top_k, top_p, seed)


def _tokenize(text):
    return {"num_tokens": tf.strings.length(text), "token_ids": tf.zeros([tf.shape(text)[0], 1], tf.int32)}


_ANSWERS = {
    "classification": ([TEXT], _classify),
    "multilabel": ([TEXT], _choose_labels),
    "regression": ([TEXT], _score),
    "next_sentence": ([TEXT, TEXT], _follows),
    "tagging": ([TEXT], _tag),
    "question_answering": ([TEXT, TEXT], _answer),
    "fill_mask": ([TEXT], _fill),
    "multiple_choice": ([LISTS, TEXT], _pick),
}
