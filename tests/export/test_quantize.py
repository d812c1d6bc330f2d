"""Weights as int8: a quarter of the room, nearly the same answers, and a SavedModel that is checked like any other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import models
from tfllm.checks import InputError
from tfllm.export import export_savedmodel
from tfllm.export.quantize import quantized
from tfllm.inference.signatures import build_signatures

TEXTS = tf.constant(["a good warm cup", "", "Über 12 naïve 中文 words"])


@pytest.fixture
def encoder(tiny_tokenizer):
    keras.utils.set_random_seed(1)
    return models.build_encoder(
        tiny_tokenizer.vocabulary_size,
        num_layers=2,
        num_heads=2,
        hidden_dim=64,
        intermediate_dim=128,
        max_sequence_length=32,
        bigram_buckets=200,
    )


def test_answers_stay_near_and_the_model_keeps_its_weights(encoder, tiny_tokenizer):
    model = models.add_classifier_head(encoder, ["bad", "good"])
    before = [np.array(weight) for weight in model.weights]
    signatures = build_signatures(model, tiny_tokenizer, 24)
    small, variables = quantized(model, signatures)
    exact, rounded = (each["embed"].function(text=TEXTS)["embedding"].numpy() for each in (signatures, small))
    assert 0 < np.abs(rounded - exact).max() < 0.05
    np.testing.assert_array_equal(signatures["embed"].function(text=TEXTS)["embedding"], exact)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    bytes_of = sum(variable.shape.num_elements() * variable.dtype.size for variable in variables)
    assert bytes_of < 0.35 * 4 * model.count_params()


@pytest.mark.slow
def test_a_savedmodel_of_int8_weights_passes_its_checks(encoder, tiny_tokenizer, tmp_path):
    model = models.add_masked_lm_head(encoder)
    version = export_savedmodel(model, tiny_tokenizer, tmp_path / "out", weights="int8")
    size = (version / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert size < 0.35 * 4 * model.count_params()


@pytest.mark.slow
def test_a_model_that_writes_passes_its_checks_too(tiny_tokenizer, tmp_path):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 64, "intermediate_dim": 96, "max_sequence_length": 32}
    decoder = models.build_decoder(tiny_tokenizer.vocabulary_size, **size)
    model = models.add_causal_lm_head(decoder, generation={"max_new_tokens": 4})
    version = export_savedmodel(model, tiny_tokenizer, tmp_path / "out", weights="int8")
    assert (version / "variables" / "variables.data-00000-of-00001").stat().st_size < 0.35 * 4 * model.count_params()


def test_other_weights_are_refused(encoder, tiny_tokenizer, tmp_path):
    with pytest.raises(InputError, match="`weights` must be one of float32, bfloat16, int8"):
        export_savedmodel(encoder, tiny_tokenizer, tmp_path / "out", weights="int4")
