"""`tfllm pretrain`: what it writes, what it refuses, `--config`, `--dry-run`, TensorBoard."""

import keras
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from tfllm import load_encoder, load_model, load_tokenizer, manifest
from tfllm.checks import InputError
from tfllm.cli.pretrain import pretrain
from tfllm.data import write_records
from tfllm.data.splits import is_held_out

QUICK = {"size": "tiny", "steps": 2, "batch_size": 4, "sequence_length": 32, "held_out": 0.2}


@pytest.fixture(scope="module")
def pretrained(corpus, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained") / "model"
    return out, pretrain([str(corpus)], out, tokenizer=tokenizer_directory, bigram_buckets=50, **QUICK)


def run_command(*arguments):
    app = typer.Typer()
    app.command()(pretrain)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_directory_holds_the_model_its_tokenizer_and_its_scores(pretrained, corpus):
    out, run = pretrained
    assert load_tokenizer(out).vocabulary_size == load_encoder(out).get_layer("token_embedding").input_dim
    assert load_encoder(out).get_layer("bigram_embedding").input_dim == 50
    found = manifest.read_manifest(out, "model")
    assert found["arguments"]["run"]["steps"] == 2
    assert found["inputs"] == {str(corpus): manifest.hash_file(corpus)}
    scores = found["arguments"]["run"]["held_out_scores"]
    assert scores["loss"] > 0 and scores["pseudo_perplexity"] > 1 and 0 <= scores["masked_accuracy"] <= 1
    assert f"{scores['loss']:.4f}" in (out / "README.md").read_text("utf-8")
    assert run["held_out_scores"] == scores


def test_a_model_goes_on_from_another(pretrained, corpus, tmp_path):
    out, _ = pretrained
    pretrain([str(corpus)], tmp_path / "more", init=out, learning_rate=0.0, **{**QUICK, "size": "mini"})
    before, after = load_encoder(out), load_encoder(tmp_path / "more")
    for one, other in zip(before.layers, after.layers, strict=True):
        if one.name != "pooled_dense":  # not a part of a masked language model
            for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_a_corpus_too_small_to_hold_a_text_out_is_refused_before_training(tokenizer_directory, tmp_path):
    (tmp_path / "corpus.txt").write_text("one document\n", "utf-8")
    with pytest.raises(InputError, match="--held-out"):
        pretrain([str(tmp_path / "corpus.txt")], tmp_path / "m", tokenizer=tokenizer_directory)


def test_records_without_a_held_out_part_are_refused_before_training(corpus, tokenizer_directory, tmp_path):
    tokenizer = load_tokenizer(tokenizer_directory)
    write_records(corpus, tokenizer, tmp_path / "records", sequence_length=32, held_out=1e-9, workers=1)
    with pytest.raises(InputError, match="train with --held-out 0"):
        pretrain([str(tmp_path / "records")], tmp_path / "m", tokenizer=tokenizer_directory, size="tiny", steps=2)
    assert not (tmp_path / "m").exists()


def test_a_model_is_saved_although_its_held_out_text_has_nothing_to_score(
    corpus, tokenizer_directory, tmp_path, caplog
):
    known = [line for line in corpus.read_text("utf-8").splitlines()[:20] if not is_held_out(line, 0.05)]
    unknown = next(text for text in map(chr, range(0x1F600, 0x1F680)) if is_held_out(text, 0.05))
    (tmp_path / "corpus.txt").write_text("\n".join([*known, unknown]) + "\n", "utf-8")
    arguments = QUICK | {"held_out": 0.05}
    run = pretrain([str(tmp_path / "corpus.txt")], tmp_path / "m", tokenizer=tokenizer_directory, **arguments)
    assert "held_out_scores" not in run and "no scores on held-out text" in caplog.text
    assert load_model(tmp_path / "m").name


def test_malformed_text_is_refused_or_left_out_and_other_encodings_are_read(tokenizer_directory, tmp_path):
    lines = [f"caf\u00e9 number {n}" for n in range(40)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines), "latin-1")
    with pytest.raises(InputError, match=r"corpus\.txt:1"):
        pretrain([str(tmp_path / "corpus.txt")], tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)
    run = pretrain(
        [str(tmp_path / "corpus.txt")], tmp_path / "m", tokenizer=tokenizer_directory, encoding="latin-1", **QUICK
    )
    assert run["encoding"] == "latin-1"


