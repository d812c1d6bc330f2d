"""The lean model has the inputs, outputs, weights and numbers of the model it was made of, however that was built."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.export import Predictor, check_savedmodel, export_savedmodel
from tfllm.export.check import count_stored_numbers
from tfllm.export.lean import LeanEncoder, lean
from tfllm.export.ops import bfloat16_matrices, read_graph
from tfllm.export.replay import TOLERANCES
from tfllm.models import (
    add_causal_lm_head,
    add_choice_head,
    add_classifier_head,
    add_embedding_head,
    add_masked_lm_head,
    add_pretraining_heads,
    add_regression_head,
    average_models,
    build_decoder,
    read_recipe,
)

MASK = np.array([[1] * 7, [1] * 3 + [0] * 4, [1] * 5 + [0] * 2, [1, 1, 2, 2, 2, 3, 0]], np.int32)  # the last is packed
MODELS = {  # arguments of the encoder, and what stands on it
    "post-norm, mean": ({}, lambda encoder: add_classifier_head(encoder, ["a", "b", "c"])),
    "pooler": ({}, lambda encoder: add_classifier_head(encoder, ["a", "b"], pooling="cls")),
    "pre-norm": ({"normalize_first": True}, add_regression_head),
    "bigrams": ({"bigram_buckets": 50}, lambda encoder: add_classifier_head(encoder, ["a", "b"])),
    "relative positions": ({"relative_buckets": 16}, add_embedding_head),
    "one layer's weights, pairs": (
        {"share_layers": True, "embedding_dim": 16, "activation": "gelu"},
        lambda encoder: add_classifier_head(encoder, ["a", "b"], pairs=True),
    ),
    "one segment": ({"num_segments": 1}, add_regression_head),
    "no segments, no pooler": ({"num_segments": 0, "pooler_activation": None}, lambda encoder: encoder),
}


def inputs_of(model, vocabulary_size):
    random = np.random.default_rng(0)
    inputs = {
        "token_ids": random.integers(0, vocabulary_size, MASK.shape, dtype=np.int32) * (MASK > 0),
        "segment_ids": random.integers(0, 2, MASK.shape, dtype=np.int32) * (MASK > 0),
        "padding_mask": MASK,
    }
    return {name: tf.constant(value) for name, value in inputs.items()}


@pytest.mark.parametrize("name", MODELS)
def test_numbers_and_weights_are_those_of_the_model(name, make_encoder, tokenizer):
    arguments, head = MODELS[name]
    model, random = head(make_encoder(**arguments)), np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.5, weight.shape))
    config = model.get_config()  # `model.save` writes it, also after an export
    small, inputs = lean(model), inputs_of(model, tokenizer.vocabulary_size)
    assert model.get_config() == config
    assert any(isinstance(layer, LeanEncoder) for layer in small.layers)
    assert small.count_params() == model.count_params()
    assert set(small.input) == set(model.input) and read_recipe(small) == read_recipe(model)
    wanted, found = model(inputs, training=False), small(inputs, training=False)
    if model.name == "encoder":
        wanted["sequence_output"] *= (MASK > 0)[..., np.newaxis]
    for one, other in zip(tf.nest.flatten(wanted), tf.nest.flatten(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=TOLERANCES["float32"], atol=TOLERANCES["float32"])
    nothing = small({key: value[:0] for key, value in inputs.items()}, training=False)
    assert all(len(output) == 0 for output in tf.nest.flatten(nothing))


def test_products_have_a_row_for_each_real_token_and_none_for_padding(make_encoder, tokenizer, monkeypatch):
    encoder = lean(make_encoder())
    layer = next(layer for layer in encoder.layers if isinstance(layer, LeanEncoder))
    shapes, matmul = [], tf.matmul
    monkeypatch.setattr(tf, "matmul", lambda x, y, **more: shapes.append(x.shape) or matmul(x, y, **more))
    layer(inputs_of(encoder, tokenizer.vocabulary_size))
    assert {shape[0] for shape in shapes if shape.rank == 2} == {np.count_nonzero(MASK)}


def test_what_has_no_lean_form_stays_as_it_is(make_encoder, tokenizer):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    writer = add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **size))
    ensemble = average_models([add_classifier_head(make_encoder(num_layers=1), ["a", "b"]) for _ in range(2)])
    assert lean(writer) is writer
    assert lean(ensemble) is ensemble
    for head in (add_masked_lm_head, add_pretraining_heads, add_choice_head):
        model = head(make_encoder(num_layers=1))
        assert lean(model) is model


@pytest.mark.slow
def test_bfloat16_is_smaller_near_and_proved(classifier, exported, tokenizer, tmp_path):
    version = export_savedmodel(classifier, tokenizer, tmp_path / "bf", sequence_length=16, weights="bfloat16")
    assert all(finding.passed for finding in check_savedmodel(version))
    facts = [json.loads((one / "assets.extra" / "tfllm.json").read_text()) for one in (version, exported / "1")]
    assert facts[0]["parameters"] == facts[1]["parameters"] == classifier.count_params()
    assert count_stored_numbers(version) == classifier.count_params()
    assert sum(map(math.prod, bfloat16_matrices(read_graph(version)))) == 2 * (4 * 32**2 + 2 * 32 * 64)
    data = [one / "variables" / "variables.data-00000-of-00001" for one in (version, exported / "1")]
    assert data[0].stat().st_size < 0.8 * data[1].stat().st_size
    texts = ["the film was good!", "bad", "你好，世界。"]
    small, large = (
        [list(row["scores"].values()) for row in Predictor(one).predict(text=texts)] for one in (version, exported)
    )
    np.testing.assert_allclose(small, large, rtol=0, atol=0.1)
    assert not np.array_equal(small, large)


def test_bfloat16_of_what_has_no_lean_form_is_refused(tokenizer, tmp_path):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "max_sequence_length": 16}
    writer = add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **size))
    with pytest.raises(InputError, match="bfloat16"):
        export_savedmodel(writer, tokenizer, tmp_path / "writer", sequence_length=16, weights="bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_columns_of_another_option_are_refused(classifier, tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"`columns` must be one of text, .*Received: 'question'"):
        export_savedmodel(classifier, tokenizer, tmp_path / "reviews", columns={"question": "stem"})
    assert list(tmp_path.iterdir()) == []


def test_small_matrices_of_bfloat16_are_constants_and_large_ones_variables(make_encoder, monkeypatch):
    def matrices(encoder):
        return sum(weight.dtype == "bfloat16" for weight in lean(encoder, "bfloat16").weights)

    encoder = make_encoder(num_layers=2)
    assert matrices(encoder) == 0
    monkeypatch.setattr("tfllm.export.lean._MOST_IN_GRAPH", 1000)
    assert matrices(encoder) == 8
