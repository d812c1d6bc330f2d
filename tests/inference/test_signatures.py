"""Every kind of model gets the signatures that apply to it."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfllm.inference import build_signatures
from tfllm.models import add_classifier_head, add_next_sentence_head, add_pretraining_heads

CLASSIFIER = {"serving_default", "classify", "tokens", "tokenize", "embed"}
EMBEDDING = {"serving_default", "tokenize", "embed", "similarity"}
PRETRAINING = {"serving_default", "tokenize", "embed", "fill_mask", "next_sentence"}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (lambda encoder: encoder, EMBEDDING),
        (add_pretraining_heads, PRETRAINING),
        (add_next_sentence_head, PRETRAINING - {"fill_mask"}),
        (lambda encoder: add_classifier_head(encoder, ["a", "b"], pooling="cls"), CLASSIFIER),
        (lambda encoder: add_classifier_head(encoder, ["a", "b"]), CLASSIFIER),
    ],
    ids=["encoder", "pretraining", "next sentence", "classifier cls", "classifier mean"],
)
@pytest.mark.parametrize("normalize_first", [False, True])
def test_embed_is_the_mean_of_the_token_vectors_under_every_head(
    make_encoder, tokenizer, head, expected, normalize_first
):
    encoder = make_encoder(normalize_first=normalize_first)
    signatures = build_signatures(head(encoder), tokenizer, 16)
    assert set(signatures) == expected
    ids = tf.constant([[tokenizer.cls_id, *tokenizer.tokenize("good film")[0].numpy(), tokenizer.sep_id]])
    inputs = {"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": tf.ones_like(ids)}
    mean = tf.reduce_mean(encoder(inputs)["sequence_output"], axis=1)
    embedding = signatures["embed"].function(text=tf.constant(["good film", "a longer text, which pads the first"]))
    np.testing.assert_allclose(embedding["embedding"][:1], mean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_kerashub_backbone_can_stand_under_a_classifier(tokenizer, pooling):
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=24,
    )
    classifier = add_classifier_head(backbone, ["a", "b"], pooling=pooling)
    signatures = build_signatures(classifier, tokenizer, 24)
    assert signatures["serving_default"].function(text=tf.constant(["good", ""]))["scores"].shape == (2, 2)
    assert signatures["embed"].function(text=tf.constant(["good"]))["embedding"].shape == (1, 8)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_traced_signature_keeps_the_rank_of_its_outputs(make_encoder, tokenizer, rows):
    tokenize = build_signatures(make_encoder(), tokenizer, 16)["tokenize"]
    traced = tf.function(tokenize.function, autograph=False).get_concrete_function(**tokenize.inputs)
    assert traced.structured_outputs["token_ids"].shape.rank == 2
    assert traced(text=tf.constant(["good"] * rows, tf.string, [rows]))["token_ids"].shape == (rows, 3 if rows else 2)
