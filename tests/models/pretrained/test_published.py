"""Two published checkpoints: the values their authors' code gives, to 1e-4."""

import json

import numpy as np
import pytest

from tfllm.models import read_encoder
from tfllm.models.pretrained import load_checkpoint, open_folder


@pytest.fixture
def golden(shared_models):
    """Token ids and expected values of some sentences."""
    return lambda name: json.loads((shared_models / f"golden_{name}.json").read_text("utf-8"))["examples"]


def batch_of(example):
    ids = np.array([example["input_ids"]], "int32")
    return {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}


def test_minilm_gives_the_vectors_of_its_sentences(published, golden):
    checkpoint = load_checkpoint(open_folder(published("all_minilm_l6_v2")))
    assert checkpoint.class_name == "BertModel"
    for example in golden("all_minilm_l6_v2"):
        batch = batch_of(example)
        hidden = read_encoder(checkpoint.model)(batch)["sequence_output"][0, 0, :8]
        np.testing.assert_allclose(hidden, example["cls_last_hidden_first8"], atol=1e-4)
        vector = checkpoint.model(batch)[0, :8]
        np.testing.assert_allclose(vector, example["sentence_embedding_first8"], atol=1e-4)


def test_bert_tiny_gives_the_logits_of_its_masked_lm(published, golden):
    checkpoint = load_checkpoint(open_folder(published("bert_tiny_splade")))
    assert checkpoint.class_name == "BertForMaskedLM"
    for example in golden("bert_tiny_splade"):
        batch = batch_of(example)
        hidden = read_encoder(checkpoint.model)(batch)["sequence_output"][0, 0, :8]
        np.testing.assert_allclose(hidden, example["cls_last_hidden_first8"], atol=1e-4)
        logits = checkpoint.model({**batch, "mask_positions": np.array([[1]], "int32")})[0, 0, :8]
        np.testing.assert_allclose(logits, example["mlm_logits_position1_first8_vocab"], atol=1e-4)
