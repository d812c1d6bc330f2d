"""`--task choice`, from a table to choices: what is learnt, kept, shown and refused."""

import io

import pytest
from rich.console import Console

from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor

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


def test_the_right_choice_is_learnt(quiz, tokenizer_directory, tmp_path):
    out = tmp_path / "model"
    run = finetune(str(quiz), out, tokenizer=tokenizer_directory, epochs=8, learning_rate=3e-3, **QUICK)
    assert run["validation_scores"]["accuracy"] == 1
    scores = evaluate(out, str(quiz))
    assert scores["accuracy"] == 1 and scores["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    (row,) = Predictor(out).predict(question=["what do you like?"], choices=[["wet 7", "cold 1", "wet 5", "warm 3"]])
    assert (row["choice"], row["index"]) == ("warm 3", 3)


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
