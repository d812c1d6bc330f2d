"""Pairs of passages made of documents, and what a model says of them."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.evaluation.next_sentence import evaluate_next_sentence
from tfllm.models import add_classifier_head, add_next_sentence_head, add_pretraining_heads

TEXTS = ["good tea. a cup. warm rain. a book.", "bad tea. cold cup. rain and rain. a good book."] * 5


@pytest.mark.parametrize("add", [add_next_sentence_head, add_pretraining_heads])
def test_a_model_that_always_says_yes_is_right_on_the_pairs_that_follow(encoder, tokenizer, add):
    model = add(encoder)
    layer = model.get_layer("next_sentence_logits")
    layer.set_weights([np.zeros_like(layer.get_weights()[0]), np.array([0.0, np.log(3)])])
    scores = evaluate_next_sentence(model, tokenizer, TEXTS, sequence_length=16)
    assert scores["pairs"] > 10
    assert 0.2 < scores["accuracy"] < 0.8
    expected = scores["accuracy"] * np.log(4 / 3) + (1 - scores["accuracy"]) * np.log(4)
    assert scores["loss"] == pytest.approx(expected, rel=1e-5)


def test_models_without_the_head_and_texts_without_pairs_are_input_errors(encoder, tokenizer):
    with pytest.raises(InputError, match="no next-sentence head"):
        evaluate_next_sentence(add_classifier_head(encoder, ["a", "b", "c"]), tokenizer, TEXTS)
    with pytest.raises(InputError, match="No pair can be made"):
        evaluate_next_sentence(add_next_sentence_head(encoder), tokenizer, ["", "."])
