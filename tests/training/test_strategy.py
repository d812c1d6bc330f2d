"""Several replicas train as one device does: two logical CPUs, and two processes on this machine."""

import re
import signal
import time

import numpy as np
import pytest

from tfllm import load_model, manifest
from tfllm.checks import InputError
from tfllm.training import choose_strategy


@pytest.fixture(scope="module")
def mirrored(run_replicas):
    return run_replicas("mirrored")


@pytest.fixture(scope="module")
def further(run_replicas):
    return run_replicas("mirrored_further")


def test_two_replicas_update_as_one_device_with_clipping_and_skewed_masks(mirrored):
    assert mirrored["adamw"]["weights"] < 1e-6
    assert mirrored["copies"] == 0


def test_two_replicas_with_micro_batches_update_as_one_device(mirrored):
    assert mirrored["micro_batches"]["weights"] < 1e-6


def test_an_optimizer_of_keras_clips_the_sum_of_the_gradients_and_rows_need_not_divide_evenly(mirrored):
    assert mirrored["uneven"]["weights"] < 1e-6


@pytest.mark.parametrize("training", ["adamw", "micro_batches", "uneven"])
def test_the_reported_numbers_are_those_of_one_device(mirrored, training):
    assert {"loss", "accuracy", "gradient_norm"} < set(mirrored[training])
    assert max(mirrored[training].values()) < 1e-6


@pytest.mark.slow
def test_a_gradient_that_overflows_on_one_replica_halves_the_loss_scale_and_changes_no_weight(further):
    assert further["float16"]["two"] == further["float16"]["one"] == {"moved": 0.0, "scale": 0.5}
    assert further["float16"]["weights"] < 1e-3  # sums of float16


@pytest.mark.slow
def test_replicas_drop_different_activations(further):
    assert further["dropped"]["nowhere"]
    assert not further["dropped"]["encoder"] and not further["dropped"]["head"]


@pytest.mark.slow
def test_fine_tuning_on_two_replicas_has_the_history_of_one_device(further):
    one, two = further["classifiers"]["one"], further["classifiers"]["two"]
    assert len(one) == len(two) == 2
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, abs=1e-6)


@pytest.mark.slow
def test_two_replicas_that_were_killed_go_on_bit_for_bit(further):
    assert further["resumed"]["weights"] == 0
    assert further["resumed"]["moved"] > 0.01


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("steps_per_execution", "`steps_per_execution` must be 1"),
        ("jit_compile", "leave `jit_compile` out"),
        ("gradient_accumulation_steps", "set the model's `micro_batches`"),
        ("optimizer_from_outside", "Make it inside"),
        ("one_text_a_row", "could part the two texts of a pair"),
    ],
)
def test_an_option_that_replicas_cannot_do_is_refused_with_the_reason(mirrored, option, reason):
    assert reason in mirrored["refused"][option]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gpu", "sees no GPU"), ("mirrored", "sees one"), ("tpu", "KERAS_BACKEND=jax"), ("cpus", "did you mean 'cpu'")],
)
def test_a_strategy_this_machine_cannot_do_is_refused_with_the_reason(name, reason):
    with pytest.raises(InputError, match=reason):
        choose_strategy(name)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"ps": ["a:1"]}}',
    ],
)
def test_processes_that_are_not_named_well_are_refused_with_an_example(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match=r'"cluster": \{"worker": \["host0:port"'):
        choose_strategy("multiworker")


def test_auto_is_one_device_here(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with choose_strategy() as chosen:
        assert (chosen.name, chosen.num_replicas, chosen.is_chief) == ("cpu", 1, True)


def test_a_batch_must_divide_evenly():
    chosen = choose_strategy("cpu")
    chosen.num_replicas = 3
    with pytest.raises(InputError, match=r"divisible by `replicas`.*batch_size=8, replicas=3"):
        chosen.check_batch_size(8)


@pytest.fixture
def command(tmp_path, tiny_tokenizer):
    """`command(out, *arguments)`: a pretraining of 30 short batches."""
    tiny_tokenizer.save(tmp_path / "tokenizer")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"the cup number {n} is warm and the plate is cold\n" for n in range(300)), "utf-8")
    rows = ["--size", "tiny", "--steps", "30", "--batch-size", "8", "--sequence-length", "16", "--held-out", "0"]
    places = ["--data", str(corpus), "--tokenizer", str(tmp_path / "tokenizer")]
    same = ["--dropout", "0", "--precision", "float32"]
    return lambda out, *more: ["pretrain", *places, *rows, *same, "--out", str(tmp_path / out), *more]


def test_two_processes_one_of_them_killed_end_with_the_weights_of_one(tmp_path, command, start_both, run_tfllm):
    """The other says what to do; begun again with the same command, both go on from the checkpoint of the first."""
    first, second = start_both("tfllm", *command("two"), "--save-minutes", "0")
    training = tmp_path / "two" / manifest.RUN / "training"
    while not any(training.glob("checkpoint-*")):
        assert first.poll() is None, first.said()
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    second.communicate()
    assert first.returncode == 2
    assert "Start all of them again" in re.sub(r"\s+", " ", said)

    for process in start_both("tfllm", *command("two")):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "going on from" in said
    alone = run_tfllm(command("one"), tmp_path)
    assert alone.returncode == 0, alone.stderr
    one, two = (load_model(tmp_path / name).get_weights() for name in ("one", "two"))
    for left, right in zip(one, two, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_two_processes_stop_at_the_same_batch_though_one_is_asked(tmp_path, command, start_both):
    arguments = command("two", "--save-minutes", "0", "--steps", "100000")
    both = start_both("tfllm", *arguments)
    training = tmp_path / "two" / manifest.RUN / "training"
    while not any(int(one.name.split("-")[1]) > 2 for one in training.glob("checkpoint-*")):  # both wait for signals
        assert both[0].poll() is None, both[0].said()
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    said = [re.sub(r"\s+", " ", process.communicate(timeout=60)[1]) for process in both]
    stops = [
        re.search(r"stopped by a signal after (\d+) batches; the same command goes on from batch \1", one)
        for one in said
    ]
    assert all(stops), said
    assert stops[0][1] == stops[1][1]
    assert [process.returncode for process in both] == [128 + signal.SIGTERM] * 2
