"""Which models and versions are served, by directories or a `models.config`; options that mean nothing."""

import subprocess
import sys

import pytest

from tfllm.checks import InputError
from tfllm.serving import find_models, read_config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "needs --token-file"),
        (["--token-file", "/dev/null"], "a token needs at least 16"),
        (["--versions", "newest"], "--versions must be latest, all, a number"),
        (["--rest-port", "70000"], "less than or equal to 65535"),
        (["--max-batch-size", "0"], "`max-batch-size` must be at least 1"),
    ],
)
def test_options_that_mean_nothing_are_said(saved_models, options, message):
    command = [sys.executable, "-m", "tfllm", "serve", str(saved_models), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:", "not a ModelServerConfig"),
        ('model_config_list { config { name: "a" } }', "every model needs a name and a base_path"),
        ('model_config_list { config { name: "a" base_path: "/" } config { name: "a" base_path: "/" } }', "twice"),
        (
            'model_config_list { config { name: "a" base_path: "/" model_version_policy { specific {} } } }',
            "`specific` needs versions",
        ),
    ],
)
def test_a_config_that_means_nothing_is_said(tmp_path, text, message):
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "models.config")


def test_versions_are_those_of_the_policy(tmp_path):
    for number in (1, 2, 10, 11):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "a" / str(number) / "saved_model.pb").touch()
    for name in ("3", "x", "-1", "٣", "9" * 30):  # unfinished, or no version
        (tmp_path / "a" / name).mkdir()
    policies = {"latest { num_versions: 2 }": {10, 11}, "all {}": {1, 2, 10, 11}, "specific { versions: [2, 5] }": {2}}
    for policy, expected in policies.items():
        one = f'name: "a" base_path: "{tmp_path}/a" model_version_policy {{ {policy} }}'
        (tmp_path / "models.config").write_text(f"model_config_list {{ config {{ {one} }} }}")
        assert set(read_config(tmp_path / "models.config")[0].wanted()) == expected
    assert [(model.name, set(model.wanted())) for model in find_models(tmp_path)] == [("a", {11})]
    assert [(model.name, set(model.wanted())) for model in find_models(tmp_path / "a", 0)] == [("a", {1, 2, 10, 11})]
    with pytest.raises(InputError, match="nothing is not there"):
        find_models(tmp_path / "nothing")
