"""A training that was killed goes on as if it had not been; numbers that are not finite stop it at once."""

import json
import logging
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import adamw, add_masked_lm_head, build_encoder
from tfllm.checks import InputError
from tfllm.training import Run, train_classifier, train_masked_lm
from tfllm.training.run import Interrupted

STEPS, ROWS, TOKENS, MASKED, VOCABULARY = 6, 4, 8, 2, 20


def masked_batches(start: int = 0, poison: int | None = None) -> tf.data.Dataset:
    """Endless batches; batch n follows from n alone. The batch `poison` has an infinite weight."""

    def batch(number):
        seeds = tf.stack([number, 7])
        ids = tf.random.stateless_uniform((ROWS, TOKENS), seeds, 5, VOCABULARY, tf.int32)
        inputs = {
            "token_ids": ids,
            "segment_ids": tf.zeros_like(ids),
            "padding_mask": tf.ones_like(ids),
            "mask_positions": tf.tile([[1, 3]], (ROWS, 1)),
        }
        weights = tf.ones((ROWS, MASKED))
        if poison is not None:
            weights *= tf.where(number == poison, float("inf"), 1.0)
        return inputs, ids[:, 1:4:2], weights

    return tf.data.Dataset.counter(start).map(lambda number: batch(tf.cast(number, tf.int32)))


class StopAt(keras.callbacks.Callback):
    """Ends the training hard after some batches, as a kill would."""

    def __init__(self, steps: int, action=None):
        super().__init__()
        self._left, self._action = steps, action

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left == 0:
            if self._action:
                self._action()
            else:
                raise Killed


class Killed(Exception):
    pass


def train(run: Run | None, batches=masked_batches, callbacks=(), steps: int = STEPS) -> keras.Model:
    keras.utils.set_random_seed(3)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.2}
    model = add_masked_lm_head(build_encoder(VOCABULARY, **size))
    optimizer = adamw(1e-2, total_steps=STEPS, warmup_steps=2)
    train_masked_lm(model, batches, optimizer, steps=steps, run=run, callbacks=callbacks)
    return model


@pytest.fixture(scope="module")
def uninterrupted() -> list[np.ndarray]:
    return train(None).get_weights()


def assert_bit_equal(model: keras.Model, weights: list[np.ndarray]) -> None:
    for a, b in zip(model.get_weights(), weights, strict=True):
        assert (a == b).all()


@pytest.mark.parametrize("killed_after", [1, STEPS])
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, uninterrupted, killed_after):
    with pytest.raises(Killed):
        train(Run(tmp_path, save_seconds=0), callbacks=[StopAt(killed_after)])
    assert_bit_equal(train(Run(tmp_path)), uninterrupted)


def test_batches_after_the_last_checkpoint_are_trained_again(tmp_path, uninterrupted):
    with pytest.raises(Killed):
        train(Run(tmp_path, save_seconds=0), callbacks=[StopAt(2)])
    with pytest.raises(Killed):
        train(Run(tmp_path, save_seconds=3600), callbacks=[StopAt(2)])
    assert_bit_equal(train(Run(tmp_path)), uninterrupted)


