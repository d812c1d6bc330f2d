"""`tfllm finetune --task classify`: what it learns, keeps, reports and refuses."""

import json

import keras
import numpy as np
import pytest

from tfllm import (
    export_savedmodel,
    load_encoder,
    load_model,
    load_tokenizer,
    manifest,
    text_dataset,
)
from tfllm.checks import InputError
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.cli.tasks.base import split_names
from tfllm.tokenizers import WordPieceTokenizer

QUICK = {"size": "tiny", "epochs": 1, "batch_size": 8, "sequence_length": 16}


@pytest.fixture(scope="module")
def classifier(reviews, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("finetuned") / "classifier"
    run = finetune(str(reviews), out, tokenizer=tokenizer_directory, **{**QUICK, "epochs": 6}, learning_rate=2e-3)
    return out, run


def test_text_that_the_tokenizer_does_not_know_is_pointed_out(reviews, tokenizer_directory, tmp_path, caplog):
    rows = "".join(f"{text}{number},{number % 2}\n" for number, text in enumerate(["好杯子", "坏盘子"] * 8))
    (tmp_path / "zh.csv").write_text("text,label\n" + rows, "utf-8")
    finetune(str(reviews), tmp_path / "known", tokenizer=tokenizer_directory, **QUICK)
    assert "[UNK]" not in caplog.text
    finetune(str(tmp_path / "zh.csv"), tmp_path / "unknown", tokenizer=tokenizer_directory, **QUICK)
    assert "% of the tokens are [UNK]: the tokenizer was not trained on such text" in caplog.text


def test_a_learnable_task_is_learned(classifier):
    out, run = classifier
    assert run["validation_scores"]["accuracy"] == 1.0
    model, tokenizer = load_model(out), load_tokenizer(out)
    logits = model.predict(text_dataset(["a good warm cup", "a bad cold plate"], tokenizer), verbose=0)
    assert logits.argmax(-1).tolist() == [1, 0]  # labels in order: negative, positive


def test_the_manifest_tells_labels_columns_length_and_scores(classifier):
    arguments = manifest.read_manifest(classifier[0], "model")["arguments"]
    assert arguments["recipe"]["arguments"]["labels"] == ["negative", "positive"]
    assert arguments["run"]["sequence_length"] == 16 and arguments["run"]["task"] == "classify"
    assert arguments["run"]["validation_rows"] == 4
    assert "accuracy" in (classifier[0] / "README.md").read_text("utf-8")


def test_it_starts_from_a_pretrained_model_whose_size_stays(classifier, reviews, tmp_path, caplog):
    finetune(str(reviews), tmp_path / "m", init=classifier[0], learning_rate=0.0, **{**QUICK, "size": "small"})
    assert "Not read: --size. " in caplog.text
    before, after = load_model(classifier[0]), load_model(tmp_path / "m")
    for name in ("token_embedding", "transformer_layer_0", "transformer_layer_1"):
        for ours, theirs in zip(before.get_layer(name).get_weights(), after.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert "size" not in manifest.read_manifest(tmp_path / "m", "model")["arguments"]["run"]


def test_folds_and_seeds_are_summed_up(reviews, tokenizer_directory, tmp_path):
    run = finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, folds=2, seeds=2, **QUICK)
    for part in ("cross_validation", "over_seeds"):
        assert 0 <= run[part]["accuracy"]["mean"] <= 1 and run[part]["loss"]["deviation"] > 0
    assert run["seed"] in (0, 1)


@pytest.mark.slow
def test_an_ensemble_of_seeds_is_saved_evaluated_and_exported_as_one(reviews, tokenizer_directory, tmp_path):
    arguments = {"tokenizer": tokenizer_directory, "seeds": 2, "learning_rate": 2e-3, **QUICK}
    finetune(str(reviews), tmp_path / "m", ensemble=True, **arguments)
    ensemble = load_model(tmp_path / "m")
    assert [layer.name for layer in ensemble.layers if layer.weights] == ["member_0", "member_1"]
    text = text_dataset(["a good warm cup"], load_tokenizer(tmp_path / "m"))
    logits = [ensemble.get_layer(f"member_{number}").predict(text, verbose=0) for number in range(2)]
    np.testing.assert_allclose(ensemble.predict(text, verbose=0), np.mean(logits, axis=0), atol=1e-6)
    export_savedmodel(ensemble, load_tokenizer(tmp_path / "m"), tmp_path / "served", sequence_length=16)
    assert load_encoder(tmp_path / "m").name == "encoder"
    with pytest.raises(InputError, match="--seeds"):
        finetune(str(reviews), tmp_path / "n", ensemble=True, **{**arguments, "seeds": 1})


def test_options_against_overfitting_train(reviews, tokenizer_directory, tmp_path):
    run = finetune(
        str(reviews),
        tmp_path / "m",
        tokenizer=tokenizer_directory,
        label_smoothing=0.1,
        class_weights="balanced",
        unfreeze_gradually=True,
        weight_decay=0.1,
        dropout=0.2,
        monitor="matthews",
        pooling="cls",
        **{**QUICK, "epochs": 3},
    )
    assert -1 <= run["validation_scores"]["matthews"] <= 1


def test_validation_rows_may_be_given(reviews, tokenizer_directory, tmp_path):
    run = finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, validation=[str(reviews)], **QUICK)
    assert run["validation_rows"] == 40


