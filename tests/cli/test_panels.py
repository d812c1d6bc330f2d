"""The long commands show their options in groups."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tfllm import cli
from tfllm.cli.panels import PANELS

COMMANDS = ("finetune", "pretrain")


def options_of(command):
    """The names of a command's options."""
    return {parameter.name for parameter in get_command(cli.app).commands[command].params} | {"help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_stands_once_under_the_heading_it_belongs_to(command):
    done = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    parts = re.split(r"╭─ (.*?) ─+╮", done.output)
    headings, shown = parts[1::2], parts[2::2]
    options = options_of(command)
    assert headings == [panel for panel, names in PANELS.items() if options & {*names}]
    for heading, text in zip(headings, shown, strict=True):
        flags = re.findall(r"^│ (?:\*  |   )?--([\w-]+)", text, re.MULTILINE)
        expected = [name for name in PANELS[heading] if name in options]
        assert flags == [name.replace("_", "-") for name in expected]


def test_no_heading_names_an_option_that_no_command_has_or_that_another_names():
    named = [name for names in PANELS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) == options_of("finetune") | options_of("pretrain")
