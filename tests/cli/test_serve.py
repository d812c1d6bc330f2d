"""What `tfllm serve` refuses before it starts; what it answers is tested under tests/serving."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfllm.checks import InputError
from tfllm.cli import app
from tfllm.cli.serve import _tell_left_out, serve

BASE, CONFIG, DOCKER = Path("savedmodels"), Path("models.config"), Path("production")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"emit_docker": DOCKER, "model_config": CONFIG}, "Leave --model-config out. Received: --model-config models"),
        ({"emit_docker": DOCKER, "versions": "3"}, "Leave --versions out. Received: --versions 3"),
        ({"emit_docker": DOCKER, "engine": "openvino"}, "Leave --engine out. Received: --engine openvino"),
        ({"emit_docker": DOCKER, "rest_port": 80}, "Leave --rest-port out. Received: --rest-port 80"),
        ({"emit_docker": DOCKER, "token_file": CONFIG}, "Leave --token-file out. Received: --token-file models"),
        ({"model_config": CONFIG, "versions": "latest"}, "Leave --versions out. Received: latest"),
        ({"model_config": CONFIG, "base_path": BASE}, "Leave the base path out. Received: savedmodels"),
        ({"model_config": CONFIG}, "models.config: no such file"),
        ({}, "savedmodels: no such file"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        serve(**options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300, -1.0])
@pytest.mark.parametrize(("option", "most"), [("timeout", 86_400), ("poll", 86_400), ("batch_timeout", 60_000)])
def test_nobody_waits_for_ever(option, most, number, tmp_path):
    with pytest.raises(InputError, match=f"`{option.replace('_', '-')}` must be between 0 and {most}. Received: "):
        serve(tmp_path, **{option: number})


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("manifest.json", r"classifier is no directory of SavedModels\. A model is exported first: tfllm export"),
        ("saved_model.pb", r"classifier is one version of a SavedModel\. Give the directory above"),
    ],
)
def test_a_directory_that_should_stand_in_another_is_told(file, message, tmp_path):
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / file).touch()
    with pytest.raises(InputError, match=message):
        serve(tmp_path / "classifier")


def test_models_beside_versions_are_named_for_they_are_not_served(tmp_path, caplog):
    for version in ("1", "reviews/1", "news/2"):
        (tmp_path / version).mkdir(parents=True)
        (tmp_path / version / "saved_model.pb").touch()
    _tell_left_out(tmp_path / "reviews")
    assert not caplog.records
    for name in ("lost+found", ".backup/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".backup" / "1" / "saved_model.pb").touch()
    (tmp_path / "lost+found").chmod(0)
    _tell_left_out(tmp_path)
    assert "Not served: news, reviews, in it" in caplog.text


def test_the_help_names_what_must_be_installed_brackets_and_all():
    environment = {"COLUMNS": "500", "TERM": "dumb", "NO_COLOR": "1"}
    assert (
        "pip install 'tfllm[serving,openvino]'" in CliRunner().invoke(app, ["serve", "--help"], env=environment).stdout
    )
