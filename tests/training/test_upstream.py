"""Keras still does wrong what `tfllm.training.upstream` repairs. A test that fails here says: take the repair out."""

import json
from pathlib import Path

import keras
import pytest
from keras.src.backend.tensorflow import trainer

from tfllm.training import upstream


@pytest.fixture(scope="module")
def upstream_alone(run_replicas):
    return run_replicas("upstream", "keras_replicas.py")


@pytest.mark.slow
def test_keras_clips_on_every_replica_and_takes_the_mean_of_means(upstream_alone):
    assert upstream_alone["stock"]["weights"] > 0.01
    assert upstream_alone["stock"]["loss"] > 0.01


@pytest.mark.slow
def test_keras_cannot_train_on_bool_rows_or_unequal_numbers_of_rows_on_replicas(upstream_alone):
    assert upstream_alone["defects"] == {"bool": "InvalidArgumentError", "uneven": "InvalidArgumentError"}


@pytest.mark.slow
def test_keras_drops_the_same_activations_on_all_replicas(upstream_alone):
    assert upstream_alone["dropped"]


@pytest.mark.slow
def test_keras_reads_a_first_batch_that_it_does_not_train_on(upstream_alone):
    assert upstream_alone["first_batch"]["keras"] > upstream_alone["first_batch"]["repaired"]


def test_keras_fails_in_two_processes_at_both_places_that_are_repaired(start_both):
    found = []
    for process in start_both(str(Path(__file__).with_name("keras_replicas.py")), "worker"):
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        found.append(json.loads(said.splitlines()[-1]))
    for each in found:
        assert each["build"] and each["reduce"]
        assert each["repaired"] is None


def test_the_repairs_are_undone_at_the_end_of_the_block():
    before = (
        trainer.reduce_per_replica,
        trainer.TensorFlowTrainer._maybe_symbolic_build,
        keras.random.SeedGenerator.next,
    )
    with pytest.raises(KeyError), upstream.repaired():
        assert trainer.reduce_per_replica is upstream.reduce_per_replica
        raise KeyError
    after = (
        trainer.reduce_per_replica,
        trainer.TensorFlowTrainer._maybe_symbolic_build,
        keras.random.SeedGenerator.next,
    )
    assert before == after
