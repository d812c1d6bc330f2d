"""`--task choice`, from a table to choices: what is learnt, kept, shown and refused."""

import io
import json
import re

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tfllm.checks import InputError
from tfllm.cli import app
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor
from tfllm.export.columns import columns_of, named_columns

QUICK = {"size": "tiny", "batch_size": 8, "sequence_length": 16, "task": "choice", "choices": "a,b,c", "label": "key"}


@pytest.fixture(scope="module")
def quiz(tmp_path_factory):
    """The right choice is the warm one, wherever it stands; every second question has two choices only."""
    rows = ["question,a,b,c,key"]
    for number in range(60):
        choices = [f"cold {number}", f"wet {number}"][: 1 + number % 2]
        choices.insert(number % (len(choices) + 1), f"warm {number}")
        key = "ABC"[[choice.startswith("warm") for choice in choices].index(True)]
        rows.append(",".join(["what do you like?", *choices, *[""] * (3 - len(choices)), key]))
    file = tmp_path_factory.mktemp("quiz") / "quiz.csv"
    file.write_text("\n".join(rows), "utf-8")
    return file


@pytest.mark.slow
def test_the_right_choice_is_learnt(quiz, tokenizer_directory, tmp_path):
    out = tmp_path / "model"
    run = finetune(str(quiz), out, tokenizer=tokenizer_directory, epochs=8, learning_rate=3e-3, **QUICK)
    assert run["validation_scores"]["accuracy"] == 1
    scores = evaluate(out, str(quiz))
    assert scores["accuracy"] == 1 and scores["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    (row,) = Predictor(out).predict(question=["what do you like?"], choices=[["wet 7", "cold 1", "wet 5", "warm 3"]])
    assert (row["choice"], row["index"]) == ("warm 3", 3)
    printed = CliRunner().invoke(app, ["predict", str(out), "--file", str(quiz), "--json"])
    assert printed.exit_code == 0, printed.output
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [row["choices"] for row in rows[:2]] == [["warm 0", "cold 0"], ["cold 1", "warm 1", "wet 1"]]
    assert all(row["choice"].startswith("warm") for row in rows)
    quiz.with_name("gap.csv").write_text("question,a,b,c\nwhy?,x,,y\n", "utf-8")
    gap = CliRunner().invoke(app, ["predict", str(out), "--file", str(quiz.with_name("gap.csv"))])
    assert isinstance(gap.exception, InputError)
    assert re.search(r"gap.csv:2: a, b, c: choice 2: empty\.", str(gap.exception))


def test_columns_are_kept_under_what_the_model_asks_for():
    run = {"text": "stem", "choices": "a,b,c", "label": "key", "text_pair": None}
    inputs = ("question", "choices")
    assert columns_of(run, "multiple_choice", inputs) == {"question": "stem", "choices": "a,b,c"}
    assert columns_of(named_columns(run), "multiple_choice", inputs) == {"question": "stem", "choices": "a,b,c"}
    assert columns_of({"text": "0", "choices": "1,2"}, "multiple_choice", inputs) == {}
    assert columns_of({}, "seq2seq", ("text",)) == {"text": "source"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"choices": "a,b,d"}, "no column 'd'"),
        ({"label": "answer"}, "no column 'answer'"),
        ({"monitor": "f1"}, "`monitor` must be one of accuracy, loss"),
        ({"augment_typos": 0.1}, "--augment-typos changes texts at random, and then another choice may be the right"),
    ],
)
def test_bad_arguments_are_input_errors(quiz, tokenizer_directory, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        finetune(str(quiz), tmp_path / "m", tokenizer=tokenizer_directory, **{**QUICK, **arguments})


def test_choices_are_shown_with_the_one_made():
    result = {"question": "Q [1]?", "choices": ["no", "yes"], "index": 1, "scores": [0.25, 0.75]}
    file = io.StringIO()
    find_task("choice").show([result], Console(file=file, width=80, color_system=None))
    assert file.getvalue().splitlines() == ["Q [1]?", "  0.250 no", "> 0.750 yes"]