def test_next_sentence_prediction(corpus, tokenizer_directory, tmp_path):
    run = pretrain([str(corpus)], tmp_path / "m", tokenizer=tokenizer_directory, objective="mlm-nsp", **QUICK)
    assert 0 <= run["held_out_scores"]["next_sentence_accuracy"] <= 1
    assert set(load_model(tmp_path / "m").output) == {"masked_lm", "next_sentence"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(corpus, tokenizer_directory, tmp_path):
    models = []
    for name in ("a", "b"):
        pretrain([str(corpus)], tmp_path / name, tokenizer=tokenizer_directory, seed=7, **QUICK)
        models.append(load_model(tmp_path / name))
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        assert (keras.ops.convert_to_numpy(one) == keras.ops.convert_to_numpy(other)).all()


def test_a_dry_run_tells_the_cost_and_writes_nothing(corpus, tokenizer_directory, tmp_path):
    report = pretrain([str(corpus)], tmp_path / "m", tokenizer=tokenizer_directory, dry_run=True, **QUICK)
    assert report["parameters"] > 0 and report["seconds_estimated"] > 0
    assert report["inputs"]["token_ids"] == "int32 (4, 32)"
    assert list(tmp_path.iterdir()) == []


def test_options_come_from_a_file_and_the_command_line_wins(corpus, tokenizer_directory, tmp_path):
    (tmp_path / "run.toml").write_text('steps = 1\nsize = "tiny"\nbatch-size = 4\nsequence-length = 16\n', "utf-8")
    result = run_command(
        *("--data", corpus, "--tokenizer", tokenizer_directory, "--out", tmp_path / "m"),
        *("--config", tmp_path / "run.toml", "--batch-size", 2),
    )
    assert result.exit_code == 0, result.output
    run = manifest.read_manifest(tmp_path / "m", "model")["arguments"]["run"]
    assert (run["steps"], run["size"], run["batch_size"], run["sequence_length"]) == (1, "tiny", 2, 16)


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest_one(tmp_path):
    (tmp_path / "run.toml").write_text("batchsize = 4\n", "utf-8")
    result = run_command("--config", tmp_path / "run.toml")
    assert isinstance(result.exception, InputError)
    assert "did you mean 'batch-size'?" in str(result.exception)


def test_tensorboard_logs_are_written(corpus, tokenizer_directory, tmp_path):
    pretrain([str(corpus)], tmp_path / "m", tokenizer=tokenizer_directory, tensorboard=tmp_path / "logs", **QUICK)
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "--tokenizer"),
        ({"tokenizer": "T", "init": "M"}, "Give --init or --tokenizer, not both"),
        ({"tokenizer": "T", "steps": 5, "epochs": 1.0}, "not both"),
        ({"tokenizer": "T", "objective": "mml"}, "did you mean 'mlm'"),
        ({"tokenizer": "T", "size": "huge"}, "size"),
        ({"tokenizer": "T", "steps": 0}, "steps"),
        ({"tokenizer": "T", "seed": -1}, "seed"),
        ({"tokenizer": "nowhere"}, "nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    arguments, message, corpus, tokenizer_directory, tmp_path
):
    if arguments.get("tokenizer") == "T":
        arguments = {**arguments, "tokenizer": tokenizer_directory}
    with pytest.raises(InputError, match=message):
        pretrain([str(corpus)], tmp_path / "m", **arguments)
    assert not (tmp_path / "m").exists()


def test_a_taken_place_is_refused(pretrained, corpus, tokenizer_directory):
    with pytest.raises(InputError, match="already exists"):
        pretrain([str(corpus)], pretrained[0], tokenizer=tokenizer_directory, **QUICK)
