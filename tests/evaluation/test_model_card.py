"""Model cards: what they tell, and that later evaluations keep the directory valid."""

import json
import os
import threading

import pytest

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.evaluation import add_evaluation, classification_scores, model_card
from tfllm.models import add_classifier_head, add_masked_lm_head, load_model, save_model

SCORES = classification_scores([0, 1, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], ["dull|flat", "fine"])
RUN = {
    "task": "classify",
    "text": "review",
    "sequence_length": 32,
    "tokenizer": None,
    "validation_scores": {"accuracy": 0.8125},
}


@pytest.fixture
def directory(tmp_path, encoder, tokenizer):
    model = add_classifier_head(encoder, ["dull|flat", "fine"])
    save_model(model, tmp_path / "reviews", tokenizer, run=RUN, card=model_card("reviews", model, RUN))
    return tmp_path / "reviews"


def check(directory):
    manifest.check_files(directory, manifest.read_manifest(directory, "model"))


def test_a_card_tells_task_labels_arguments_data_scores_and_use(encoder, tmp_path):
    data = tmp_path / "train.csv"
    data.write_text("text,label\n", "utf-8")
    card = model_card("reviews", add_classifier_head(encoder, ["dull|flat", "fine"]), RUN, inputs=[data])
    for expected in (
        "# reviews\n",
        "text classification",
        "Labels: dull|flat, fine.",
        "| sequence_length | `32` |",
        "keras 3.",
        manifest.hash_file(data),
        "### validation\n\n| score | value |\n| --- | --- |\n| accuracy | 0.8125 |",
        'tfllm.Predictor("reviews").predict(text=["a text"])',
        'tfllm predict reviews "a text"',
        "tfllm export reviews",
        "licence of the training data applies",
    ):
        assert expected in card
    assert "validation_scores" not in card.split("## How it was trained")[1]
    assert "null" not in card


def test_a_card_names_files_whose_names_are_no_text(encoder):
    file = os.fsdecode(b"\xfcbung.csv")
    card = model_card("reviews", add_masked_lm_head(encoder), {"data": [file]}, inputs={file: "0"})
    assert card.encode("utf-8").count(b"\\udcfcbung.csv") == 2


def test_the_python_of_a_card_runs(directory, monkeypatch):
    code = (directory / "README.md").read_text("utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(directory.parent)
    names = {}
    exec(code, names)
    assert names["answers"][0]["label"] in ("dull|flat", "fine")


def test_a_card_of_a_masked_language_model_leads_to_fine_tuning(encoder):
    card = model_card("base", add_masked_lm_head(encoder), {})
    assert "masked language modelling" in card
    assert 'tfllm predict base "a [MASK] text"' in card and 'predict(text=["a [MASK] text"])' in card
    assert "tfllm finetune --task classify --init base" in card
    assert "Not evaluated yet" in card


def test_an_evaluation_stands_in_the_card_and_in_json_and_the_model_still_loads(directory, tmp_path):
    data = tmp_path / "test.csv"
    data.write_text("text,label\na,fine\n", "utf-8")
    add_evaluation(directory, "test", SCORES, inputs=[data])
    check(directory)
    load_model(directory)
    card = (directory / "README.md").read_text("utf-8")
    assert "| accuracy | 0.7500 |" in card
    assert "| dull\\|flat | 0.5000 | 1.0000 | 0.6667 | 1 |" in card
    assert "### validation" in card, "the scores of the training run stay"
    (file,) = (directory / "evaluations").iterdir()
    assert file.name in {name.split("/")[-1] for name in manifest.read_manifest(directory, "model")["files"]}
    document = json.loads(file.read_text("utf-8"))
    assert document["scores"] == SCORES
    assert document["inputs"] == {str(data): manifest.hash_file(data)}


def test_evaluating_the_same_data_again_replaces_and_other_data_adds(directory):
    first = (directory / "README.md").read_text("utf-8")
    add_evaluation(directory, "test", {"accuracy": 0.25})
    once = (directory / "README.md").read_text("utf-8")
    add_evaluation(directory, "test", {"accuracy": 0.25})
    assert (directory / "README.md").read_text("utf-8") == once
    add_evaluation(directory, "test", {"accuracy": 0.5})
    add_evaluation(directory, "other", {"accuracy": 0.75})
    card = (directory / "README.md").read_text("utf-8")
    assert card.count("### test\n") == 1
    assert "0.2500" not in card
    assert "0.5000" in card and "0.7500" in card
    assert card.split("<!-- end of scores -->")[1] == first.split("<!-- end of scores -->")[1]
    check(directory)


def test_data_of_the_same_name_with_other_bytes_is_another_evaluation(directory, tmp_path):
    for text in ("a", "b"):
        (tmp_path / "test.csv").write_text(text, "utf-8")
        add_evaluation(directory, "test", {"accuracy": 0.5}, inputs=[tmp_path / "test.csv"])
    assert len(list((directory / "evaluations").iterdir())) == 2


def test_a_card_without_a_place_for_scores_gets_one_at_its_end(tmp_path, encoder, tokenizer):
    directory = tmp_path / "model"
    save_model(add_classifier_head(encoder, ["a", "b"]), directory, tokenizer, card="# My own card\n")
    add_evaluation(directory, "test", {"accuracy": 0.5})
    add_evaluation(directory, "test", {"accuracy": 0.75})
    card = (directory / "README.md").read_text("utf-8")
    assert card.startswith("# My own card\n")
    assert card.count("## Scores") == 1 and "0.7500" in card
    check(directory)


def test_evaluations_at_the_same_time_leave_a_valid_directory(directory):
    threads = [
        threading.Thread(target=add_evaluation, args=(directory, f"part{number}", {"accuracy": number / 10}))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(directory)
    assert len(list((directory / "evaluations").iterdir())) == 8


def test_only_a_finished_model_directory_takes_an_evaluation(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        add_evaluation(tmp_path / "nothing", "test", {"accuracy": 0.5})


def test_the_directory_is_valid_at_every_step_of_an_update(directory, monkeypatch):
    replace, seen = manifest.os.replace, []

    def replace_and_check(source, target):
        replace(source, target)
        check(directory)
        seen.append(target.name)

    monkeypatch.setattr(manifest.os, "replace", replace_and_check)
    add_evaluation(directory, "test", {"accuracy": 0.5})
    assert seen == ["manifest.json", "test.json", "README.md", "manifest.json"]
