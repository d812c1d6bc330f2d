"""`--task qa`, from a SQuAD file to answers: what is learnt, tuned, kept, shown, exported."""

import io
import json

import pytest
from rich.console import Console

from tfllm import load_model, manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor
from tfllm.models import read_recipe

QUICK = {"size": "tiny", "batch_size": 8, "sequence_length": 32, "task": "qa"}
NAMES = ["Ada", "Bob", "Eva", "Tom", "Kim", "Lea", "Max", "Ina", "Jon", "Uta"]
PLACES = ["Rome", "Oslo", "Bern", "Graz", "Lyon"]


@pytest.fixture(scope="module")
def squad(tmp_path_factory):
    """Who lives where: the question asks for the name or the place; every fifth for what the context does not say."""
    paragraphs = []
    for name in NAMES:
        for place in PLACES:
            context = f"it is said that {name} lives in {place} now"
            questions = [
                {"question": "who lives?", "answers": [{"text": name, "answer_start": context.index(name)}]},
                {"question": "in what place?", "answers": [{"text": place, "answer_start": context.index(place)}]},
                {"question": "what is the time?", "answers": [], "is_impossible": True},
            ]
            for number, question in enumerate(questions):
                question["id"] = f"{name}-{place}-{number}"
            paragraphs.append({"context": context, "qas": questions})
    file = tmp_path_factory.mktemp("squad") / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "People", "paragraphs": paragraphs}]}), "utf-8")
    return file


@pytest.fixture(scope="module")
def trained(squad, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("finetuned") / "model"
    run = finetune(str(squad), out, tokenizer=tokenizer_directory, epochs=10, learning_rate=2e-3, **QUICK)
    return out, run


def test_questions_are_answered_where_there_is_an_answer(trained, squad):
    out, run = trained
    assert run["validation_scores"]["f1"] > 0.9
    assert run["validation_rows"] == 15
    scores = evaluate(out, str(squad))
    assert scores["f1"] > 0.9 and scores["unanswerable_accuracy"] > 0.9
    assert len(scores["predictions"]) == 150


def test_the_tuned_null_threshold_is_in_the_manifest_and_the_model(trained):
    arguments = manifest.read_manifest(trained[0], "model")["arguments"]["recipe"]["arguments"]
    assert arguments["null_threshold"] not in (None, 0.0)
    assert arguments["max_answer_tokens"] == 30
    assert read_recipe(load_model(trained[0]))["arguments"] == arguments


def test_the_model_is_asked_for_answers_and_their_places(trained):
    context = "it is said that Eva lives in Graz now"
    questions = ["who lives?", "what is the time?", "who lives?"]
    asked = {"question": questions, "context": [context, context, "it was. " * 40 + "Kim lives in Oslo now"]}
    first, second, third = Predictor(trained[0]).predict(**asked)
    for row in (first, third):
        assert row["answer"] == row["context"][row["start"] : row["end"]] != ""
    assert (second["answer"], second["start"], second["end"]) == ("", -1, -1)


def test_columns_may_have_other_names_and_only_unanswerable_questions_make_a_null_threshold(tmp_path):
    task = find_task("qa")
    run = {"text": "q", "text_pair": "c", "label": "a", "encoding": "utf-8", "on_bad_rows": "error"}
    run |= {"dropout": 0.2, "stride": 7, "max_answer_tokens": 9}
    file = tmp_path / "rows.csv"
    for answer, threshold in (("tea", None), ("", 0.0)):
        file.write_text(f"q,c,a\nwhat?,some tea,tea\nwhere?,some tea,{answer}\n", "utf-8")
        rows = task.read([str(file)], run)
        assert (rows.questions, rows.contexts) == (["what?", "where?"], ["some tea"] * 2)
        head = {"dropout": 0.2, "stride": 7, "max_answer_tokens": 9, "null_threshold": threshold}
        assert task.head(rows, run) == head
        assert task.describe(head) == (
            "some questions have no answer" if threshold == 0 else "every question has an answer"
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 0}, "`stride` must be at least 1"),
        ({"max_answer_tokens": 0}, "`max_answer_tokens` must be at least 1"),
        ({"sequence_length": 7}, "`sequence_length` must be at least 8"),
        ({"monitor": "accuracy"}, "`monitor` must be one of f1, exact_match"),
        ({"validation_share": 1.0}, r"`fraction` \(--validation-share\) must leave a context"),
    ],
)
def test_bad_arguments_are_input_errors(squad, tokenizer_directory, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        finetune(str(squad), tmp_path / "m", tokenizer=tokenizer_directory, **{**QUICK, "epochs": 1, **arguments})
    assert not (tmp_path / "m").exists()


def test_answers_are_shown_in_their_context():
    context = "before " * 40 + "the\nanswer" + " after" * 40
    start = context.index("the\nanswer")
    answered = {
        "question": "Q [1]?",
        "context": context,
        "answer": "the\nanswer",
        "score": 0.5,
        "start": start,
        "end": start + 10,
    }
    empty = {"question": "Q2?", "context": "c", "answer": "", "score": 0.25, "start": -1, "end": -1}
    file = io.StringIO()
    find_task("qa").show([answered, empty], Console(file=file, width=1000, color_system=None))
    first, second, third, fourth = file.getvalue().splitlines()
    assert first == "Q [1]?"
    assert second.startswith("… ") and "before the answer after" in second and second.endswith(" … (0.500)")
    assert (third, fourth) == ("Q2?", "no answer (0.250)")
