"""`tfllm pretrain --objective causal`, `evaluate`, `export` and `generate`, as a user runs them."""

import json

import pytest
from typer.testing import CliRunner

from tfllm import load_model, manifest
from tfllm.checks import InputError
from tfllm.cli import app
from tfllm.cli.pretrain import pretrain

QUICK = {"objective": "causal", "size": "tiny", "steps": 2, "batch_size": 4, "sequence_length": 32, "held_out": 0.2}


@pytest.fixture(scope="module")
def written(corpus, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("causal") / "model"
    return out, pretrain([str(corpus)], out, tokenizer=tokenizer_directory, **QUICK)


def run_command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_pretraining_leaves_a_model_that_writes_with_its_scores(written):
    out, run = written
    assert load_model(out).name == "causal_lm"
    scores = manifest.read_manifest(out, "model")["arguments"]["run"]["held_out_scores"]
    assert scores == run["held_out_scores"]
    assert scores["perplexity"] > 1 and scores["bits_per_byte"] > 0
    card = (out / "README.md").read_text("utf-8")
    assert f"{scores['loss']:.4f}" in card and "tfllm generate" in card


def test_the_command_line_evaluates_it(written, corpus):
    done = run_command("evaluate", written[0], "--data", corpus, "--json", "-")
    assert done.exit_code == 0, done.output
    assert "bits_per_byte" in done.output


def test_prompts_are_written_on_and_the_same_again_while_it_is_written(written):
    settings = ["--max-new-tokens", 5, "--temperature", 1, "--seed", 3]
    done = run_command("generate", written[0], "the cat", "a dog", *settings, "--json")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert [row["prompt"] for row in rows] == ["the cat", "a dog"]
    assert all(row["num_tokens"] <= 5 and row["finish_reason"] in ("stop", "length") for row in rows)
    streamed = run_command("generate", written[0], "the cat", *settings, "--stream")
    assert streamed.output == rows[0]["prompt"] + rows[0]["text"] + "\n"
    assert rows[0]["text"] in run_command("generate", written[0], "the cat", *settings).output


def test_what_is_printed_is_the_text_with_its_tabs(written):
    done = run_command("generate", written[0], "def f():\n\treturn", "--max-new-tokens", 0)
    assert done.output == "def f():\n\treturn\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to write on"),
        (["a", "--top-p", 2], "`top_p` must be above 0"),
        (["a", "--stream", "--json"], "not both"),
        (["--file", "no-such-file"], "no such file"),
        (["a", "--file", "no-such-file"], "or --file, not both"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(written, arguments, message):
    done = run_command("generate", written[0], *arguments)
    assert isinstance(done.exception, InputError) and message in str(done.exception)


def test_prompts_in_another_encoding_are_refused(written, tmp_path):
    (tmp_path / "prompts.txt").write_bytes("我在北京\n".encode("gb18030"))
    done = run_command("generate", written[0], "--file", tmp_path / "prompts.txt")
    assert isinstance(done.exception, InputError) and "--encoding gb18030" in str(done.exception)
    asked = ("--file", tmp_path / "prompts.txt", "--encoding", "gb18030", "--max-new-tokens", 2, "--json")
    assert json.loads(run_command("generate", written[0], *asked).output)["prompt"] == "我在北京"


def test_options_of_masked_models_and_other_models_to_go_on_from_are_refused(
    written, corpus, tokenizer_directory, tmp_path
):
    with pytest.raises(InputError, match="--whole-word is for --objective mlm, mlm-nsp"):
        pretrain([str(corpus)], tmp_path / "m", tokenizer=tokenizer_directory, **QUICK, whole_word=True)
    masked = {**QUICK, "objective": "mlm"}
    pretrain([str(corpus)], tmp_path / "masked", tokenizer=tokenizer_directory, **masked)
    done = run_command("generate", tmp_path / "masked", "the cat")
    assert "masked is a model for fill mask and writes no text; ask it with `tfllm predict`" in str(done.exception)
    with pytest.raises(InputError, match="holds no decoder"):
        pretrain([str(corpus)], tmp_path / "m", init=tmp_path / "masked", **QUICK)
    with pytest.raises(InputError, match="holds a decoder"):
        pretrain([str(corpus)], tmp_path / "m", init=written[0], **masked)
