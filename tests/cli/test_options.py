"""`--config`: what a TOML file says reaches the options of a command as the command line would give it."""

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tfllm.checks import InputError
from tfllm.cli.options import Config, Data, Dropout, Remat, Seed, TensorBoard, TextColumn


def run(tmp_path, content, *arguments):
    """What a command receives from a file of this content."""
    received = {}

    def command(
        data: Data,
        seed: Seed = 1,
        labels: Annotated[str | None, typer.Option()] = None,
        text: TextColumn = None,
        remat: Remat = False,
        dropout: Dropout = None,
        tensorboard: TensorBoard = None,
        config: Config = None,
    ) -> None:
        received.update(data=data, seed=seed, labels=labels, text=text, remat=remat, dropout=dropout)
        received.update(tensorboard=tensorboard)

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    file = tmp_path / "run.toml"
    file.write_text(content, "utf-8")
    result = CliRunner().invoke(app, ["--config", str(file), *arguments])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return received


@pytest.mark.parametrize("value", ['"d.csv"', '["d.csv"]'])
def test_an_option_that_may_be_repeated_takes_one_value_or_a_list(tmp_path, value):
    assert run(tmp_path, f"data = {value}")["data"] == ["d.csv"]
    assert run(tmp_path, f"data = {value}", "--data", "e.csv")["data"] == ["e.csv"]
    assert run(tmp_path, 'data = ["d.csv", "e.csv"]')["data"] == ["d.csv", "e.csv"]


def test_other_values_arrive_as_they_are(tmp_path):
    content = 'data = "d.csv"\nseed = 7\nlabels = "pos,neg"\ntext = 0\nremat = true\ndropout = 0\ntensorboard = "tb"'
    assert run(tmp_path, content) == {
        "data": ["d.csv"],
        "seed": 7,
        "labels": "pos,neg",
        "text": "0",
        "remat": True,
        "dropout": 0.0,
        "tensorboard": Path("tb"),
    }
    assert run(tmp_path, 'data = "d.csv"\nseed = "7"\nremat = "yes"')["seed"] == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text = ["a", "b"]', r"run.toml: text: takes one value, not a list. Received: \['a', 'b'\].$"),
        ('labels = ["pos", "neg"]', r'labels: takes one value, not a list. Write them in one text: "pos,neg"\.$'),
        ('data = [["d.csv"]]', r"run.toml: data: must be a text, a number, true or false"),
        ("[data]\nfile = 1", r"run.toml: data: must be a text, a number, true or false"),
        ("seed = 1.5", r"run.toml: seed: must be a whole number. Received: 1.5.$"),
        ("seed = true", r"run.toml: seed: must be a whole number. Received: true.$"),
        ('seed = "three"', r"run.toml: seed: must be a whole number. Received: 'three'.$"),
        ("dropout = true", r"run.toml: dropout: must be a number. Received: true.$"),
        ("remat = 2", r"run.toml: remat: must be true or false. Received: 2.$"),
        ("labels = false", r"run.toml: labels: must be a text in quotes. Received: false.$"),
        ("tensorboard = 3", r"run.toml: tensorboard: must be a path in quotes. Received: 3.$"),
        ("sed = 1", r"'sed' is not an option of `command` \(did you mean 'seed'\?\)"),
    ],
)
def test_a_value_that_the_option_cannot_take_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, content, *([] if "data" in content else ["--data", "d.csv"]))
