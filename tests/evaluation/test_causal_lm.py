"""Loss, perplexity and bits per byte of a model that predicts the next token: windows count every token once."""

import math

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import causal_lm_dataset
from tfllm.evaluation import causal_lm_scores, evaluate_causal_lm
from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, add_masked_lm_head, build_decoder

TEXTS = ["a good warm cup", "", "茶 tea", "a cold book and a bad cup and rain"]
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 32}


@pytest.fixture
def model(tokenizer, randomize):
    return randomize(add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **SIZE)))


@pytest.fixture
def guessing(tokenizer):
    """A model that holds every token equally probable."""
    model = add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **SIZE))
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("sequence_length", [4, 9, 32])
@pytest.mark.parametrize("stride", [None, 1, 3])
def test_guessing_has_the_perplexity_of_the_vocabulary_however_texts_are_cut(
    guessing, tokenizer, sequence_length, stride
):
    scores = evaluate_causal_lm(guessing, tokenizer, TEXTS, sequence_length=sequence_length, stride=stride)
    counts = [len(ids) for ids in tokenizer.tokenize(TEXTS).to_list()]
    tokens, nats = sum(counts) + len(TEXTS), math.log(tokenizer.vocabulary_size)
    assert (scores["texts"], scores["tokens"]) == (len(TEXTS), tokens)
    assert scores["loss"] == pytest.approx(nats, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(tokenizer.vocabulary_size, rel=1e-4)
    size = sum(len(text.encode()) + 1 for text in TEXTS)
    assert scores["bits_per_byte"] == pytest.approx(tokens * nats / math.log(2) / size, rel=1e-5)
    assert scores["nats_per_character"] == pytest.approx(tokens * nats / sum(len(text) + 1 for text in TEXTS), rel=1e-5)


def test_texts_that_fit_have_the_probability_the_model_gives_them_alone(model, tokenizer):
    scores = evaluate_causal_lm(model, tokenizer, TEXTS, sequence_length=32, batch_size=2)
    alone = [evaluate_causal_lm(model, tokenizer, [text], sequence_length=32) for text in TEXTS]
    nats = sum(one["loss"] * one["tokens"] for one in alone)
    assert scores["loss"] * scores["tokens"] == pytest.approx(nats, rel=1e-5)
    # And without the end of the text it is that of the generator.
    row = TextGenerator(model, tokenizer).score(TEXTS[:1])[0]
    assert -row["log_prob"] < alone[0]["loss"] * alone[0]["tokens"]


def test_a_window_gives_every_token_the_ones_before_it(model, tokenizer):
    # With a stride of 1 each token but the first ones has T - 2 tokens and [CLS] before it.
    text, length = TEXTS[3], 5
    ids = [*tokenizer.tokenize(text).to_list()[0], tokenizer.sep_id]
    nats = 0.0
    for place, token in enumerate(ids):
        row = np.array([[tokenizer.cls_id, *ids[max(0, place - (length - 2)) : place]]], "int32")
        logits = model.predict({"token_ids": row, "padding_mask": np.ones_like(row)}, verbose=0)[0, -1]
        nats -= logits[token] - np.log(np.exp(logits).sum())
    scores = evaluate_causal_lm(model, tokenizer, [text], sequence_length=length, stride=1)
    assert scores["loss"] == pytest.approx(nats / len(ids), rel=1e-4)


def test_words_the_vocabulary_lacks_are_told(model, tokenizer):
    assert "unknown_share" not in evaluate_causal_lm(model, tokenizer, ["a good cup"], sequence_length=8)
    assert evaluate_causal_lm(model, tokenizer, ["a movie"], sequence_length=8)["unknown_share"] == 1 / 3


def test_a_data_set_has_the_loss_of_its_texts(model, tokenizer, tmp_path):
    (tmp_path / "corpus.txt").write_text("\n".join(text for text in TEXTS if text), "utf-8")
    reading = {"sequence_length": 32, "repeat": False}
    dataset = causal_lm_dataset(tmp_path / "corpus.txt", tokenizer, **reading, batch_size=2)
    texts = evaluate_causal_lm(model, tokenizer, [text for text in TEXTS if text], sequence_length=32)
    scores = causal_lm_scores(model, dataset)
    assert scores == {name: pytest.approx(texts[name], rel=1e-5) for name in ("tokens", "loss", "perplexity")}
    with pytest.raises(InputError, match="never ends"):
        causal_lm_scores(model, causal_lm_dataset(tmp_path / "corpus.txt", tokenizer, sequence_length=32))


def test_what_cannot_be_scored_is_refused(model, encoder, tokenizer):
    with pytest.raises(InputError, match="There is no text"):
        evaluate_causal_lm(model, tokenizer, [], sequence_length=8)
    with pytest.raises(InputError, match="`stride` must be between 1 and 7"):
        evaluate_causal_lm(model, tokenizer, TEXTS, sequence_length=8, stride=8)
    with pytest.raises(InputError, match="must not exceed 32"):
        evaluate_causal_lm(model, tokenizer, TEXTS, sequence_length=64)
    with pytest.raises(InputError, match="not a model that predicts next tokens"):
        evaluate_causal_lm(add_masked_lm_head(encoder), tokenizer, TEXTS, sequence_length=8)
