"""Equal operations of a SavedModel become one, and nothing else changes."""

from collections import Counter

import pytest
import tensorflow as tf

from tfllm.export.merge import merge_equal_nodes
from tfllm.export.ops import read_graph


@pytest.fixture
def save(tmp_path):
    """`save(function)`: a SavedModel of a function of strings; its directory."""

    def save(function, **tracked):
        root = tf.Module()
        root.function = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        for name, value in tracked.items():
            setattr(root, name, value)
        tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.function)
        return tmp_path / "model"

    return save


def _ops(directory) -> Counter:
    functions = read_graph(directory).graph_def.library.function
    return Counter(node.op for function in functions for node in function.node_def)


def _ask(directory, texts):
    outputs = tf.saved_model.load(str(directory)).signatures["serving_default"](tf.constant(texts))
    return {name: tensor.numpy().tolist() for name, tensor in outputs.items()}


def test_what_is_computed_twice_is_computed_once_with_all_that_follows_from_it(save):
    def function(text):
        upper = [tf.strings.upper(tf.strings.strip(text)) for _ in range(3)]
        return {"length": tf.strings.length(upper[0]) + tf.strings.length(upper[1]), "upper": upper[2]}

    directory = save(function)
    before, answers = _ops(directory), _ask(directory, [" a ", "bcd"])
    merge_equal_nodes(directory)
    after = _ops(directory)
    assert before["StringStrip"] == before["StringUpper"] == 3 * after["StringUpper"] == 3 * after["StringStrip"] == 3
    assert after["StringLength"] == 1
    assert _ask(directory, [" a ", "bcd"]) == answers == {"length": [2, 6], "upper": [b"A", b"BCD"]}


def test_what_differs_in_its_inputs_or_settings_stays(save):
    def function(text):
        characters = tf.strings.length(text, unit="UTF8_CHAR")
        return {
            "bytes": tf.strings.length(text),
            "characters": characters,
            "more": characters - 1,
            "less": 1 - characters,
        }

    directory = save(function)
    merge_equal_nodes(directory)
    assert _ask(directory, ["ä"]) == {"bytes": [2], "characters": [1], "more": [0], "less": [0]}
    assert _ops(directory)["StringLength"] == _ops(directory)["Sub"] == 2


def test_in_loops_and_branches_too(save):
    def function(text):
        def body(number, total):
            return number + 1, total + tf.strings.length(text) + tf.strings.length(text)

        _, total = tf.while_loop(lambda number, _: number < 3, body, [0, tf.zeros_like(tf.strings.length(text))])
        return {"total": total}

    directory = save(function)
    assert _ops(directory)["StringLength"] == 3
    merge_equal_nodes(directory)
    assert _ops(directory)["StringLength"] == 2  # before the loop, and in it
    assert _ask(directory, ["abc", ""]) == {"total": [18, 0]}


def test_what_has_a_state_is_not_merged(save):
    counter = tf.Variable(0)

    def function(text):
        first = counter.read_value()
        counter.assign_add(1)
        random = [tf.random.uniform([1]), tf.random.uniform([1])]
        return {"first": first + 0 * tf.size(text), "second": counter.read_value() + 0, "same": random[0] == random[1]}

    directory = save(function, counter=counter)
    merge_equal_nodes(directory)
    assert _ask(directory, ["a"]) == {"first": 0, "second": 1, "same": [False]}


def test_the_fingerprint_is_that_of_the_merged_graph(save):
    directory = save(lambda text: {"length": tf.strings.length(text) + tf.strings.length(text)})
    before = _checksum(directory)
    merge_equal_nodes(directory)
    merged = _checksum(directory)
    merge_equal_nodes(directory)
    assert before != merged == _checksum(directory)


def test_an_export_holds_nothing_twice(copy):
    before = _ops(copy), _checksum(copy)
    merge_equal_nodes(copy)
    assert (_ops(copy), _checksum(copy)) == before


def _checksum(directory) -> int:
    return tf.saved_model.experimental.read_fingerprint(str(directory)).saved_model_checksum
