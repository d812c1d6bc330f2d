"""`kill -9` at random instants, many of them while a checkpoint is written: the final weights are bit-equal.

The short form runs with the tests; `make torture` runs the long one.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfllm.data import write_records
from tfllm.data.samples import sample_path

MOST_CHECKPOINTS = 5  # that a part of the training writes, one a step, before it is killed
STEPS_PER_KILL = 12  # of which it does a few while it is being killed


class Trainings:
    """Trainings in processes that can be killed, one after the other, on the same directory."""

    def __init__(self, records: Path, out: Path, steps: int, save_seconds: float):
        out.mkdir()
        self._out = out
        program = Path(__file__).with_name("killed.py")
        command = [sys.executable, *map(str, (program, records, out, steps, save_seconds))]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def start(self) -> int:
        self._server.stdin.write("go\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def wait(self) -> int:
        """How the training ended: 0, or minus the signal."""
        return int(self._server.stdout.readline())

    def __enter__(self) -> "Trainings":
        return self

    def __exit__(self, *_) -> None:
        self._server.communicate()

    def weights(self) -> list[np.ndarray]:
        with np.load(self._out / "weights.npz") as stored:
            return [stored[name] for name in stored.files]

    def wait_for_checkpoint(self, process: int, being_written: bool) -> None:
        """Wait until a new checkpoint is there, or has begun to be written."""
        pattern = ".checkpoint-*" if being_written else "checkpoint-*"
        before = set((self._out / "run").glob(pattern))
        while not set((self._out / "run").glob(pattern)) - before:
            os.kill(process, 0)  # raises when the training has ended
            time.sleep(0.0002)


@pytest.fixture(scope="module")
def records(tmp_path_factory, tiny_tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_records(sample_path("text_en.txt"), tiny_tokenizer, folder / "r", sequence_length=16, workers=1)
    return folder / "r"


def test_killed_at_random_instants_a_training_ends_with_the_same_weights(records, tmp_path, torture_rounds):
    kills = torture_rounds(20, 200)
    steps = kills * STEPS_PER_KILL
    draw, while_saving = random.Random(0), 0
    with Trainings(records, tmp_path / "whole", steps, save_seconds=3600) as whole:
        whole.start()
        assert whole.wait() == 0
    with Trainings(records, tmp_path / "killed", steps, save_seconds=0) as killed:
        for number in range(kills):
            saving = number % 3 == 0
            process = killed.start()
            for _ in range(draw.randint(1, MOST_CHECKPOINTS)):
                killed.wait_for_checkpoint(process, saving)
            time.sleep(draw.uniform(0, 0.002 if saving else 0.02))
            os.kill(process, signal.SIGKILL)
            assert killed.wait() == -signal.SIGKILL
            while_saving += saving
        killed.start()
        assert killed.wait() == 0
    assert while_saving >= kills // 4
    for a, b in zip(whole.weights(), killed.weights(), strict=True):
        assert (a == b).all()
