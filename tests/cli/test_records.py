"""`tfllm records` as a user runs it, and pretraining on what it wrote."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm
from tfllm.checks import InputError


def run(*arguments):
    command = [sys.executable, "-m", "tfllm", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(tfllm.__file__).parent.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def records(corpus, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "r"
    options = ("--sequence-length", 32, "--held-out", 0.2, "--deduplicate", "near", "--workers", 1)
    done = run("records", "write", corpus, "--tokenizer", tokenizer_directory, "--out", out, *options)
    assert (done.returncode, done.stderr) == (0, "")
    train, held_out, left_out = done.stdout.splitlines()
    assert train.startswith("train: 1 shards, ")
    assert "bytes a token" in held_out
    assert left_out == "texts left out: 0 repeat another, 0 nearly repeat another, 0 quote a test set"
    return out


@pytest.mark.slow
def test_check_names_a_damaged_shard_and_ends_with_2(records, tmp_path, run_tfllm):
    whole = run_tfllm(["records", "check", records, "--json"], tmp_path)
    assert whole.returncode == 0
    report = json.loads(whole.stdout)
    assert report["faults"] == []
    assert report["parts"]["train"]["rows"] > 0
    shard = records / "held-out-00000.tfrecord.gz"
    content = shard.read_bytes()
    shard.unlink()
    try:
        damaged = run_tfllm(["records", "check", records], tmp_path)
        assert damaged.returncode == 2
        assert f"tfllm: {shard} is missing." in damaged.stderr
    finally:
        shard.write_bytes(content)


def test_pretrain_takes_records_with_their_length_part_and_number_of_steps(records, tmp_path):
    done = tfllm.pretrain(records, tmp_path / "model", tokenizer=records / "tokenizer", size="tiny", batch_size=4)
    rows = sum(
        entry["rows"]
        for name, entry in json.loads((records / "manifest.json").read_text())["shards"].items()
        if name.startswith("train")
    )
    assert (done["sequence_length"], done["held_out"], done["steps"]) == (32, 0.2, -(-rows // 4))
    assert done["held_out_scores"]["loss"] > 1
    saved = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert str(records / "manifest.json") in saved["inputs"]


def test_pretrain_refuses_pairs_from_records(records, tmp_path):
    with pytest.raises(InputError, match="sentence pairs"):
        tfllm.pretrain(records, tmp_path / "model", tokenizer=records / "tokenizer", size="tiny", objective="mlm-nsp")
