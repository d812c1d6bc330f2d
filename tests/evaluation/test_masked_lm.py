"""Masked-language-model scores against a plain NumPy recomputation, and pseudo-perplexities known beforehand."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from tfllm.checks import InputError
from tfllm.data import masked_lm_dataset
from tfllm.evaluation import masked_lm_scores, pseudo_perplexity
from tfllm.models import add_classifier_head, add_masked_lm_head, add_pretraining_heads

TEXTS = ["good tea and a warm cup", "bad cup and cold tea", "a warm book", "cold rain and a good book", "warm rain"]


@pytest.fixture
def corpus(tmp_path):
    file = tmp_path / "corpus.txt"
    file.write_text("".join(f"{text}. {text}\n" for text in TEXTS * 3), "utf-8")
    return file


@pytest.fixture
def masked_lm(encoder):
    keras.utils.set_random_seed(5)
    return add_masked_lm_head(encoder)


def make_uniform(model):
    """Let the model give every token the same probability."""
    model.get_layer("token_embedding").set_weights(
        [np.zeros_like(weight) for weight in model.get_layer("token_embedding").get_weights()]
    )


def test_scores_equal_a_plain_recomputation(masked_lm, tokenizer, corpus):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, repeat=False)
    nats, right, count = 0.0, 0.0, 0.0
    for inputs, mask_ids, weights in dataset.as_numpy_iterator():
        logits = masked_lm.predict_on_batch(inputs)
        of_target = np.take_along_axis(log_softmax(logits.astype(np.float64), -1), mask_ids[..., None], -1)[..., 0]
        nats -= (of_target * weights).sum()
        right += ((logits.argmax(-1) == mask_ids) * weights).sum()
        count += weights.sum()
    scores = masked_lm_scores(masked_lm, dataset)
    assert scores["masked_tokens"] == count
    assert scores["loss"] == pytest.approx(nats / count, rel=1e-6)
    assert scores["masked_accuracy"] == pytest.approx(right / count)


def test_scores_do_not_depend_on_the_batch_size_of_the_scorer(masked_lm, tokenizer, corpus):
    whole = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=64, repeat=False)
    pieces = whole.unbatch().batch(1)
    assert masked_lm_scores(masked_lm, pieces) == pytest.approx(masked_lm_scores(masked_lm, whole), rel=1e-5)


def test_uniform_logits_lose_ln_v_nats(masked_lm, tokenizer, corpus):
    make_uniform(masked_lm)
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, repeat=False)
    assert masked_lm_scores(masked_lm, dataset)["loss"] == pytest.approx(np.log(tokenizer.vocabulary_size), rel=1e-6)


def test_next_sentence_accuracy_is_counted_over_all_pairs(encoder, tokenizer, corpus):
    model = add_pretraining_heads(encoder)
    model.get_layer("next_sentence_logits").set_weights([np.zeros((8, 2)), np.array([0.0, 1.0])])  # always "follows"
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, next_sentence=True, repeat=False)
    follows = np.concatenate([targets["next_sentence"] for _, targets, _ in dataset.as_numpy_iterator()])
    scores = masked_lm_scores(model, dataset)
    assert scores["pairs"] == len(follows)
    assert scores["next_sentence_accuracy"] == pytest.approx(follows.mean())
    assert 0 < follows.mean() < 1


def test_a_data_set_that_never_ends_is_refused(masked_lm, tokenizer, corpus):
    with pytest.raises(InputError, match="repeat=False"):
        masked_lm_scores(masked_lm, masked_lm_dataset(corpus, tokenizer, sequence_length=16))


def test_an_empty_data_set_is_refused(masked_lm, tokenizer, corpus):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, repeat=False)
    with pytest.raises(InputError, match="nothing masked"):
        masked_lm_scores(masked_lm, dataset.take(0))


def test_another_kind_of_model_is_refused(encoder, tokenizer):
    with pytest.raises(InputError, match="not a masked language model"):
        pseudo_perplexity(add_classifier_head(encoder, ["a", "b"]), tokenizer, TEXTS)


@pytest.mark.parametrize("add_head", [add_masked_lm_head, add_pretraining_heads])
def test_the_pseudo_perplexity_of_guessing_is_the_vocabulary_size(add_head, encoder, tokenizer):
    model = add_head(encoder)
    make_uniform(model)
    found = pseudo_perplexity(model, tokenizer, TEXTS, sequence_length=16, batch_size=3)
    assert found["pseudo_perplexity"] == pytest.approx(tokenizer.vocabulary_size, rel=1e-5)
    words = sum(len(text.split()) for text in TEXTS)
    assert found == {**found, "texts": len(TEXTS), "sampled_texts": len(TEXTS), "sampled_tokens": words}


def test_pseudo_perplexity_masks_one_token_at_a_time(masked_lm, tokenizer):
    row = [tokenizer.cls_id, *tokenizer.tokenize("good tea").to_list()[0], tokenizer.sep_id]
    nats = []
    for position in (1, 2):
        masked = np.array([row])
        masked[0, position] = tokenizer.mask_id
        inputs = {
            "token_ids": masked,
            "segment_ids": np.zeros_like(masked),
            "padding_mask": np.ones_like(masked),
            "mask_positions": np.array([[position]]),
        }
        nats.append(-log_softmax(masked_lm.predict_on_batch(inputs)[0, 0])[row[position]])
    found = pseudo_perplexity(masked_lm, tokenizer, ["good tea"])
    assert found["pseudo_perplexity"] == pytest.approx(np.exp(np.mean(nats)), rel=1e-5)


def test_pseudo_perplexity_does_not_depend_on_how_rows_are_batched(masked_lm, tokenizer):
    one = pseudo_perplexity(masked_lm, tokenizer, TEXTS, batch_size=1)
    many = pseudo_perplexity(masked_lm, tokenizer, TEXTS, batch_size=64)
    assert one == pytest.approx(many, rel=1e-5)


def test_a_sample_of_a_stream_is_stated_and_always_the_same(masked_lm, tokenizer):
    found = pseudo_perplexity(masked_lm, tokenizer, iter(TEXTS), max_texts=2)
    assert (found["texts"], found["sampled_texts"]) == (5, 2)
    assert found == pseudo_perplexity(masked_lm, tokenizer, iter(TEXTS), max_texts=2)


@pytest.mark.parametrize("texts", [[], [""]])
def test_text_without_a_token_is_refused(masked_lm, tokenizer, texts):
    with pytest.raises(InputError, match="no text, or none has a token"):
        pseudo_perplexity(masked_lm, tokenizer, texts)
