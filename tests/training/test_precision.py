"""The names of precisions, and that the choice is said in the log."""

import logging

import keras
import pytest

from tfllm.checks import InputError
from tfllm.training import choose_precision


@pytest.mark.parametrize(
    ("precision", "policy"), [("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")]
)
def test_a_named_precision_becomes_its_keras_policy_and_is_logged(precision, policy, caplog):
    with caplog.at_level(logging.INFO, "tfllm"):
        assert choose_precision(precision) == policy
    assert caplog.messages == [f"precision: {policy}"]
    assert keras.dtype_policies.get(policy).variable_dtype == "float32"


def test_auto_chooses_one_that_never_needs_loss_scaling():
    assert choose_precision() in ("float32", "mixed_bfloat16")


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(InputError, match=r"`precision` must be one of auto, .*did you mean 'bfloat16'"):
        choose_precision("bfloat")
