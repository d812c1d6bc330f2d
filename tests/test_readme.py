"""What the README says runs: its commands and its Python, on the sample data, with short trainings."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfllm.data.samples import sample_path

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ("text_en.txt", "reviews_en_train.csv", "reviews_en_test.csv")
ROWS = 200
SHORTENED = (
    ("--size mini", "--size tiny"),
    ("--steps 400", "--steps 5"),
    ("--task classify", "--task classify --epochs 1 --sequence-length 32"),
)
SHORTENED_PYTHON = (
    ('SIZES["mini"]', 'SIZES["tiny"]'),
    ("steps_per_epoch=400", "steps_per_epoch=5"),
    ("epochs=5", "epochs=1"),
)


def _blocks(file: str, kind: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / file).read_text("utf-8"), re.M | re.S)
    return [content for language, content in blocks if language == kind]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory as `make quickstart` leaves it, as far as the README uses it."""
    directory = tmp_path_factory.mktemp("readme")
    (directory / "quickstart" / "data").mkdir(parents=True)
    for name in SAMPLES:
        lines = sample_path(name).read_text("utf-8").splitlines(keepends=True)
        (directory / "quickstart" / "data" / name).write_text("".join(lines[:ROWS]), "utf-8")
    return directory


def test_every_command_runs_in_the_order_given(directory, run_tfllm):
    lines = [line for block in _blocks("README.md", "sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("tfllm ")]
    assert len(commands) == len(lines) - 1  # all but `source .venv/bin/activate`
    for command in commands:
        for long, short in SHORTENED:
            command = command.replace(long, short)
        done = run_tfllm(shlex.split(command)[1:], directory)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "positive" in done.stdout or "negative" in done.stdout


def test_the_curl_lines_get_answers_and_the_production_files_are_written(directory, run_tfllm):
    """From the local server, on what the commands above left."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    lines = [line for block in _blocks("README.md", "") for line in block.splitlines()]
    serve, emit = (shlex.split(line)[1:] for line in lines if line.startswith("tfllm serve"))
    command = [sys.executable, "-m", "tfllm", *serve, "--rest-port", "0", "--grpc-port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            url = server.stdout.readline().split()[1]
            status = [url, "/v1/models/reviews"]
            while (
                "AVAILABLE"
                not in subprocess.run(["curl", "-s", "".join(status)], capture_output=True, text=True).stdout
            ):
                time.sleep(0.2)
            for line in (line for line in lines if line.startswith("curl ")):
                asked = shlex.split(line.replace("http://localhost:8501", url))
                answer = json.loads(subprocess.run([asked[0], "-s", *asked[1:]], capture_output=True, text=True).stdout)
                assert "positive" in str(answer) and "negative" in str(answer), answer
        finally:
            server.terminate()
    assert run_tfllm(emit, directory).returncode == 0
    assert (directory / "production" / "compose.yaml").is_file()


def test_the_python_runs(directory, tfllm_forks):
    (program,) = _blocks("README.md", "python")
    for long, short in SHORTENED_PYTHON:
        assert long in program
        program = program.replace(long, short)
    (directory / "readme.py").write_text(program, "utf-8")
    done = tfllm_forks.run(str(directory / "readme.py"), [], directory)
    assert done.returncode == 0, done.stderr
    assert "savedmodels/reviews" in done.stdout


def test_both_languages_give_the_same_commands_and_code():
    for kind in ("", "sh", "python"):
        assert _blocks("README.md", kind)[1:] == _blocks("README.zh-CN.md", kind)[1:]
        assert len(_blocks("README.md", kind)) == len(_blocks("README.zh-CN.md", kind))


def test_every_linked_file_is_there():
    for file in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / file).read_text("utf-8")):
            assert (ROOT / link).exists(), f"{file} links to {link}"
