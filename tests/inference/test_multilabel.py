"""The labels of a text by their thresholds."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.inference import build_signatures, to_rows
from tfllm.models import add_multilabel_head

LABELS = ["good", "bad", "中性"]


@pytest.fixture(scope="module")
def model(make_encoder):
    """A model that gives every text the logits 2, -2 and 0.1."""
    model = add_multilabel_head(make_encoder(), LABELS)
    layer = model.get_layer("logits")
    layer.set_weights([np.zeros_like(layer.get_weights()[0]), np.array([2, -2, 0.1], "float32")])
    return model


def ask(model, tokenizer, thresholds=(0.5, 0.5, 0.5), name="serving_default", **inputs):
    from tfllm.inference import multilabel

    arguments = {"labels": LABELS, "thresholds": list(thresholds), "pairs": False}
    signature = multilabel.build_signatures(model, arguments, tokenizer, 16)[name]
    return {output: value.numpy() for output, value in signature.function(**inputs).items()}


@pytest.mark.parametrize(
    ("thresholds", "chosen"),
    [
        ((0.5, 0.5, 0.5), ["good", "中性"]),
        ((0.5, 0.1, 0.5), ["good", "中性", "bad"]),
        ((0.95, 0.1, 0.5), ["中性", "bad"]),
        ((0.95, 0.5, 0.9), []),
    ],
)
def test_a_text_has_the_labels_that_reach_their_thresholds_the_most_probable_first(
    model, tokenizer, thresholds, chosen
):
    found = ask(model, tokenizer, thresholds, text=tf.constant(["good", "bad film"]))
    expected = [label.encode() for label in chosen] + [b""] * (3 - len(chosen))
    assert found["chosen"].tolist() == [expected] * 2
    assert found["count"].tolist() == [len(chosen)] * 2
    np.testing.assert_allclose(found["scores"], [1 / (1 + np.exp([-2, 2, -0.1]))] * 2, rtol=1e-5)
    assert found["labels"].tolist() == [[label.encode() for label in LABELS]] * 2


def test_a_threshold_is_reached_by_the_score_that_equals_it(make_encoder, tokenizer):
    model = add_multilabel_head(make_encoder(), ["a", "b"])
    layer = model.get_layer("logits")
    layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    found = build_signatures(model, tokenizer, 16)["serving_default"].function(text=tf.constant([""]))
    assert found["count"].numpy().tolist() == [2]


def test_classify_and_tokens_give_the_same_scores(model, tokenizer):
    example = tf.train.Example()
    example.features.feature["text"].bytes_list.value.append(b"the film")
    expected = ask(model, tokenizer, text=tf.constant(["the film"]))["scores"]
    found = ask(model, tokenizer, name="classify", inputs=tf.constant([example.SerializeToString()]))
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-6)
    assert found["classes"].tolist() == [[label.encode() for label in LABELS]]


def test_a_row_tells_the_labels_and_all_probabilities(model, tokenizer):
    outputs = ask(model, tokenizer, text=tf.constant(["good"]))
    row = to_rows("multilabel", {"text": ["good"]}, outputs)[0]
    assert (row["text"], row["chosen"]) == ("good", ["good", "中性"])
    assert row["scores"] == pytest.approx({"good": 0.8808, "bad": 0.1192, "中性": 0.525}, abs=1e-4)
