"""Tiny SavedModels of plain TensorFlow, with a signature for every rule of the API. Run as `python saved.py DIRECTORY`.

numbers/1, numbers/2: y = x / 2 + 2 and x / 2 + 3, and the other signatures. words/3: tfllm's way to write and to chat.
reviews/1: its way to classify.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf


def vector(dtype):
    return tf.TensorSpec([None], dtype)


class Numbers(tf.Module):
    """Every signature that `numbers` has, by the names of its methods."""

    def __init__(self, version: int):
        self.version = tf.Variable(version, dtype=tf.int64)
        self.plus = tf.Variable(version + 1.0)

    def signatures(self) -> dict:
        floats, strings, ints = vector(tf.float32), vector(tf.string), vector(tf.int32)
        found = {
            "serving_default": (lambda x: {"y": x / 2 + self.plus}, {"x": floats}),
            "classify": (self.classify, {"inputs": strings}),
            "classes": (lambda inputs: {"classes": self.classify(inputs)["classes"]}, {"inputs": strings}),
            "scores": (lambda inputs: {"scores": self.classify(inputs)["scores"]}, {"inputs": strings}),
            "regress": (lambda inputs: {"outputs": self.feature(inputs) / 2 + self.plus}, {"inputs": strings}),
            "regress_column": (lambda inputs: {"outputs": self.feature(inputs)[:, None]}, {"inputs": strings}),
            "regress_wide": (lambda inputs: {"outputs": tf.zeros([tf.size(inputs), 2])}, {"inputs": strings}),
            "matrix": (lambda m: {"double": m * 2, "sum": tf.reduce_sum(m, 1)}, {"m": tf.TensorSpec([None, 2])}),
            "two": (self.two, {"a": floats, "b": ints}),
            "text": (
                lambda text: {"lower": tf.strings.lower(text), "size": tf.strings.length(text)},
                {"text": strings},
            ),
            "image": (lambda text: {"image_bytes": text}, {"text": strings}),
            "image_two": (lambda text: {"image_bytes": text, "plain": text}, {"text": strings}),
            "scalar": (lambda s: {"twice": s * 2}, {"s": tf.TensorSpec([])}),
            "scalar_text": (lambda s: {"lower": tf.strings.lower(s)}, {"s": tf.TensorSpec([], tf.string)}),
            "divide": (lambda x: {"q": 1.0 / x}, {"x": floats}),
            "checked": (self.checked, {"x": floats}),
            "tell": (self.tell, {"n": ints}),
            "wide": (lambda n: {"ones": tf.ones([tf.size(n), tf.reduce_max(n)])}, {"n": ints}),
            "slow": (self.slow, {"n": ints}),
        }
        for dtype in (tf.int8, tf.int16, tf.int64, tf.uint8, tf.uint32, tf.uint64, tf.float64, tf.bool, tf.half):
            found[f"echo_{dtype.name}"] = (lambda v: {"v": tf.identity(v)}, {"v": vector(dtype)})
        return {
            name: tf.function(function, autograph=False).get_concrete_function(**inputs)
            for name, (function, inputs) in found.items()
        }

    def feature(self, inputs):
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([], tf.float32)})["x"]

    def classify(self, inputs):
        x = self.feature(inputs)
        names = tf.tile([["small", "large"]], [tf.size(x), 1])
        return {"classes": names, "scores": tf.stack([1 - x, x], axis=1)}

    def two(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32), "b": b + 0}

    def checked(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, message="x must not be negative")]):
            return {"root": tf.sqrt(x)}

    def tell(self, n):
        return {"n": n + 0, "version": tf.fill(tf.shape(n), self.version)}

    def slow(self, n):
        """About a millisecond for each of the largest n."""

        def body(i, m):
            return i + 1, tf.tanh(tf.matmul(m, m))

        _, m = tf.while_loop(lambda i, _: i < tf.reduce_max(n), body, [0, tf.eye(160)])
        return {"n": n + tf.cast(m[0, 0] * 0, tf.int32), "version": tf.fill(tf.shape(n), self.version)}


class Words(tf.Module):
    """Writes "w0 w1 ..." or, with a temperature, words that follow from the seed; ends at 20 words."""

    def signatures(self) -> dict:
        rows = {
            "max_new_tokens": tf.int32,
            "temperature": tf.float32,
            "top_k": tf.int32,
            "top_p": tf.float32,
            "seed": tf.int32,
        }
        settings = {name: vector(dtype) for name, dtype in rows.items()}
        pairs = tf.TensorSpec([None, None], tf.string)
        found = {
            "serving_default": (lambda text: {"text": text}, {"text": vector(tf.string)}),
            "generate": (self.generate, {"text": vector(tf.string), **settings}),
            "chat": (self.chat, {"roles": pairs, "contents": pairs, **settings}),
            "tokenize": (lambda text: {"num_tokens": tf.strings.length(text) + 2}, {"text": vector(tf.string)}),
        }
        return {
            name: tf.function(function, autograph=False).get_concrete_function(**inputs)
            for name, (function, inputs) in found.items()
        }

    def generate(self, text, max_new_tokens, temperature, top_k, top_p, seed):
        def write(row):
            count = tf.minimum(row[0], 20)
            numbers = tf.random.stateless_uniform([count], [row[1], 0], 0, 100, tf.int32)
            numbers = tf.where(row[2] > 0, numbers, tf.range(count))
            return tf.strings.reduce_join(tf.strings.join([" w", tf.strings.as_string(numbers)]))

        rows = [max_new_tokens, seed, tf.cast(temperature * 100, tf.int32)]
        ended = max_new_tokens > 20
        return {
            "text": tf.map_fn(write, tf.stack(rows, axis=1), fn_output_signature=tf.TensorSpec([], tf.string)),
            "num_tokens": tf.minimum(max_new_tokens, 20),
            "finish_reason": tf.where(ended, "stop", "length"),
        }

    def chat(self, roles, contents, **settings):
        """Says the last message again, then writes."""
        places = tf.reduce_sum(tf.cast(roles != "", tf.int32), axis=1) - 1
        last = tf.gather(contents, places, batch_dims=1)
        written = self.generate(last, **settings)
        some = settings["max_new_tokens"] > 0
        return {**written, "text": tf.strings.join([tf.where(some, last, ""), written["text"]])}


class Reviews(tf.Module):
    """Answers as a classifier of tfllm does."""

    def signatures(self) -> dict:
        names = tf.constant(["bad", "good"])

        def classify(text):
            good = tf.cast(tf.strings.regex_full_match(text, ".*good.*"), tf.float32)
            rows = tf.tile(names[tf.newaxis], [tf.size(text), 1])
            scores = tf.stack([0.75 - good / 2, 0.25 + good / 2], axis=1)
            label = tf.gather(names, tf.argmax(scores, axis=1))
            return {"label": label, "score": tf.reduce_max(scores, axis=1), "scores": scores, "labels": rows}

        return {"serving_default": tf.function(classify, autograph=False).get_concrete_function(text=vector(tf.string))}


def save(root: tf.Module, directory: Path) -> None:
    tf.saved_model.save(root, str(directory), signatures=root.signatures())


def write_all(directory: Path) -> None:
    for version in (1, 2):
        save(Numbers(version), directory / "numbers" / str(version))
    save(Reviews(), directory / "reviews" / "1")
    save(Words(), directory / "words" / "3")
    facts = directory / "words" / "3" / "assets.extra" / "tfllm.json"
    facts.parent.mkdir()
    facts.write_text(json.dumps({"task": "generation", "sequence_length": 200, "inputs": ["text"]}))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
