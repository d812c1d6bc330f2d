"""`--task multilabel`, from a file with joined names to a SavedModel that names every label of a text."""

import io
import itertools

import pytest
from rich.console import Console

from tfllm import export_savedmodel, load_model, load_tokenizer, manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor

QUICK = {"size": "tiny", "batch_size": 16, "sequence_length": 16, "task": "multilabel", "label_separator": ";"}
LABELS = {"cat": "animal", "cup": "thing", "warm": "nice"}


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    """Every set of three words, each of which asks for a label."""
    rows = []
    for number, words in enumerate(itertools.product(*((word, "") for word in LABELS), range(12))):
        present = [word for word in words[:3] if word]
        rows.append(f"the {' '.join(present)} {number},{';'.join(LABELS[word] for word in present)}\n")
    file = tmp_path_factory.mktemp("mails") / "mails.csv"
    file.write_text("text,label\n" + "".join(rows), "utf-8")
    return file


@pytest.fixture(scope="module")
def trained(mails, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("finetuned") / "model"
    options = {**QUICK, "epochs": 14, "learning_rate": 3e-3, "validation_share": 0.3}
    return out, finetune(str(mails), out, tokenizer=tokenizer_directory, **options)


def test_every_label_of_a_text_is_learnt(trained, mails):
    out, run = trained
    assert run["validation_scores"]["average_precision"] > 0.95
    scores = evaluate(out, str(mails))
    assert scores["micro_f1"] > 0.9
    assert scores["labels"] == ["animal", "nice", "thing"]
    assert scores["predictions"][0] == ["animal", "nice", "thing"]
    card = (out / "README.md").read_text("utf-8")
    assert "subset accuracy" in card


def test_the_thresholds_stand_in_the_manifest(trained):
    arguments = manifest.read_manifest(trained[0], "model")["arguments"]["recipe"]["arguments"]
    assert len(arguments["thresholds"]) == 3
    assert arguments["pairs"] is False
    assert arguments["pooling"] == "mean"


@pytest.mark.slow
def test_a_savedmodel_answers_as_the_model_does(trained, tmp_path):
    out, _ = trained
    version = export_savedmodel(load_model(out), load_tokenizer(out), tmp_path / "mails", sequence_length=16)
    texts = ["the warm cat", "the", ""]
    served, own = Predictor(version).predict(text=texts), Predictor(out).predict(text=texts)
    assert [row["chosen"] for row in own] == [row["chosen"] for row in served]
    assert set(own[0]["chosen"]) == {"animal", "nice"}
    console = Console(file=io.StringIO(), width=80)
    find_task("multilabel").show(own, console)
    shown = console.file.getvalue()
    assert "animal" in shown
    assert "none" in shown


@pytest.mark.slow
def test_augmented_texts_are_learnt_from_as_well(mails, tokenizer_directory, tmp_path):
    options = {**QUICK, "epochs": 2, "augment_case": 0.5, "augment_typos": 0.05, "augment_word_dropout": 0.1}
    run = finetune(str(mails), tmp_path / "model", tokenizer=tokenizer_directory, **options)
    assert run["validation_scores"]["loss"] < 0.8


def test_data_without_labels_is_refused(tokenizer_directory, tmp_path):
    (tmp_path / "empty.csv").write_text("text,label\na,\nb,\n", "utf-8")
    with pytest.raises(InputError, match="No text of the data has a label"):
        finetune(str(tmp_path / "empty.csv"), tmp_path / "model", tokenizer=tokenizer_directory, **QUICK)
    (tmp_path / "none.csv").write_text("text,kind\na,x\n", "utf-8")
    with pytest.raises(InputError, match="no column 'label'"):
        finetune(str(tmp_path / "none.csv"), tmp_path / "model", tokenizer=tokenizer_directory, **QUICK)
