"""Vectors of texts, and their cosines."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.inference import build_signatures, to_rows
from tfllm.models import add_embedding_head

TEXTS = tf.constant(["the film was good", "bad", "", "你好"])
PAIRS = tf.constant(["good film", "bad", "a", "世界 b"])


@pytest.mark.parametrize("normalize", [True, False])
def test_the_similarity_of_a_pair_is_the_cosine_of_its_embeddings(make_encoder, tokenizer, normalize):
    signatures = build_signatures(add_embedding_head(make_encoder(), normalize=normalize), tokenizer, 16)
    first, second = (signatures["embed"].function(text=texts)["embedding"].numpy() for texts in (TEXTS, PAIRS))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    assert (np.abs(lengths - 1).max() < 1e-5) == normalize
    found = signatures["similarity"].function(text=TEXTS, text_pair=PAIRS)["score"]
    np.testing.assert_allclose(found, (first * second).sum(axis=1) / lengths, atol=1e-5)
    np.testing.assert_allclose(found[1], 1, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_embedding_is_that_of_the_model(make_encoder, tokenizer, pooling):
    encoder = make_encoder()
    found = build_signatures(add_embedding_head(encoder, pooling=pooling), tokenizer, 16)["serving_default"].function(
        text=tf.constant(["good film", "the film was good, the film was bad"])
    )["embedding"]
    ids = tf.constant([[tokenizer.cls_id, *tokenizer.tokenize("good film")[0].numpy(), tokenizer.sep_id]])
    inputs = {"token_ids": ids, "segment_ids": tf.zeros_like(ids), "padding_mask": tf.ones_like(ids)}
    hidden = encoder(inputs)["sequence_output"][0]
    vector = tf.reduce_mean(hidden, axis=0) if pooling == "mean" else hidden[0]
    np.testing.assert_allclose(found[0], vector / tf.norm(vector), atol=1e-5)


def test_a_row_tells_the_text_and_its_vector():
    rows = to_rows("embedding", {"text": ["a"]}, {"embedding": np.array([[0.5, 1.0]], "float32")})
    assert rows == [{"text": "a", "embedding": [0.5, 1.0]}]
