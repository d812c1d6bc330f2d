"""A graph with an op that TF Serving lacks, or that touches files, is refused by the op's name."""

import keras
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from tfllm.checks import InputError
from tfllm.export.ops import TEXT_OPS, check_ops

_TEXT = tf.TensorSpec([None], tf.string)


def _save(directory, function):
    module = tf.Module()
    module.answer = tf.function(function, input_signature=[_TEXT], autograph=False)
    tf.saved_model.save(module, str(directory))
    return directory


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda text: tf.py_function(lambda value: value, [text], tf.string), "EagerPyFunc"),
        (lambda text: tf.numpy_function(lambda value: value, [text], tf.string), "PyFunc"),
        (lambda text: tf.map_fn(tf.io.read_file, text), "ReadFile"),
        (lambda text: (tf.io.write_file(text[0], text[1]), text)[1], "WriteFile"),
        (lambda text: tf.io.matching_files(text), "MatchingFiles"),
        (lambda text: keras.ops.slice_update(tf.zeros(3), [0], tf.ones(1)), "XlaDynamicUpdateSlice"),
        (lambda text: tf_text.utf8_binarize(text), "Utf8Binarize"),
    ],
    ids=["py_function", "numpy_function", "read", "write", "glob", "keras slice_update", "newer tf-text"],
)
def test_a_forbidden_op_is_named_even_inside_a_function(tmp_path, function, op):
    with pytest.raises(InputError, match=op):
        check_ops(_save(tmp_path, function))


def test_a_function_compiled_by_xla_is_refused(tmp_path):
    compiled = tf.function(lambda x: x + 1, jit_compile=True)
    with pytest.raises(InputError, match="jit_compile"):
        check_ops(_save(tmp_path, lambda text: compiled(tf.strings.length(text))))


def test_text_ops_and_tensorflow_ops_pass(tmp_path):
    ops = check_ops(_save(tmp_path, lambda text: tf_text.case_fold_utf8(tf.strings.strip(text))))
    assert {"CaseFoldUTF8", "StringStrip"} <= set(ops)
    assert "TFText>Utf8Binarize" not in TEXT_OPS, "TF Serving 2.18 and 2.19 do not have it"


def test_a_damaged_graph_is_said(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(InputError, match="damaged"):
        check_ops(tmp_path)