@pytest.mark.slow
def test_a_training_in_float16_that_was_killed_twice_goes_on_with_its_scale(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = train(None).optimizer
        for _ in range(2):
            with pytest.raises(Killed):
                train(Run(tmp_path, save_seconds=0), callbacks=[StopAt(2)])
        again = train(Run(tmp_path)).optimizer
    finally:
        keras.config.set_dtype_policy("float32")
    assert len(again.variables) == len(optimizer.variables)
    for variable in ("step_counter", "dynamic_scale"):
        assert float(getattr(again, variable)) == float(getattr(optimizer, variable)) > 0


def test_a_finished_training_is_not_repeated(tmp_path, uninterrupted):
    train(Run(tmp_path))
    assert_bit_equal(train(Run(tmp_path), callbacks=[StopAt(1)]), uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_with_the_exit_code_of_the_shell(tmp_path, uninterrupted, number):
    ask = StopAt(2, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted) as stopped:
        train(Run(tmp_path, save_seconds=3600), callbacks=[ask])
    assert stopped.value.code == 128 + number
    saved = json.loads((next(tmp_path.glob("checkpoint-*")) / "manifest.json").read_text())
    assert saved["arguments"]["step"] in (2, 3)
    assert_bit_equal(train(Run(tmp_path)), uninterrupted)


@pytest.mark.slow
def test_a_signal_after_the_last_batch_stops_too_and_the_score_is_not_lost(
    tmp_path, make_classifier, make_batches, make_dataset
):
    def finetune(callbacks=()):
        model, validation = make_classifier(dropout=0.0), make_dataset(seed=1)
        return train_classifier(model, make_batches(), validation, epochs=1, run=Run(tmp_path), callbacks=callbacks)

    ask = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        finetune([ask])
    (epoch,) = finetune()
    assert "val_macro_f1" in epoch


def test_the_handlers_of_before_come_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    train(Run(tmp_path), steps=1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_the_last_checkpoints_stay(tmp_path):
    train(Run(tmp_path, save_seconds=0, keep=2))
    assert len(list(tmp_path.iterdir())) == 2


def test_every_flipped_byte_is_noticed_and_the_checkpoint_before_is_used(
    tmp_path, uninterrupted, caplog, torture_rounds
):
    with pytest.raises(Killed):
        train(Run(tmp_path, save_seconds=0), callbacks=[StopAt(4)])
    newest = sorted(tmp_path.glob("checkpoint-*"))[-1]
    checkpoints = Run(tmp_path).checkpoints
    random = np.random.default_rng(0)
    for _ in range(torture_rounds(50, 1000)):
        file = newest / str(random.choice(["state.npz", "manifest.json"], p=[0.9, 0.1]))
        content = bytearray(file.read_bytes())
        place = int(random.integers(len(content)))
        content[place] ^= 1 << int(random.integers(8))
        original, _ = file.read_bytes(), file.write_bytes(content)
        found = checkpoints.read()
        assert found.path != newest, (file.name, place)
        file.write_bytes(original)
    (newest / "state.npz").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert_bit_equal(train(Run(tmp_path)), uninterrupted)
    assert f"{newest / 'state.npz'} is damaged" in caplog.text


def test_a_number_that_is_not_finite_stops_within_a_step_and_keeps_the_batch(tmp_path):
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    with pytest.raises(InputError, match="batch 3 is not a finite number") as error:
        train(Run(tmp_path), lambda start=0: masked_batches(start, poison=3), [count])
    assert len(steps) == 3
    assert "bad-batch-3.npz" in str(error.value)
    with np.load(tmp_path / "bad-batch-3.npz") as kept:
        expected = next(iter(masked_batches(3)))
        assert (kept["token_ids"] == expected[0]["token_ids"].numpy()).all()
        assert np.isinf(kept["target_1"]).all()


@pytest.mark.parametrize("poison", [0, STEPS - 1])
def test_skipping_goes_on_without_the_batch(tmp_path, poison):
    def without(start=0):
        kept = masked_batches(start).enumerate(start).filter(lambda number, batch: number != poison)
        return kept.map(lambda number, batch: batch)

    expected = train(None, without, steps=STEPS - 1)
    run = Run(tmp_path, save_seconds=0, on_divergence="skip")
    assert_bit_equal(train(run, lambda start=0: masked_batches(start, poison)), expected.get_weights())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(Run(tmp_path), steps=1)
    model = add_masked_lm_head(build_encoder(VOCABULARY, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16))
    with pytest.raises(InputError, match="is of another model"):
        train_masked_lm(model, masked_batches, adamw(1e-2, total_steps=2), steps=2, run=Run(tmp_path))


def test_fine_tuning_goes_on_too_with_its_best_epoch_and_its_stage(
    tmp_path, make_classifier, make_batches, make_dataset
):
    def finetune(run, callbacks=()):
        model, validation = make_classifier(dropout=0.1), make_dataset(seed=1)
        arguments = {"epochs": 3, "patience": 3, "unfreeze_gradually": True, "run": run, "callbacks": callbacks}
        history = train_classifier(model, make_batches(), validation, **arguments)
        scores = [{name: value for name, value in epoch.items() if name != "loss"} for epoch in history]
        return model, scores  # the loss of an epoch that was interrupted is that of its rest

    model, scores = finetune(None)
    for killed_after in (4, 6):  # batches, in epochs of 4: before the first epoch is scored, and in the third
        with pytest.raises(Killed):
            finetune(Run(tmp_path / "run", save_seconds=0), [StopAt(killed_after)])
    again, scores_again = finetune(Run(tmp_path / "run"))
    assert_bit_equal(again, model.get_weights())
    assert scores_again == scores


def test_a_full_disk_is_said_with_the_missing_bytes_and_training_goes_on(tmp_path, uninterrupted, caplog):
    """On a real file system of its own that is too small."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    if os.system(f"mount -t tmpfs -o size=24k tmpfs {mounted} 2>/dev/null"):
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        with caplog.at_level(logging.ERROR):
            assert_bit_equal(train(Run(mounted, save_seconds=0)), uninterrupted)
        assert "more bytes are needed" in caplog.text
        assert not list(mounted.glob(".*"))
    finally:
        os.system(f"umount {mounted}")
