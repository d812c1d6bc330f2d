"""A pretrained model, exported: it fills gaps and tells what follows, in a process without Keras, as it does here."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.export import Predictor, export_savedmodel
from tfllm.models import add_pretraining_heads, save_model

TEXTS = ["the [MASK] was [MASK]", "[MASK][MASK]世[MASK]", "no gap", "a " * 40 + "[MASK]", ""]


@pytest.mark.slow
def test_a_savedmodel_fills_gaps_as_the_model_does(make_encoder, randomize, tokenizer, tmp_path):
    model = randomize(add_pretraining_heads(make_encoder()))
    version = export_savedmodel(model, tokenizer, tmp_path / "base", sequence_length=16, sample_texts=TEXTS)
    save_model(model, tmp_path / "model", tokenizer, run={"sequence_length": 16})
    served, own = Predictor(version).predict(text=TEXTS), Predictor(tmp_path / "model").predict(text=TEXTS)
    for answer, expected in zip(served, own, strict=True):
        assert answer["filled"] == expected["filled"]
        for gap, expected_gap in zip(answer["gaps"], expected["gaps"], strict=True):
            assert [entry["word"] for entry in gap] == [entry["word"] for entry in expected_gap]
    assert [len(answer["gaps"]) for answer in served] == [2, 3, 0, 1, 0]
    loaded = tf.saved_model.load(str(version))
    scores = loaded.signatures["next_sentence"](text=tf.constant(TEXTS), text_pair=tf.constant(TEXTS[::-1]))["score"]
    assert scores.shape == (5,)
    assert np.isfinite(scores).all()
    assert set(loaded.signatures) == {"serving_default", "fill_mask", "next_sentence", "embed", "tokenize"}
