"""`--task tag`, from files to entities and tagged words: what is learnt, kept, evaluated, shown."""

import io
import json
import random

import pytest
from rich.console import Console

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor

QUICK = {"size": "tiny", "batch_size": 8, "sequence_length": 32, "task": "tag", "learning_rate": 4e-3, "epochs": 6}


def sentences(seed):
    """Who lives where, with the tags of entities and of words."""
    draw = random.Random(seed)
    for _ in range(80):
        name, place = draw.choice(["Ada", "Bob", "Eva", "Tom"]), draw.choice(["New York", "Bern", "San Jose", "Oslo"])
        yield [(name, "B-PER", "NAME"), ("lives", "O", "VERB"), ("in", "O", "PREP")] + [
            (word, f"{'BI'[number]}-LOC", "NAME") for number, word in enumerate(place.split())
        ]


def write(path, column, seed=0):
    blocks = ("\n".join(f"{word[0]}\t{word[column]}" for word in sentence) for sentence in sentences(seed))
    path.write_text("\n\n".join(blocks) + "\n", "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(tokenizer_directory, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tagging")
    data = write(directory / "train.conll", 1)
    return finetune(data, directory / "model", tokenizer=tokenizer_directory, **QUICK), directory


def test_entities_are_learnt_and_found(trained):
    run, directory = trained
    assert run["validation_scores"]["f1"] > 0.9 and set(run["validation_scores"]) == {"f1", "accuracy"}
    scores = evaluate(directory / "model", write(directory / "test.conll", 1, seed=1))
    assert scores["f1"] > 0.9 and set(scores["per_class"]) == {"LOC", "PER"}
    assert "| PER |" in (directory / "model" / "README.md").read_text("utf-8")
    recipe = manifest.read_manifest(directory / "model", "model")["arguments"]["recipe"]
    assert recipe["arguments"] == {
        "labels": ["LOC", "PER"],
        "kind": "entities",
        "dropout": 0.1,
        "chain": True,
        "whole_words": True,
    }
    (answer,) = Predictor(directory / "model").predict(text=["Bob lives in San Jose"])
    assert [(one["entity"], one["text"]) for one in answer["entities"]] == [("PER", "Bob"), ("LOC", "San Jose")]


def test_other_files_than_those_trained_on_are_evaluated_too(trained, tmp_path, caplog):
    _, directory = trained
    row = {"text": "Ada lives in Bern", "entities": [[0, 3, "PER"], [4, 9, "ACT"], [13, 17, "LOC"]]}
    file = tmp_path / "test.jsonl"
    file.write_text(json.dumps(row), "utf-8")
    assert evaluate(directory / "model", str(file))["per_class"]["ACT"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 1,
    }
    assert "labels the model does not know, and so cannot find: ACT" in caplog.text
    with pytest.raises(InputError, match=r"The model is for entities, and .*:1 holds words"):
        evaluate(directory / "model", write(tmp_path / "test.pos", 2))


@pytest.mark.slow
def test_words_and_their_tags_are_learnt_and_found(tokenizer_directory, tmp_path):
    run = finetune(write(tmp_path / "train.pos", 2), tmp_path / "model", tokenizer=tokenizer_directory, **QUICK)
    assert run["validation_scores"]["accuracy"] > 0.9
    (answer,) = Predictor(tmp_path / "model").predict(text=["Bob lives in Bern"])
    assert [(one["tag"], one["text"]) for one in answer["words"]] == [
        ("NAME", "Bob"),
        ("VERB", "lives"),
        ("PREP", "in"),
        ("NAME", "Bern"),
    ]


def test_bad_data_is_an_input_error_before_anything_is_trained(tokenizer_directory, tmp_path):
    file = tmp_path / "train.conll"
    file.write_text("Ada B-PER\nlives\n\nx O\n", "utf-8")
    with pytest.raises(InputError, match=r"train.conll:2: a word without a tag: 'lives'"):
        finetune(str(file), tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)
    assert not (tmp_path / "m").exists()


def test_entities_are_shown_in_their_text():
    entities = [
        {"entity": "PER", "text": "Ada", "start": 0, "end": 3, "score": 0.9},
        {"entity": "LOC", "text": "[x]", "start": 7, "end": 10, "score": 0.9},
    ]
    results = [{"text": "Ada in [x] now", "entities": entities}, {"text": "It rains.", "entities": []}]
    plain, colored = io.StringIO(), io.StringIO()
    find_task("tag").show(results, Console(file=plain, width=20, color_system=None))
    assert plain.getvalue() == "Ada[PER] in [x][LOC] now\nIt rains. (no entities)\n"
    find_task("tag").show(results, Console(file=colored, force_terminal=True, color_system="standard"))
    assert "\x1b[1;36mAda\x1b[0m" in colored.getvalue() and "\x1b[1;35m[x]\x1b[0m" in colored.getvalue()
    words = [{"tag": "N", "text": "Ada", "start": 0, "end": 3, "score": 0.9}]
    find_task("tag").show([{"text": "Ada", "words": words}], Console(file=plain, color_system=None))
    assert plain.getvalue().endswith("Ada[N]\n")
