"""Scores of texts and of pairs."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.inference import build_signatures, to_rows
from tfllm.models import add_regression_head


@pytest.fixture(scope="module")
def signatures(make_encoder, randomize, tokenizer):
    model = randomize(add_regression_head(make_encoder(), output_range=(0, 5), pairs=True))
    return build_signatures(model, tokenizer, 16)


def test_the_score_of_a_pair_depends_on_both_texts_and_keeps_to_its_range(signatures):
    function = signatures["serving_default"].function
    scores = function(text=tf.constant(["good", "good", "bad"]), text_pair=tf.constant(["bad", "film", "good"]))[
        "score"
    ]
    assert scores.shape == (3,)
    assert len(set(scores.numpy().tolist())) == 3
    assert (scores.numpy() >= 0).all()
    assert (scores.numpy() <= 5).all()


def test_regress_takes_examples_of_both_texts_and_gives_a_column(signatures):
    examples = []
    for text, pair in (("good", "bad"), ("the film", "was dull")):
        example = tf.train.Example()
        example.features.feature["text"].bytes_list.value.append(text.encode())
        example.features.feature["text_pair"].bytes_list.value.append(pair.encode())
        examples.append(example.SerializeToString())
    found = signatures["regress"].function(inputs=tf.constant(examples))["outputs"]
    expected = signatures["serving_default"].function(
        text=tf.constant(["good", "the film"]), text_pair=tf.constant(["bad", "was dull"])
    )["score"]
    np.testing.assert_allclose(found, expected[:, tf.newaxis], rtol=1e-6)
    assert signatures["regress"].function(inputs=tf.constant([], tf.string))["outputs"].shape == (0, 1)


def test_a_row_tells_the_texts_and_the_score():
    rows = to_rows("regression", {"text": ["a"], "text_pair": ["b"]}, {"score": np.array([2.5], "float32")})
    assert rows == [{"text": "a", "text_pair": "b", "score": 2.5}]
    assert to_rows("regression", {"text": ["a"]}, {"score": np.array([1.0])}) == [{"text": "a", "score": 1.0}]
