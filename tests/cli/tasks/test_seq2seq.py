"""`finetune --task seq2seq`, `evaluate`, `predict` and `generate`, as a user runs them."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tfllm import load_model, manifest
from tfllm.checks import InputError
from tfllm.cli import app
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks.seq2seq import Seq2SeqTask

PAIRS = [("one two", "drei"), ("two one", "vier"), ("two two", "funf"), ("one", "sechs")] * 8
QUICK = {"task": "seq2seq", "size": "tiny", "epochs": 1, "batch_size": 8, "sequence_length": 16, "target_length": 12}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    file.write_text("en,de\n" + "".join(f"{source},{target}\n" for source, target in PAIRS), "utf-8")
    return file


@pytest.fixture(scope="module")
def trained(pairs, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("seq2seq") / "model"
    files = {"tokenizer": tokenizer_directory, "source": "en", "target": "de"}
    run = finetune([str(pairs)], out, **files, **QUICK, monitor="chrf", label_smoothing=0.1)
    return out, run


def run_command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_training_leaves_a_model_with_the_scores_of_its_best_epoch(trained):
    out, run = trained
    assert set(run["validation_scores"]) == {"loss", "chrf"}
    assert load_model(out).name == "seq2seq"
    recipe = manifest.read_manifest(out, "model")["arguments"]["recipe"]
    assert recipe["arguments"]["generation"] == {"max_new_tokens": 11}
    assert "translation" in (out / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_only_the_first_validation_is_traced(trained, pairs, check_traced_once):
    run = check_traced_once(Seq2SeqTask(), trained[0], pairs)
    assert run["monitor"] == "chrf"  # texts are written, too


def test_the_command_line_evaluates_it_with_signatures(trained, pairs):
    done = run_command("evaluate", trained[0], "--data", pairs, "--json", "-")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout[done.stdout.index("{") :])
    assert {"loss", "bleu", "chrf", "ter", "rougeL", "exact_match", "distinct_1"} <= set(scores)
    assert scores["examples"] == len(scores["predictions"]) == 32
    assert "tok:13a" in scores["signatures"]["bleu"]


def test_predict_and_generate_write_the_same(trained):
    done = run_command("predict", trained[0], "one two", "one", "--json")
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [row["prompt"] for row in rows] == ["one two", "one"]
    again = run_command("generate", trained[0], "one two", "one", "--json")
    assert [json.loads(line)["text"] for line in again.output.splitlines()] == [row["text"] for row in rows]
    shown = run_command("generate", trained[0], "one two", "--stream").output
    assert shown == f"one two\n{rows[0]['text']}\n"


@pytest.mark.slow
def test_adapters_are_trained_alone_and_merged(trained, pairs, tmp_path):
    finetune([str(pairs)], tmp_path / "m", init=trained[0], source="en", target="de", lora_rank=2, **QUICK)
    before, after = load_model(trained[0]), load_model(tmp_path / "m")
    changed = {
        path
        for path, one, other in (
            (one.path, one, other) for one, other in zip(before.weights, after.weights, strict=True)
        )
        if not np.array_equal(one, other)
    }
    assert {path.split("/")[-3] for path in changed} == {
        *(f"{part}_block_{number}" for part in ("encoder", "decoder") for number in range(4))
    }
    assert {path.split("/")[-2] for path in changed} == {"attention_input"}


def test_what_says_nothing_to_the_task_is_refused(pairs, tokenizer_directory, tmp_path):
    files = {"tokenizer": tokenizer_directory, "source": "en", "target": "de"}
    for name, value in (
        ("text", "en"),
        ("layer_decay", 0.9),
        ("pre_norm", True),
        ("bigram_buckets", 9),
        ("frozen_layers", 1),
    ):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} says nothing to --task seq2seq"):
            finetune([str(pairs)], tmp_path / "m", **files, **QUICK, **{name: value})
    with pytest.raises(InputError, match="--source is for --task seq2seq"):
        finetune([str(pairs)], tmp_path / "m", **{**files, "target": None}, task="classify")
    with pytest.raises(InputError, match="no column 'source'"):
        finetune([str(pairs)], tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)
