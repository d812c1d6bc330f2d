"""`--task regress`, from scored pairs to a SavedModel that gives a number."""

import pytest

from tests.marks import slow
from tfllm import export_savedmodel, load_model, load_tokenizer, manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks.regression import parse_range
from tfllm.export import Predictor

QUICK = {"size": "tiny", "batch_size": 16, "sequence_length": 24, "task": "regress"}
WORDS = {"bad": 0.0, "cold": 1.5, "warm": 3.5, "good": 5.0}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Pairs whose score is the mean of those of two words."""
    rows = [
        f"a {first} cup {number},the {second} plate,{(WORDS[first] + WORDS[second]) / 2}\n"
        for number in range(12)
        for first in WORDS
        for second in WORDS
    ]
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    file.write_text("one,other,score\n" + "".join(rows), "utf-8")
    return file


@pytest.fixture(scope="module", params=["0,5", *slow(None)], ids=["in a range", "any number"])
def trained(request, pairs, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("finetuned") / "model"
    columns = {"text": "one", "text_pair": "other", "label": "score", "score_range": request.param}
    options = {**QUICK, **columns, "epochs": 12, "learning_rate": 3e-3}
    return out, finetune(str(pairs), out, tokenizer=tokenizer_directory, **options)


@pytest.mark.slow
def test_scores_of_pairs_are_learnt(trained, pairs):
    out, run = trained
    assert run["validation_scores"]["pearson"] > 0.9
    scores = evaluate(out, str(pairs))
    assert scores["spearman"] > 0.9
    assert scores["mean_absolute_error"] < scores["error_of_the_mean"] / 2
    head = manifest.read_manifest(out, "model")["arguments"]["recipe"]["arguments"]
    assert head["pairs"] is True
    assert head["pooling"] == "compare"
    assert head["output_range"] == ([0, 5] if run["score_range"] else None)
    own = Predictor(out).predict(text=["a good cup", "a bad cup"], text_pair=["the good plate", "the bad plate"])
    assert own[0]["score"] > 4 > 1 > own[1]["score"]


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["0,5"], indirect=True)
def test_a_savedmodel_gives_the_scores_of_the_model(trained, tmp_path):
    out, _ = trained
    version = export_savedmodel(load_model(out), load_tokenizer(out), tmp_path / "pairs", sequence_length=24)
    asked = {"text": ["a good cup", "a bad cup"], "text_pair": ["the good plate", "the bad plate"]}
    served, own = Predictor(version).predict(**asked), Predictor(out).predict(**asked)
    assert [row["score"] for row in own] == pytest.approx([row["score"] for row in served], abs=1e-4)


def test_scores_that_cannot_be_learnt_are_named(tokenizer_directory, tmp_path):
    file = tmp_path / "same.csv"
    file.write_text("text,label\n" + "a,3\n" * 9, "utf-8")
    with pytest.raises(InputError, match="All scores of the data are 3"):
        finetune(str(file), tmp_path / "model", tokenizer=tokenizer_directory, **QUICK)
    with pytest.raises(InputError, match=r"same\.csv:2: label: 3 lies outside the range 0 to 1"):
        finetune(str(file), tmp_path / "model", tokenizer=tokenizer_directory, score_range="0,1", **QUICK)


def test_a_range_is_two_numbers():
    assert parse_range(None) is None
    assert parse_range("-1, 1.5") == (-1, 1.5)
    for wrong in ("5", "5,0", "a,b", "0,inf", "nan,1", "1,2,3"):
        with pytest.raises(InputError, match="the lower one first"):
            parse_range(wrong)
