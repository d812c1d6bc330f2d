"""A SavedModel that answers questions: it gives the Python model's answers, in a process without Keras too."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.export import Predictor, export_savedmodel
from tfllm.inference import build_signatures
from tfllm.models import add_span_head


@pytest.fixture(scope="module")
def model(make_encoder, randomize):
    return randomize(add_span_head(make_encoder(), max_answer_tokens=5, stride=4, null_threshold=0.0))


@pytest.fixture(scope="module")
def version(model, tokenizer, tmp_path_factory):
    return export_savedmodel(model, tokenizer, tmp_path_factory.mktemp("savedmodels") / "qa", sequence_length=16)


@pytest.mark.slow
def test_it_answers_as_the_model_does(model, tokenizer, version):
    texts = {
        "question": ["was the film good ?", "世界", "", "c"],
        "context": ["the film was good , badly . " * 9, "你 好 世 界 😀 !" * 7, "the film", ""],
    }
    predictor = Predictor(version)
    assert (predictor.task, predictor.inputs) == ("question_answering", ["question", "context"])
    served = predictor.predict(**texts)
    inputs = {name: tf.constant(column) for name, column in texts.items()}
    expected = build_signatures(model, tokenizer, 16)["serving_default"].function(**inputs)
    for row, answer in enumerate(served):
        assert answer["answer"] == expected["answer"][row].numpy().decode()
        assert (answer["start"], answer["end"]) == (int(expected["start"][row]), int(expected["end"][row]))
        assert answer["score"] == pytest.approx(float(expected["score"][row]), rel=1e-4)
        if answer["answer"]:
            assert texts["context"][row][answer["start"] : answer["end"]] == answer["answer"]


@pytest.mark.slow
def test_the_n_best_answers_are_a_signature_of_their_own(version):
    loaded = tf.saved_model.load(str(version))
    outputs = loaded.signatures["n_best"](question=tf.constant(["film ?"]), context=tf.constant(["the film was good"]))
    assert {name: tuple(values.shape) for name, values in outputs.items()} == {
        **dict.fromkeys(("answers", "scores", "starts", "ends"), (1, 5)),
        **dict.fromkeys(("count", "no_answer_score"), (1,)),
    }
    assert (np.diff(outputs["scores"].numpy()[0]) <= 0).all()
