"""A model that chats, as a SavedModel: text or whole conversations in, the answers of the Python model out."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.export import export_savedmodel, load_generator, predict_texts
from tfllm.export.check import read_signatures
from tfllm.generation import TextGenerator
from tfllm.inference import build_signatures
from tfllm.models import add_causal_lm_head, build_decoder, save_model
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.chat import default_template

pytestmark = pytest.mark.slow

SIZE = {"num_layers": 2, "num_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32, "intermediate_dim": 48}
TEXTS = ["the film was", "", "你 好", "the [SEP] film [MASK] \xff3\xff"]
TALK = ["the film", "was good", "a b c a b c a b c a b c a b c a b c a b c", "film", "the"]


@pytest.fixture(scope="module")
def model(tokenizer, randomize):
    decoder = build_decoder(tokenizer.vocabulary_size, **SIZE, max_sequence_length=32)
    return randomize(add_causal_lm_head(decoder, generation={"max_new_tokens": 6}))


@pytest.fixture(scope="module")
def chat_tokenizer(tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizers") / "chat"
    tokenizer.save(directory)
    loaded = load_tokenizer(directory)
    loaded.chat_template = default_template(loaded.special_tokens)
    return loaded


@pytest.fixture(scope="module")
def written(model, chat_tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("savedmodels") / "chat"
    export_savedmodel(model, chat_tokenizer, directory, sequence_length=24)
    return directory


def conversations():
    talk = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 3, TALK, strict=False)]
    system = {"role": "system", "content": "good [SEP]"}
    return [[{"role": "user", "content": text}] for text in TEXTS] + [talk, [system, *talk[:3]]]


def test_it_has_a_signature_for_conversations(written):
    signatures = read_signatures(written / "1")
    assert set(signatures) == {"serving_default", "generate", "chat", "score", "tokenize"}
    assert signatures["chat"]["inputs"]["roles"] == {"dtype": "string", "shape": [-1, -1]}


def test_answers_are_those_of_the_python_model(written, model, chat_tokenizer):
    python, saved = TextGenerator(model, chat_tokenizer, 24), load_generator(written)
    for settings in ({}, {"temperature": 1.0, "top_p": 0.9, "seed": list(range(6))}):
        one, other = (generator.answers(conversations(), **settings) for generator in (python, saved))
        for name in ("text", "num_tokens", "finish_reason"):
            assert [row[name] for row in one] == [row[name] for row in other]
    assert saved.chat(conversations()[4])["text"] == python.chat(conversations()[4])["text"]
    with pytest.raises(InputError, match="gives whole texts"):
        saved.stream_chat(conversations()[0])


def test_a_text_is_what_the_user_says_and_generate_still_writes_on(written, model, chat_tokenizer):
    python = TextGenerator(model, chat_tokenizer, 24)
    expected = [python.chat([{"role": "user", "content": text}])["text"] for text in TEXTS]
    assert [row["text"] for row in predict_texts(written, TEXTS)] == expected
    assert load_generator(written).generate(TEXTS) == python.generate(TEXTS)


def test_a_role_that_there_is_not_is_the_clients_mistake(written):
    chat = tf.saved_model.load(str(written / "1")).signatures["chat"]
    row = {"max_new_tokens": [3], "top_k": [0], "seed": [0], "temperature": [0.0], "top_p": [1.0]}
    dtypes = {"temperature": tf.float32, "top_p": tf.float32}
    row = {name: tf.constant(value, dtypes.get(name, tf.int32)) for name, value in row.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="Roles are"):
        chat(roles=tf.constant([["robot"]]), contents=tf.constant([["a"]]), **row)
    padded = chat(roles=tf.constant([["user", ""]]), contents=tf.constant([["a", ""]]), **row)
    plain = chat(roles=tf.constant([["user"]]), contents=tf.constant([["a"]]), **row)
    assert np.array_equal(padded["text"], plain["text"])


def test_a_system_message_without_a_place_is_refused_in_one_line(model, chat_tokenizer, tmp_path):
    whole = chat_tokenizer.chat_template
    chat_tokenizer.chat_template = dataclasses.replace(whole, system=None)
    try:
        signatures = build_signatures(model, chat_tokenizer, 24)
        module = tf.Module()
        module.kept = [chat_tokenizer, *(weight.value for weight in model.weights)]
        asked = {name: signatures[name] for name in ("generate", "chat", "score")}
        asked = {name: tf.function(one.function).get_concrete_function(**one.inputs) for name, one in asked.items()}
        tf.saved_model.save(module, str(tmp_path / "chat" / "1"), asked)
        python, saved = TextGenerator(model, chat_tokenizer, 24), load_generator(tmp_path / "chat", trust=True)
        for generator in (python, saved):
            with pytest.raises(InputError, match=r"^Conversation 6 the chat template of this model has no place"):
                generator.answers(conversations())
    finally:
        chat_tokenizer.chat_template = whole


def test_it_is_asked_where_keras_cannot_be_imported(written, run_without_keras):
    said = run_without_keras(
        "from tfllm.export import load_generator\n"
        f"print(load_generator({str(written)!r}).chat([{{'role': 'user', 'content': 'film'}}])['finish_reason'])"
    )
    assert said in ("stop", "length")


def test_a_model_directory_chats_and_one_without_a_template_does_not(model, tokenizer, chat_tokenizer, tmp_path):
    save_model(model, tmp_path / "chat", chat_tokenizer)
    save_model(model, tmp_path / "plain", tokenizer)
    asked = conversations()[0]
    assert load_generator(tmp_path / "chat").chat(asked)["num_tokens"] >= 0
    with pytest.raises(InputError, match="no chat template"):
        load_generator(tmp_path / "plain").chat(asked)
