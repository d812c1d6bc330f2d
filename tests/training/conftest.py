"""A classifier of random weights and tiny data it can learn: which of two tokens stands in the row."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.models import add_classifier_head, build_encoder

SIZE = {
    "vocabulary_size": 12,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "max_sequence_length": 8,
}


@pytest.fixture
def make_encoder():
    """Build the same encoder each time; arguments replace those of SIZE."""

    def make(seed=1, **arguments):
        keras.utils.set_random_seed(seed)
        return build_encoder(**{**SIZE, **arguments})

    return make


@pytest.fixture
def make_classifier(make_encoder):
    """Build the same classifier each time."""
    return lambda **arguments: add_classifier_head(make_encoder(**arguments), ["a", "b"])


@pytest.fixture
def make_dataset():
    """`count` rows of 8 tokens; label 1 where the row holds token 10, 0 where 11; `flipped` turns labels round."""

    def make(count=32, batch_size=8, seed=0, flipped=False):
        random = np.random.default_rng(seed)
        label_ids = (np.arange(count) % 2).astype("int32")
        token_ids = random.integers(5, 10, (count, 8)).astype("int32")
        token_ids[np.arange(count), random.integers(0, 8, count)] = np.where(label_ids == 1, 10, 11)
        inputs = {
            "token_ids": token_ids,
            "segment_ids": np.zeros_like(token_ids),
            "padding_mask": np.ones_like(token_ids),
        }
        return tf.data.Dataset.from_tensor_slices((inputs, label_ids ^ flipped)).batch(batch_size)

    return make


@pytest.fixture
def make_batches(make_dataset):
    """The same rows as batches that can begin anywhere."""

    def make(**arguments):
        def batches(start=0):
            return make_dataset(**arguments).repeat().skip(start)

        batches.epoch_steps = int(make_dataset(**arguments).cardinality())
        return batches

    return make


@pytest.fixture(scope="session")
def run_replicas():
    """`run_replicas(name)`: what the program `replicas.py` or another one prints, in a process of its own."""

    def run(name, program="replicas.py"):
        command = [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:__array__",
            Path(__file__).with_name(program),
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def free_ports():
    """`free_ports(count)`: numbers of ports of this machine that nobody uses."""

    def find(count):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for each in sockets:
                each.bind(("localhost", 0))
            return [each.getsockname()[1] for each in sockets]

    return find


@pytest.fixture(scope="session")
def start_both(free_ports, tfllm_forks):
    """`start_both(program, *arguments)`: it in two processes that know of each other by TF_CONFIG."""

    def start(program, *arguments):
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
        environments = [{**os.environ, "TF_CONFIG": json.dumps(task)} for task in tasks]
        return [tfllm_forks.start(program, arguments, environment=environment) for environment in environments]

    return start
