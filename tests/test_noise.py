"""What is written to standard error while something is imported: TensorFlow's lines are held back, no others."""

import os
import sys

import pytest

from tfllm.noise import ANYTHING, TENSORFLOW, held_back

SAID = b"""WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795476554.831854   19411 port.cc:153] oneDNN custom operations are on.
2026-11-23 23:30:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
2026-11-23 23:30:00.123456: a line of somebody's own
To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow.
Import failed: E0000
"""
OURS = "2026-11-23 23:30:00.123456: a line of somebody's own\nImport failed: E0000\n"


@pytest.mark.parametrize(("noise", "left"), [(TENSORFLOW, OURS), (ANYTHING, "")])
def test_only_noise_is_held_back(capfd, noise, left):
    with held_back(noise):
        os.write(2, SAID)
    assert capfd.readouterr().err == left
    print("after", file=sys.stderr)
    os.write(2, b"it")
    assert capfd.readouterr().err == "after\nit"


def test_all_is_told_if_something_fails(capfd):
    with pytest.raises(ImportError), held_back(ANYTHING):
        os.write(2, SAID)
        raise ImportError
    assert capfd.readouterr().err == SAID.decode()
