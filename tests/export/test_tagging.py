"""A SavedModel that tags: it gives the Python model's answers, in a process without Keras too."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.export import Predictor, export_savedmodel
from tfllm.inference import build_signatures
from tfllm.models import add_tagger_head, build_encoder

TEXTS = ["the film was good , badly . " * 9, "你 好 世 界 😀 !" * 7, "the film", "", "Café é"]


@pytest.mark.slow
def test_it_answers_as_the_model_does(tokenizer, tmp_path, ask_in_cpp):
    keras.utils.set_random_seed(3)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 16}
    model = add_tagger_head(build_encoder(tokenizer.vocabulary_size, **size), ["LOC", "人"])
    kernel = model.get_layer("logits").kernel
    kernel.assign(np.random.default_rng(3).normal(0, 1, kernel.shape))  # so that tokens get different tags
    version = export_savedmodel(model, tokenizer, tmp_path / "tagger", sequence_length=16)
    assert ask_in_cpp(version, text=["the film", "bad"])["entity"][:2] == ("string", 2)
    predictor = Predictor(version)
    assert (predictor.task, predictor.inputs) == ("tagging", ["text"])
    outputs = build_signatures(model, tokenizer, 16)["serving_default"].function(text=tf.constant(TEXTS))
    found = 0
    for row, answer in enumerate(predictor.predict(text=TEXTS)):
        assert answer["text"] == TEXTS[row] and len(answer["entities"]) == outputs["count"][row]
        for place, one in enumerate(answer["entities"]):
            assert one["text"] == TEXTS[row][one["start"] : one["end"]] == outputs["text"][row, place].numpy().decode()
            assert one["entity"] == outputs["entity"][row, place].numpy().decode()
            assert one["score"] == pytest.approx(float(outputs["score"][row, place]), rel=1e-4)
            found += 1
    assert found > 3
