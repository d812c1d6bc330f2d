"""Models that tfllm built as checkpoints: what `transformers` computes the same, and what it has no class for."""

import keras_hub
import numpy as np
import pytest

from tfllm import models
from tfllm.checks import InputError
from tfllm.models.pretrained import describe

SIZE = {
    "vocabulary_size": 60,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 24,
}
HEADS = {
    "encoder": lambda encoder: encoder,
    "masked_lm": models.add_masked_lm_head,
    "pretraining": models.add_pretraining_heads,
    "classifier": lambda encoder: models.add_classifier_head(encoder, ["a", "b", "c"], pooling="cls"),
    "multilabel": lambda encoder: models.add_multilabel_head(encoder, ["a", "b", "c"], pooling="cls"),
    "regression": lambda encoder: models.add_regression_head(encoder, mean=3.0, deviation=2.0, pooling="cls"),
    "span": models.add_span_head,
    "tagger": lambda encoder: models.add_tagger_head(encoder, ["LOC", "PER"], chain=False),
    "words": lambda encoder: models.add_tagger_head(encoder, ["NOUN", "VERB"], kind="words", chain=False),
    "embedding": models.add_embedding_head,
}


def build(**arguments):
    return models.build_encoder(**{**SIZE, **arguments})


def randomized(model):
    random = np.random.default_rng(3)
    model.set_weights([random.normal(0, 0.25, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("kind", HEADS)
def test_a_model_of_ours_gives_the_same_numbers_in_transformers(load_theirs, ask_theirs, ask_ours, assert_equal, kind):
    model = randomized(HEADS[kind](build()))
    description = describe(model, 0)
    theirs = load_theirs(description)
    assert type(theirs).__name__.startswith("Bert")
    ours = ask_ours(model)
    if kind == "pretraining":
        ours = {"logits": ours["masked_lm"]}
    if kind == "embedding":
        ours = {"sequence_output": ask_ours(models.read_encoder(model))["sequence_output"]}
    assert_equal(ours, ask_theirs(theirs))
    assert set(description.left_out) == ({"pooled_dense", "next_sentence_logits"} if kind == "pretraining" else set())


def test_the_file_says_what_the_activation_is_called_there():
    assert describe(build(), 0).config["hidden_act"] == "gelu_new"
    assert describe(build(activation="gelu"), 0).config["hidden_act"] == "gelu"


REFUSED = {
    "bigrams": (lambda: build(bigram_buckets=9), "no class with embeddings of bigrams"),
    "pre_norm": (lambda: build(normalize_first=True), r"normalises before \(pre-norm\)"),
    "mean": (lambda: models.add_classifier_head(build(), ["a", "b"], pooling="mean"), r"--pooling cls"),
    "chain": (lambda: models.add_tagger_head(build(), ["LOC"]), r"which tag follows which: build it with.*chain=False"),
    "range": (
        lambda: models.add_regression_head(build(), output_range=[0, 5], pooling="cls"),
        "without an `output_ran",
    ),
    "next_sentence": (lambda: models.add_next_sentence_head(build()), "has no head like that of `add_next_sentence"),
    "keras_hub": (
        lambda: models.add_masked_lm_head(keras_hub.models.BertBackbone(**SIZE)),
        "Only encoders of tfllm are exported",
    ),
    "narrow_with_tanh": (
        lambda: models.add_classifier_head(build(embedding_dim=16), ["a", "b"], pooling="cls"),
        r"no encoder with this combination and a head like this one \(ForSequenceClassification\).*'embedding_dim': 16",
    ),
    "shared_and_wide": (lambda: build(share_layers=True), "'share_layers': True"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_transformers_cannot_compute_is_refused_with_the_reason(kind):
    make, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        describe(make(), 0)
