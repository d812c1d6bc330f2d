"""The signatures of a model that writes: what they take and give, with no text, one and many, in any bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.generation import TextGenerator
from tfllm.inference import build_signatures, choose_length, task_of, to_rows
from tfllm.inference.generation import OUTPUTS
from tfllm.models import add_causal_lm_head, build_decoder

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 32}
TEXTS = ["the film", "", "你 好", "a b c"]


@pytest.fixture(scope="module")
def model(tokenizer, randomize):
    decoder = build_decoder(tokenizer.vocabulary_size, **SIZE)
    return randomize(add_causal_lm_head(decoder, generation={"max_new_tokens": 6, "min_new_tokens": 2}))


@pytest.fixture(scope="module")
def signatures(model, tokenizer):
    return build_signatures(model, tokenizer, 16)


def settings(rows, **values):
    given = {"max_new_tokens": 5, "temperature": 1.0, "top_k": 0, "top_p": 0.9, "seed": 1, **values}
    dtypes = {"temperature": tf.float32, "top_p": tf.float32}
    return {name: tf.fill([rows], tf.constant(value, dtypes.get(name, tf.int32))) for name, value in given.items()}


def test_a_decoder_with_its_head_is_a_task_and_offers_no_vectors(signatures):
    assert task_of("add_causal_lm_head") == "generation"
    assert set(signatures) == {"serving_default", "generate", "score", "tokenize"}
    assert list(signatures["generate"].inputs) == ["text", "max_new_tokens", "temperature", "top_k", "top_p", "seed"]


def test_it_sees_as_much_as_a_generator_and_other_models_what_data_sets_are_cut_to(tokenizer, make_encoder):
    writer = add_causal_lm_head(build_decoder(tokenizer.vocabulary_size, **SIZE | {"max_sequence_length": 400}))
    assert choose_length(writer, None) == 400
    assert choose_length(make_encoder(max_sequence_length=400), None) == 128


def test_the_default_signature_writes_as_the_model_was_saved(signatures, model, tokenizer):
    outputs = signatures["serving_default"].function(text=tf.constant(TEXTS))
    assert set(outputs) == set(OUTPUTS)
    rows = to_rows("generation", {"text": TEXTS}, {name: value.numpy() for name, value in outputs.items()})
    assert rows == TextGenerator(model, tokenizer, 16).generate(TEXTS)
    assert all(2 <= row["num_tokens"] <= 6 for row in rows)


def test_settings_of_a_request_hold_for_it(signatures, model, tokenizer):
    found = signatures["generate"].function(text=tf.constant(TEXTS), **settings(4))
    expected = TextGenerator(model, tokenizer, 16).generate(TEXTS, max_new_tokens=5, temperature=1.0, top_p=0.9, seed=1)
    assert [text.decode() for text in found["text"].numpy()] == [row["text"] for row in expected]


@pytest.mark.parametrize("name", ["serving_default", "generate", "score"])
def test_no_text_gives_no_answer(signatures, name):
    inputs = settings(0) if name == "generate" else {}
    outputs = signatures[name].function(text=tf.constant([], tf.string), **inputs)
    assert all(value.shape[0] == 0 for value in outputs.values())


def test_hostile_bytes_and_settings_give_valid_utf_8(signatures):
    texts = [b"\xff\xfe \xc3(", b"\x00", "👩‍👩‍👧‍👦".encode(), b"x" * 3000]
    strange = {"max_new_tokens": 2**31 - 1, "temperature": float("nan"), "top_k": -5, "top_p": -1.0, "seed": -(2**31)}
    for inputs in (settings(4), settings(4, **strange), settings(4, max_new_tokens=-1, temperature=float("inf"))):
        outputs = signatures["generate"].function(text=tf.constant(texts), **inputs)
        for text in outputs["text"].numpy():
            text.decode("utf-8")
        assert (outputs["num_tokens"].numpy() <= 16).all() and (outputs["num_tokens"].numpy() >= 0).all()


def test_scores_are_those_of_the_generator(signatures, model, tokenizer):
    outputs = signatures["score"].function(text=tf.constant(TEXTS))
    expected = [row["log_prob"] for row in TextGenerator(model, tokenizer, 16).score(TEXTS)]
    np.testing.assert_allclose(outputs["log_prob"], expected, atol=1e-5)


def test_a_decoder_without_a_head_is_refused(tokenizer):
    with pytest.raises(InputError, match="put one on it, `add_causal_lm_head`"):
        build_signatures(build_decoder(tokenizer.vocabulary_size, **SIZE), tokenizer, 16)
