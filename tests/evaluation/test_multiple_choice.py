"""Scores of choices against counts made by hand; that what is measured is what is served."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.multiple_choice import Choices
from tfllm.evaluation import evaluate_multiple_choice
from tfllm.inference import build_signatures
from tfllm.models import add_choice_head

ROWS = Choices(
    ["good tea", "bad rain", "a cup", "cold"],
    [["warm", "cold rain"], ["book and tea", "rain", "cup"], ["tea", "rain and cold and bad"], ["warm tea", "rain"]],
    [0, 2, 1, 0],
    ["1", "2", "3", "4"],
)


def test_scores_are_those_of_the_choices_served(encoder, tokenizer):
    model = add_choice_head(encoder)
    scores = evaluate_multiple_choice(model, tokenizer, ROWS, sequence_length=16, batch_size=3)
    serve = build_signatures(model, tokenizer, 16)["serving_default"].function
    losses = []
    for row, (question, choices) in enumerate(zip(ROWS.texts, ROWS.choices, strict=True)):
        served = serve(question=tf.constant([question]), choices=tf.constant([choices]))
        assert scores["predictions"][row] == int(served["index"][0])
        losses.append(-np.log(served["scores"][0, ROWS.answers[row]]))
    right = [found == answer for found, answer in zip(scores["predictions"], ROWS.answers, strict=True)]
    assert scores["accuracy"] == pytest.approx(np.mean(right))
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert scores["chance"] == pytest.approx((3 / 2 + 1 / 3) / 4)
    assert scores["examples"] == 4
