"""What a run remembers and what it goes back to; a model of one layer, as only the loop around it is looked at."""

import shutil
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import adamw, manifest
from tfllm.checks import InputError
from tfllm.training import Run, fine_tune
from tfllm.training.loop import fit_steps
from tfllm.training.pretraining import train_compiled
from tfllm.training.run import Memory

STEPS = 4


class Killed(Exception):
    pass


def batches(start: int = 0, poison: int | None = None) -> tf.data.Dataset:
    """Endless batches; the targets of batch `poison` are infinite."""

    def batch(number):
        rows = tf.cast(tf.fill((2, 3), number), tf.float32)
        return {"rows": rows}, rows[:, :1] * (float("inf") if poison is not None and number == poison else 1.0)

    return tf.data.Dataset.counter(start).map(batch)


def build() -> keras.Model:
    keras.utils.set_random_seed(0)
    rows = keras.Input((3,), name="rows")
    hidden = keras.layers.Dense(2, name="lower")(rows)
    return keras.Model({"rows": rows}, keras.layers.Dense(1, name="head")(hidden))


def compiled(model: keras.Model) -> keras.Model:
    model.compile(adamw(1e-2, total_steps=STEPS), loss="mse")
    return model


def train(run: Run, data=batches, steps: int = STEPS, **actions) -> dict:
    """Train; `actions` are a Keras callback's, `on_train_batch_end` say."""
    callback = keras.callbacks.LambdaCallback(**actions)
    return train_compiled(compiled(build()), data, steps=steps, run=run, callbacks=[callback])


def kill_after(batch: int):
    def kill(number, logs):
        if number == batch - 1:
            raise Killed

    return kill


@pytest.fixture
def killed_after_3(tmp_path) -> Run:
    """A run whose checkpoints of the second and the third batch stand."""
    with pytest.raises(Killed):
        train(Run(tmp_path / "run", save_seconds=0), on_train_batch_end=kill_after(3))
    return Run(tmp_path / "run", save_seconds=0)


def names(run: Run) -> list[str]:
    return sorted(path.name for path in run.directory.iterdir())


def test_the_time_of_a_training_is_the_sum_over_its_processes(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("tfllm.training.run.time", SimpleNamespace(monotonic=lambda: clock[0]))

    def ten_seconds(number, logs):
        clock[0] += 10
        kill_after(3)(number, logs)

    with pytest.raises(Killed):  # its last checkpoint stands after 20 seconds
        train(Run(tmp_path, save_seconds=0), on_train_batch_end=ten_seconds)
    clock[0] += 1000  # nobody trains
    run = Run(tmp_path)
    train(run, on_train_batch_end=ten_seconds)
    assert run.seconds == 30


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("held", [0, 2])
def test_data_that_end_are_an_error_not_an_endless_wait(tmp_path, held):
    ends = []

    def count(epoch, logs):
        ends.append(epoch)
        assert len(ends) < 5

    with pytest.raises(InputError, match=f"end after {held} of {STEPS} batches"):
        train(Run(tmp_path), batches().take(held), on_epoch_end=count)


def test_without_a_whole_checkpoint_training_begins_anew_and_says_so(killed_after_3, caplog):
    for file in killed_after_3.directory.glob("*/state.npz"):
        file.write_bytes(b"")
    assert killed_after_3.read() is None
    said = [record.getMessage() for record in caplog.records]
    assert said[0].endswith("The checkpoint before it is used.")
    assert said[1].endswith("No whole one is left: training begins anew.")


def test_a_checkpoint_that_the_disk_does_not_give_back_is_passed_over_and_replaced(killed_after_3, monkeypatch):
    hash_file = manifest.hash_file

    def unreadable(file):
        if "checkpoint-000003" in str(file):
            raise OSError(5, "Input/output error", str(file))
        return hash_file(file)

    monkeypatch.setattr("tfllm.manifest.hash_file", unreadable)
    found = killed_after_3.read()
    assert found.step == 2
    monkeypatch.undo()
    model = compiled(build())
    model.optimizer.build(model.trainable_variables)
    killed_after_3.checkpoints.save(model, 3, {})
    assert names(killed_after_3) == ["checkpoint-000002", "checkpoint-000004"]  # two that are whole


def test_a_copy_beside_the_checkpoints_is_left_alone_and_numbers_may_have_seven_digits(killed_after_3):
    directory = killed_after_3.directory
    shutil.copytree(directory / "checkpoint-000003", directory / "checkpoint-000003.kept")
    (directory / "checkpoint-000003").rename(directory / "checkpoint-999999")
    train(killed_after_3)
    assert names(killed_after_3) == ["checkpoint-000003.kept", "checkpoint-1000000", "checkpoint-1000001"]
    assert Run(directory).read().step == STEPS


def test_fewer_steps_than_are_done_are_refused(killed_after_3):
    with pytest.raises(InputError, match=r"written after 3 batches: `steps` cannot be fewer. Received: 2"):
        train(killed_after_3, steps=2)


def test_a_signal_does_not_wait_for_a_first_batch_that_takes_long(tmp_path):
    before, while_waiting, later = signal.getsignal(signal.SIGTERM), [], []
    note = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: while_waiting.append(signal.getsignal(signal.SIGTERM)),
        on_train_batch_end=lambda batch, logs: later.append(signal.getsignal(signal.SIGTERM)),
    )
    train_compiled(compiled(build()), batches, steps=2, run=Run(tmp_path), callbacks=[note])
    assert while_waiting == [before]
    assert before not in later
    assert signal.getsignal(signal.SIGTERM) is before


def test_skipping_in_a_stage_goes_back_to_its_beginning(tmp_path):
    """The stage before had another optimizer, of fewer weights."""
    model, memory = build(), Memory()
    run = Run(tmp_path, on_divergence="skip")
    model.get_layer("lower").trainable = False
    options = {"epoch_steps": 2, "run": run}
    fit_steps(compiled(model), lambda start: batches(start, 2), memory, last_step=2, **options)
    model.get_layer("lower").trainable = True
    fit_steps(compiled(model), lambda start: batches(start, 2), memory, last_step=4, **options)
    assert (memory.step, memory.skipped) == (4, [2])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize("arguments", [{"weight_decay": -0.1}, {"clip_norm": -1.0}])
def test_what_would_let_weights_grow_is_refused(arguments):
    with pytest.raises(InputError, match="must be at least 0"):
        adamw(1e-3, total_steps=1, **arguments)


def test_patience_of_no_epoch_is_refused():
    with pytest.raises(InputError, match="`patience` must be at least 1"):
        fine_tune(build(), batches, loss=keras.losses.MeanSquaredError(), patience=0)
