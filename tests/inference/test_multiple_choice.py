"""Choices made by a model: for several numbers of choices, hostile text, no question and no choice."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.inference import build_signatures, to_rows
from tfllm.models import add_choice_head

QUESTIONS = ["was the film good", "世界 ?", "", "b " * 40]
CHOICES = [["good", "bad", "😀 dull"], ["你 好", "a", ""], ["", "", ""], ["c " * 40, "a", "was"]]


@pytest.fixture(scope="module")
def model(make_encoder, randomize):
    return randomize(add_choice_head(make_encoder(), pooling="cls"))


@pytest.fixture(scope="module")
def serve(model, tokenizer):
    signature = build_signatures(model, tokenizer, 16)["serving_default"]
    traced = tf.function(signature.function, autograph=False).get_concrete_function(**signature.inputs)

    def serve(questions, choices, width=None):
        shape = [len(questions), len(choices[0]) if width is None else width]
        inputs = {"question": tf.constant(questions, tf.string, [len(questions)])}
        inputs["choices"] = tf.constant(choices, tf.string, shape)
        return {name: values.numpy() for name, values in traced(**inputs).items()}

    return serve


def test_the_choice_with_the_highest_logit_is_made(model, tokenizer, serve):
    found = serve(QUESTIONS, CHOICES)
    for row, question in enumerate(QUESTIONS):
        logits = []
        for choice in filter(None, CHOICES[row]):
            ids, segments = tokenizer.wrap_pair(tokenizer.tokenize(question), tokenizer.tokenize(choice), 16)
            inputs = {"token_ids": ids.to_tensor(), "segment_ids": segments.to_tensor()}
            logits.append(float(model({**inputs, "padding_mask": tf.ones_like(inputs["token_ids"])})[0, 0]))
        if logits:
            expected = np.exp(logits - np.max(logits)) / np.exp(logits - np.max(logits)).sum()
            np.testing.assert_allclose(found["scores"][row, : len(logits)], expected, rtol=1e-3, atol=1e-6)
            assert (found["scores"][row, len(logits) :] == 0).all()
            assert found["index"][row] == np.argmax(logits)
            assert found["choice"][row].decode() == CHOICES[row][found["index"][row]]
            assert found["score"][row] == found["scores"][row].max()


def test_without_a_choice_there_is_no_answer(serve):
    found = serve(QUESTIONS, CHOICES)
    assert (found["choice"][2], found["index"][2], found["score"][2]) == (b"", -1, 0)
    none = serve(["what?"], [[]], width=0)
    assert (none["choice"][0], none["index"][0], none["scores"].shape) == (b"", -1, (1, 0))


@pytest.mark.parametrize("width", [0, 3])
def test_no_question_gives_no_answer(serve, width):
    found = serve([], [], width)
    assert {name: values.shape for name, values in found.items()} == {
        **dict.fromkeys(("choice", "index", "score"), (0,)),
        "scores": (0, width),
    }


def test_malformed_utf8_comes_back_valid(serve):
    found = serve([b"\xff good"], [[b"\xff\xfe", b"\xc3("]])
    assert found["choice"][0].decode() in ("��", "�(")


def test_a_row_tells_the_choices_and_their_scores(serve):
    outputs = serve(QUESTIONS[:2], [CHOICES[0], CHOICES[1]])
    first, second = to_rows(
        "multiple_choice", {"question": QUESTIONS[:2], "choices": [CHOICES[0], CHOICES[1][:2]]}, outputs
    )
    assert list(first) == ["question", "choices", "choice", "index", "score", "scores"]
    assert first["choice"] == CHOICES[0][first["index"]]
    assert len(second["scores"]) == 2
    assert sum(second["scores"]) == pytest.approx(1)