def test_a_training_that_ends_early_says_so(reviews, tokenizer_directory, tmp_path, caplog):
    caplog.set_level("INFO")
    arguments = {"size": "tiny", "learning_rate": 0.0, "epochs": 9, "patience": 1}
    finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, **arguments)
    assert "kept the best of 2 epochs (9 were allowed, the last 1 no better)" in caplog.text


def test_validation_rows_without_labels_are_refused(reviews, tokenizer_directory, tmp_path):
    (tmp_path / "v.csv").write_text("text\ngood\n", "utf-8")
    with pytest.raises(InputError, match="label"):
        finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, validation=[tmp_path / "v.csv"], **QUICK)


def test_a_rare_label_near_another_is_pointed_out_or_refused(tokenizer_directory, tmp_path, caplog):
    rows = "text,stars\n" + "fine,good\npoor,bad\n" * 20 + "nice,goood\n"
    (tmp_path / "rows.csv").write_text(rows, "utf-8")
    arguments = {"tokenizer": tokenizer_directory, **QUICK}
    with pytest.raises(InputError, match="stars"):
        finetune(str(tmp_path / "rows.csv"), tmp_path / "m", **arguments)
    with pytest.raises(InputError, match="did you mean 'good'"):
        finetune(str(tmp_path / "rows.csv"), tmp_path / "m", label="stars", labels="good,bad", **arguments)
    finetune(str(tmp_path / "rows.csv"), tmp_path / "m", label="stars", dry_run=True, **arguments)
    assert "'goood' stands in 1 of 41 rows only (did you mean 'good'?)" in caplog.text


def test_diverged_training_is_an_error_that_says_so(reviews, tokenizer_directory, tmp_path):
    with pytest.raises(InputError, match="learning rate"):
        finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, learning_rate=1e30, **QUICK)


def test_bad_rows_are_collected_in_a_file(tokenizer_directory, tmp_path):
    rows = "text,label\n" + "good,positive\nbad,negative\n" * 10 + ",negative\n"
    (tmp_path / "rows.csv").write_text(rows, "utf-8")
    finetune(str(tmp_path / "rows.csv"), tmp_path / "m", tokenizer=tokenizer_directory, on_bad_rows="collect", **QUICK)
    (bad,) = (tmp_path / "m.bad_rows.jsonl").read_text("utf-8").splitlines()
    assert json.loads(bad)["place"].endswith("rows.csv:22")


def test_a_dry_run_writes_nothing(reviews, tokenizer_directory, tmp_path):
    report = finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, dry_run=True, **QUICK)
    assert report["steps"] == 6 and not (tmp_path / "m").exists()


