"""`predict_texts` gives the same from a model directory and from its SavedModel, and runs no foreign code unasked."""

import shutil

import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.export import Predictor, export_savedmodel, predict_texts
from tfllm.export.check import FACTS_FILE
from tfllm.models import add_classifier_head, save_model

TEXTS = ["the film was good!", "你好", "", "half a pair: \ud83d"] * 20


def test_a_model_directory_and_its_savedmodel_agree(exported, classifier, tokenizer, sequence_length, tmp_path):
    save_model(classifier, tmp_path / "model", tokenizer, run={"sequence_length": sequence_length})
    texts = [*TEXTS, "good " * 100]
    by_model, by_savedmodel = predict_texts(tmp_path / "model", texts), predict_texts(exported / "1", texts)
    assert [result["text"] for result in by_model] == texts
    for left, right in zip(by_model, by_savedmodel, strict=True):
        assert left["label"] == right["label"] == max(left["scores"], key=left["scores"].get)
        assert left["scores"] == pytest.approx(right["scores"], abs=1e-5)
        assert left["score"] == left["scores"][left["label"]]


def test_the_highest_version_answers(exported, tmp_path):
    shutil.copytree(exported / "1", tmp_path / "reviews" / "10")
    for number in ("2", "9", "beside"):
        (tmp_path / "reviews" / number).mkdir()
    assert predict_texts(tmp_path / "reviews", ["good"]) == predict_texts(exported, ["good"])


def test_a_savedmodel_is_asked_where_keras_cannot_be_imported(exported, run_without_keras):
    said = run_without_keras(
        f"from tfllm.export import predict_texts\nprint(predict_texts({str(exported)!r}, ['good'])[0]['label'])"
    )
    assert said == predict_texts(exported, ["good"])[0]["label"]


def test_a_changed_savedmodel_runs_only_when_trusted(copy):
    (copy / FACTS_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"damaged(.|\n)*--trust"):
        predict_texts(copy, ["good"])
    assert predict_texts(copy, ["good"], trust=True)[0]["text"] == "good"


def test_a_foreign_savedmodel_is_refused(tmp_path):
    module = tf.Module()
    module.answer = tf.function(lambda text: text, input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, str(tmp_path), signatures=module.answer)
    with pytest.raises(InputError, match=r"manifest.json(.|\n)*--trust"):
        predict_texts(tmp_path, ["good"])
    with pytest.raises(InputError, match="no classification model"):
        predict_texts(tmp_path, ["good"], trust=True)


def test_a_model_without_a_head_answers_with_vectors(make_encoder, tokenizer, tmp_path):
    save_model(make_encoder(), tmp_path / "encoder", tokenizer)
    (row,) = predict_texts(tmp_path / "encoder", ["good"])
    assert row["text"] == "good" and len(row["embedding"]) == 32


def test_the_texts_a_model_asks_for_must_all_be_there(exported):
    with pytest.raises(InputError, match=r"asks for text, as many of each\. Received: 1 of text, 2 of other"):
        Predictor(exported).predict(text=["good"], other=["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "SavedModel"])
def test_a_classifier_of_pairs_asks_for_both(make_encoder, tokenizer, tmp_path, kind, randomize):
    classifier = randomize(add_classifier_head(make_encoder(), ["no", "yes"], pairs=True))
    if kind == "model":
        save_model(classifier, tmp_path / "pairs", tokenizer)
    else:
        export_savedmodel(classifier, tokenizer, tmp_path / "pairs", sequence_length=16)
    predictor = Predictor(tmp_path / "pairs")
    first, second = predictor.predict(text=["good film", "good film"], text_pair=["the bad", "the film was dull"])
    assert predictor.inputs == ["text", "text_pair"] and first["text_pair"] == "the bad"
    assert first["score"] != pytest.approx(second["score"], abs=1e-4)


def test_one_string_is_not_taken_for_a_list_of_its_characters(exported):
    with pytest.raises(InputError, match=r"`text`: give a list of strings, one for each row. Received: '很好'"):
        predict_texts(exported, "很好")


def test_a_missing_directory_is_named(tmp_path):
    (tmp_path / "reviews").mkdir()
    with pytest.raises(InputError, match=r"did you mean '.*reviews'"):
        predict_texts(tmp_path / "review", ["good"])
