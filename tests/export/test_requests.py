"""The warm-up file is one that TF Serving reads."""

import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.export.requests import WARM_UP_FILE, Request, make_request, read_warm_up, write_warm_up


def test_the_bytes_are_those_of_tensorflow_serving_api(tmp_path):
    # Written by tensorflow-serving-api 2.21.0: PredictionLog with model name "m", signature "s", input "a" of dtype
    # int32 (TensorProto 08 03) and output "b" of dtype float32 (08 01).
    expected = "32260a110a060a016d1a017312070a01611202080312110a070a01621202080112060a016d1a0173"
    write_warm_up(tmp_path, "m", [Request("s", {"a": b"\x08\x03"}, {"b": b"\x08\x01"})])
    (record,) = tf.data.TFRecordDataset(str(tmp_path / WARM_UP_FILE))
    assert record.numpy().hex() == expected


def test_requests_are_read_as_written(tmp_path):
    requests = [
        make_request("serving_default", {"text": tf.constant(["", "你好"])}, {"scores": tf.constant([[0.25], [0.5]])}),
        make_request("tokens", {"token_ids": tf.zeros([0, 2], tf.int32)}, {"labels": tf.zeros([0, 3], tf.string)}),
    ]
    write_warm_up(tmp_path, "reviews", requests)
    assert read_warm_up(tmp_path) == requests


@pytest.mark.parametrize("content", [None, b"not a TFRecord"])
def test_a_missing_or_damaged_file_is_said(tmp_path, content):
    if content:
        (tmp_path / WARM_UP_FILE).parent.mkdir()
        (tmp_path / WARM_UP_FILE).write_bytes(content)
    with pytest.raises(InputError, match="tf_serving_warmup_requests cannot be read"):
        read_warm_up(tmp_path)


def test_more_requests_than_tf_serving_accepts_are_refused(tmp_path):
    write_warm_up(tmp_path, "m", [Request("s", {}, {})] * 1001)
    with pytest.raises(InputError, match="1001 requests"):
        read_warm_up(tmp_path)
