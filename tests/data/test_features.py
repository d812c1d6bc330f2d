"""The batch contract is checked by name, dtype and rank."""

import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.features import ENCODER_INPUTS, FEATURES, MASKED_LM_INPUTS, check_dataset


def dataset(**changed):
    batch = {name: tf.zeros((2, 3), tf.int32) for name in ENCODER_INPUTS} | changed
    return tf.data.Dataset.from_tensors((batch, tf.zeros(2, tf.int32)))


def test_a_dataset_that_keeps_the_contract_is_returned():
    kept = dataset()
    assert check_dataset(kept, ENCODER_INPUTS, ["label_ids"]) is kept


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"token_ids": tf.zeros((2, 3), tf.int64)}, r"`token_ids` must be int32 of rank 2.*Received: int64 \(2, 3\)"),
        ({"padding_mask": tf.zeros((2, 3), tf.bool)}, "`padding_mask` must be int32.*Received: bool"),
        ({"segment_ids": tf.zeros(2, tf.int32)}, r"`segment_ids` must be int32 of rank 2.*Received: int32 \(2,\)"),
        ({"token_type_ids": tf.zeros((2, 3), tf.int32)}, "A batch must hold .*Received: .*'token_type_ids'"),
    ],
)
def test_a_wrong_name_dtype_or_rank_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        check_dataset(dataset(**changed), ENCODER_INPUTS, ["label_ids"])


def test_a_missing_feature_is_refused():
    with pytest.raises(InputError, match="'mask_positions'"):
        check_dataset(dataset(), MASKED_LM_INPUTS, ["label_ids"])


def test_batches_of_inputs_alone_are_checked_too():
    inputs = dataset().map(lambda inputs, _: inputs)
    assert check_dataset(inputs, ENCODER_INPUTS) is inputs


def test_no_feature_is_bool_and_every_mask_of_positions_is_int32():
    assert {feature.dtype for feature in FEATURES.values()} == {"int32", "float32"}
    assert FEATURES["padding_mask"].dtype == "int32"