def test_training_in_bfloat16_leaves_the_policy_as_it_was(reviews, tokenizer_directory, tmp_path):
    finetune(str(reviews), tmp_path / "m", tokenizer=tokenizer_directory, precision="bfloat16", **QUICK)
    assert keras.config.dtype_policy().name == "float32"
    assert load_model(tmp_path / "m").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "clasify"}, "did you mean 'classify'"),
        ({"class_weights": "equal"}, "class_weights"),
        ({"task": "regress", "class_weights": "balanced"}, "--class-weights is for --task classify, pairs; others do"),
        ({"task": "similarity", "label_smoothing": 0.1}, "--label-smoothing is for .* Received: --task similarity"),
        ({"task": "tag", "labels": "good,bad"}, "--labels is for --task classify, pairs, multilabel"),
        ({"score_range": "0,5"}, "--score-range is for --task regress, similarity"),
        ({"task": "tag", "pooling": "cls"}, "--pooling is for .* Received: --task tag"),
        ({"task": "qa", "pooling": "mean"}, "--pooling is for .* Received: --task qa"),
        ({"task": "tag", "text_pair": "text"}, "--text-pair is for .* Received: --task tag"),
        ({"task": "choice", "text_pair": "text"}, "--text-pair is for .* Received: --task choice"),
        ({"temperature": 0.1}, "--temperature is for --task embed, similarity"),
        ({"similarity_loss": "rank"}, "--similarity-loss is for --task similarity"),
        ({"label_separator": ";"}, "--label-separator is for --task multilabel"),
        ({"max_answer_tokens": 9}, "--max-answer-tokens is for --task qa"),
        ({"task": "embed", "ensemble": True, "seeds": 2}, "--ensemble averages .* --task embed has no mean"),
        ({"task": "similarity", "ensemble": True, "seeds": 2}, "that of --task similarity has no mean"),
        ({"monitor": "f1"}, "monitor"),
        ({"folds": 1}, "folds"),
        ({"text": "txt"}, "did you mean 'text'"),
        ({"frozen_layers": 9}, "frozen_layers"),
        ({"tokenizer": None}, "Give --init MODEL_DIR, or --tokenizer DIR"),
        ({"init": "m"}, "Give --init or --tokenizer, not both"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, reviews, tokenizer_directory, tmp_path):
    with pytest.raises(InputError, match=message):
        finetune(str(reviews), tmp_path / "m", **{"tokenizer": tokenizer_directory, **QUICK, **arguments})
    assert not (tmp_path / "m").exists()


def test_texts_that_are_in_one_segment_are_told_apart_by_their_separators(tokenizer):
    task, head = find_task("pairs"), {"labels": ["a", "b"], "pooling": "compare"}
    assert task.fitted(head, tokenizer) == head
    as_roberta = WordPieceTokenizer(tokenizer.vocabulary, pair_separators=2)
    assert task.fitted(head, as_roberta) == {**head, "separator_id": tokenizer.sep_id}
    assert task.fitted({**head, "pooling": "cls"}, as_roberta) == {**head, "pooling": "cls"}


def test_blanks_after_the_commas_of_names_do_not_count():
    assert split_names("good, bad ,so so") == ["good", "bad", "so so"]
    assert split_names(None) is None


def test_a_missing_label_column_is_told_before_bad_rows_and_a_missing_file_before_defaults(
    tokenizer_directory, tmp_path, caplog
):
    (tmp_path / "rows.csv").write_text("text,sentiment\ngood,positive\n,negative\n", "utf-8")
    with caplog.at_level("INFO", "tfllm"), pytest.raises(InputError, match="no such file"):
        finetune(str(tmp_path / "nowhere.csv"), tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)
    assert "dropout" not in caplog.text
    with pytest.raises(InputError, match=r"no column 'label'\. Name .*--label COLUMN\. Columns: 'text', 'sentiment'"):
        finetune(str(tmp_path / "rows.csv"), tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)


def test_one_label_only_is_refused(tokenizer_directory, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "good,positive\n" * 10, "utf-8")
    with pytest.raises(InputError, match="one label only"):
        finetune(str(tmp_path / "rows.csv"), tmp_path / "m", tokenizer=tokenizer_directory, **QUICK)
