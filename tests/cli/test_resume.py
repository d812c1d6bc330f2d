"""A training that is stopped goes on with the same command; other arguments are refused by name."""

import fcntl
import json
import re
import signal
import time

import pytest

from tfllm.checks import InputError
from tfllm.cli.pretrain import pretrain
from tfllm.data.samples import sample_path
from tfllm.manifest import RUN, read_manifest, write_manifest

TRAINING = {"size": "tiny", "steps": 600, "batch_size": 4, "sequence_length": 32, "held_out": 0.0, "save_minutes": 0.01}


def arguments(tokenizer_directory, out):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TRAINING.items()]
    text = ["--data", str(sample_path("text_en.txt")), "--tokenizer", str(tokenizer_directory), "--out", str(out)]
    return ["pretrain", *options, *text]


def checkpoints(out):
    return sorted(out.glob(f"{RUN}/*/checkpoint-*"), key=lambda directory: directory.name)


@pytest.fixture(scope="module")
def stopped(tokenizer_directory, tmp_path_factory, tfllm_forks):
    """A pretraining that got SIGTERM after its first checkpoint, and what it said."""
    out = tmp_path_factory.mktemp("stopped") / "m"
    process = tfllm_forks.start("tfllm", arguments(tokenizer_directory, out))
    while not checkpoints(out):
        assert process.poll() is None, process.said()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    return out, process.returncode, said


def test_sigterm_saves_within_seconds_and_says_how_to_go_on(stopped):
    out, code, said = stopped
    assert code == 128 + signal.SIGTERM
    batch = int(re.search(r"the same command goes on from batch (\d+)", " ".join(said.split()))[1])
    assert read_manifest(checkpoints(out)[-1], "checkpoint")["arguments"]["step"] == batch
    assert "Traceback" not in said


def test_other_arguments_are_named(stopped, tokenizer_directory):
    out = stopped[0]
    text = str(sample_path("text_en.txt"))
    with pytest.raises(InputError, match=r"learning-rate was 0\.001, now 0\.5\. Give the same"):
        pretrain(text, out, tokenizer=tokenizer_directory, **{**TRAINING, "learning_rate": 0.5})


def test_another_tokenizer_in_the_same_place_is_refused(stopped, tokenizer_directory):
    manifest_file = tokenizer_directory / "manifest.json"
    kept = manifest_file.read_text("utf-8")
    write_manifest(tokenizer_directory, read_manifest(tokenizer_directory, "tokenizer") | {"seed": 99})
    try:
        with pytest.raises(InputError, match=r"these files have changed: .*manifest\.json"):
            pretrain(str(sample_path("text_en.txt")), stopped[0], tokenizer=tokenizer_directory, **TRAINING)
    finally:
        manifest_file.write_text(kept, "utf-8")


def test_a_second_process_is_refused_while_the_first_trains(stopped, tokenizer_directory):
    with open(stopped[0] / RUN / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="Another process is training in"):
            pretrain(str(sample_path("text_en.txt")), stopped[0], tokenizer=tokenizer_directory, **TRAINING)


def test_the_same_command_goes_on_and_finishes(stopped, tokenizer_directory, run_tfllm):
    out = stopped[0]
    begun = json.loads((out / RUN / "arguments.json").read_text("utf-8"))
    del begun["bigram_buckets"]  # as if a version had begun it that had no such option
    (out / RUN / "arguments.json").write_text(json.dumps(begun), "utf-8")
    done = run_tfllm(arguments(tokenizer_directory, out), out.parent)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert read_manifest(out, "model")["arguments"]["run"]["steps"] == TRAINING["steps"]
    assert not (out / RUN).exists()
