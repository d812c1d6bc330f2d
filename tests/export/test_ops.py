"""A graph with an op that TF Serving lacks, or that touches files, is refused by the op's name."""

import keras
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from tfllm.checks import InputError
from tfllm.export.ops import FIRST_IN, TEXT_OPS, check_ops, servers_for

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
    ],
    ids=["py_function", "numpy_function", "read", "write", "glob", "keras slice_update"],
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
    assert servers_for(ops) == ["2.18", "2.19", "2.20"]


def test_an_op_of_a_newer_server_is_named_with_the_servers_that_have_it(tmp_path):
    ops = check_ops(_save(tmp_path, lambda text: tf_text.utf8_binarize(text)))
    assert servers_for(ops) == ["2.20"]


def test_an_op_that_no_server_has_yet_is_refused(tmp_path):
    with pytest.raises(InputError, match="DecodeJxl"):
        check_ops(_save(tmp_path, lambda text: tf.raw_ops.DecodeJxl(contents=text[0])))


def test_the_table_names_ops_that_the_installed_libraries_have():
    buffer = pywrap_tf_session.TF_GetAllOpList()
    ops = {op.name for op in op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(buffer)).op}
    assert ops >= TEXT_OPS
    newer = {op for op in ops if op.startswith("TFText>")} - TEXT_OPS
    assert newer == {op for op in FIRST_IN if op.startswith("TFText>")}, "a new op: since which server?"


def test_a_damaged_graph_is_said(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(InputError, match="damaged"):
        check_ops(tmp_path)
