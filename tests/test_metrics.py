"""Calibration error against numbers worked out by hand."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.metrics import expected_calibration_error


def test_calibration_error_equals_the_hand_derived_value():
    # Two bins: (0, 0.5] and (0.5, 1]; confidence is the largest probability of a row.
    probabilities = np.array([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.1, 0.8]])
    label_ids = np.array([0, 0, 0, 2])
    # First bin: 1 example, accuracy 1, confidence 0.4: gap 0.6.
    # Second bin: 3 examples, accuracy 2/3, confidence (0.9 + 0.8 + 0.8) / 3 = 2.5/3: gap 0.5/3.
    # Error: 1/4 * 0.6 + 3/4 * 0.5/3 = 0.15 + 0.125 = 0.275.
    assert expected_calibration_error(probabilities, label_ids, bins=2) == pytest.approx(0.275, abs=1e-12)


def test_an_interval_holds_its_upper_end():
    # With 2 bins, 0.5 belongs to (0, 0.5], apart from 0.6: gaps |1 - 0.5| and |0 - 0.6|, mean 0.55.
    # In one interval together they would give |0.5 - 0.55| = 0.05.
    probabilities = np.array([[0.5, 0.5], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, np.array([0, 1]), bins=2) == pytest.approx(0.55, abs=1e-12)


def test_certain_and_right_is_perfectly_calibrated_and_certain_and_wrong_is_not():
    certain = np.eye(3)
    assert expected_calibration_error(certain, np.array([0, 1, 2])) == 0.0
    assert expected_calibration_error(certain, np.array([1, 2, 0])) == 1.0


@pytest.mark.parametrize(
    ("probabilities", "label_ids"), [(np.ones((2, 2)) / 2, np.zeros(3, int)), (np.zeros((0, 2)), np.zeros(0, int))]
)
def test_shapes_that_do_not_agree_and_no_examples_are_refused(probabilities, label_ids):
    with pytest.raises(InputError, match="N at least 1"):
        expected_calibration_error(probabilities, label_ids)
