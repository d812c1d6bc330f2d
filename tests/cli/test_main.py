"""`tfllm` itself, in a process of its own as a user runs it: exit codes, messages, no noise, speed of `--help`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from tfllm import cli
from tfllm.checks import InputError

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, directory=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "tfllm", *map(str, arguments)]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def test_help_names_every_command_without_loading_tensorflow():
    program = "import sys; from tfllm.cli import app; app(['--help'], standalone_mode=False); print([*sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    for command in (
        "quickstart",
        "tokenizer",
        "data",
        "pretrain",
        "finetune",
        "evaluate",
        "predict",
        "export",
        "check",
    ):
        assert command in done.stdout
    assert "'tensorflow'" not in done.stdout and "'keras'" not in done.stdout


def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\ngood,positive\n", "utf-8")
    started = time.monotonic()
    done = run(
        "finetune", "--data", "reviews.csv", "--out", "m", "--init", "nowhere", "--epochs", "-1", directory=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tfllm: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 60


def test_bad_rows_are_named_by_file_line_and_reason(tmp_path, tokenizer_directory):
    (tmp_path / "reviews.csv").write_text("text,label\ngood,positive\n,negative\nbad,negative\n", "utf-8")
    done = run(
        "finetune", "--data", "reviews.csv", "--out", "m", "--tokenizer", tokenizer_directory, directory=tmp_path
    )
    assert done.returncode == 2
    assert "reviews.csv:3" in done.stderr and "empty" in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_name_that_is_no_text_is_printed_with_escapes(tmp_path):
    name = os.fsdecode(b"\xfcbung.csv")
    (tmp_path / name).write_text("text,label\ngood,positive\n,negative\n", "utf-8")
    done = run("data", "check", name, directory=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "\\udcfcbung.csv:3: text: empty" in done.stdout


def test_what_a_pipeline_raises_is_told_whole(capsys, monkeypatch):
    def rows():
        yield 1
        raise InputError("a.txt:3: not UTF-8.\na.txt:5: not UTF-8.\nMend it.")

    def command():
        list(tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((), tf.int64)))

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "tfllm: a.txt:3: not UTF-8.\na.txt:5: not UTF-8.\nMend it.\n"


def test_an_error_of_the_system_that_is_only_a_text_is_told(capsys, monkeypatch, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"cut off")
    monkeypatch.setattr(sys, "argv", ["tfllm", "predict", str(tmp_path), "a text", "--trust"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("tfllm: Cannot parse file")


@pytest.mark.slow
def test_what_there_is_no_memory_for_is_told_with_the_remedy(capsys, monkeypatch):
    monkeypatch.setattr(cli, "app", lambda: tf.function(lambda rows: tf.random.normal([rows, rows]))(10**7))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("tfllm: There is no memory for numbers of shape [10000000,10000000]. Give a smaller --batch")


def test_an_unknown_flag_exits_with_2():
    done = run("pretrain", "--nonsense")
    assert done.returncode == 2 and "--nonsense" in done.stderr


def test_version():
    assert run("--version").stdout.startswith("tfllm 0.")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_offered(shell):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "_TFLLM_COMPLETE": f"source_{shell}"}
    program = "import sys; sys.argv = ['tfllm']; from tfllm.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "tfllm" in done.stdout
