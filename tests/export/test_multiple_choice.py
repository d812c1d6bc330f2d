"""A SavedModel that chooses: it gives the Python model's answers, for several numbers of choices."""

import json

import pytest

from tfllm.checks import InputError
from tfllm.export import Predictor, export_savedmodel
from tfllm.models import add_choice_head, save_model

ASKED = {
    "question": ["was the film good ?", "世界", "a"],
    "choices": [["good", "bad", "dull . " * 9], ["你 好", "b 😀"], ["c", "a", "was"]],
}


@pytest.fixture(scope="module")
def model(make_encoder, randomize):
    return randomize(add_choice_head(make_encoder()))


@pytest.fixture(scope="module")
def served(model, tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("savedmodels") / "choice"
    return Predictor(export_savedmodel(model, tokenizer, directory, sequence_length=16))


@pytest.mark.slow
def test_it_answers_as_the_model_does(model, tokenizer, served, tmp_path):
    save_model(model, tmp_path / "model", tokenizer, run={"sequence_length": 16})
    own = Predictor(tmp_path / "model")
    assert served.inputs == own.inputs == ["question", "choices"]
    assert served.task == own.task == "multiple_choice"
    for expected, found in zip(own.predict(**ASKED), served.predict(**ASKED), strict=True):
        assert (found["choice"], found["index"]) == (expected["choice"], expected["index"])
        assert found["scores"] == pytest.approx(expected["scores"], rel=1e-4)
        assert found["choice"] == found["choices"][found["index"]]
        assert len(found["scores"]) == len(found["choices"])
    written = {**ASKED, "choices": [json.dumps(choices) for choices in ASKED["choices"]]}
    assert served.predict(**written) == served.predict(**ASKED)


@pytest.mark.slow
@pytest.mark.parametrize("choices", ["good or bad", [], ["good", 7], "7"])
def test_choices_that_are_no_list_of_strings_are_an_input_error(served, choices):
    with pytest.raises(InputError, match="`choices` must be a list of strings for each row"):
        served.predict(question=["was it?"], choices=[choices])
