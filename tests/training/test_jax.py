"""On JAX the same builders train on several devices and in several processes; the model then serves on TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfllm import export_savedmodel, load_model, load_tokenizer, predict_texts

PROGRAM = Path(__file__).with_name("replicas.py")
pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")


def _environment(devices: int, **more) -> dict:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags, **more}


@pytest.fixture(scope="module")
def places(tmp_path_factory, tiny_tokenizer):
    """Where the tokenizer is, and where the model will be."""
    directory = tmp_path_factory.mktemp("jax")
    tiny_tokenizer.save(directory / "tokenizer")
    return directory / "tokenizer", directory / "model"


@pytest.fixture(scope="module")
def on_jax(places):
    done = subprocess.run(
        [sys.executable, PROGRAM, "jax", *places], env=_environment(4), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("division", ["data", "model"])
def test_four_devices_update_as_one(on_jax, division):
    assert {"weights", "loss", "accuracy"} <= set(on_jax[division])
    assert max(on_jax[division].values()) < 1e-6


def test_four_devices_that_were_killed_go_on_bit_for_bit(on_jax):
    assert on_jax["resumed"]["weights"] == 0
    assert on_jax["resumed"]["moved"] > 0.01


def test_a_strategy_that_jax_cannot_do_here_is_refused_with_the_reason(on_jax):
    assert "JAX sees no TPU here. It sees: cpu:0" in on_jax["refused"]["tpu"]
    assert "keras.distribution.initialize()" in on_jax["refused"]["multiworker"]


@pytest.mark.slow
def test_a_model_trained_on_jax_is_exported_by_tensorflow_with_the_same_numbers(on_jax, places, tmp_path):
    _, directory = places
    export_savedmodel(load_model(directory), load_tokenizer(directory), tmp_path / "saved")
    answers = predict_texts(tmp_path / "saved", ["a good warm cup", "a bad cold plate"])
    logits = np.array(on_jax["logits"])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert [answer["label"] for answer in answers] == [["good", "bad"][row.argmax()] for row in probabilities]
    np.testing.assert_allclose([answer["score"] for answer in answers], probabilities.max(-1), atol=1e-5)


@pytest.mark.slow
def test_two_processes_update_as_one_device(on_jax, free_ports):
    (port,) = free_ports(1)
    named = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": f"localhost:{port}", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, "jax_worker"],
            env=_environment(2, **named, KERAS_DISTRIBUTION_PROCESS_ID=str(number)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in started:
        said, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        found = json.loads(said.splitlines()[-1])
        for left, right in zip(found["weights"], on_jax["weights"], strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6, rtol=0)
