"""A model that writes, as a SavedModel: string to string, without XLA, with the texts of the Python model."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.export import (
    SavedGenerator,
    check,
    check_savedmodel,
    export_savedmodel,
    load_generator,
    predict_texts,
    savedmodel,
)
from tfllm.export.check import read_signatures
from tfllm.export.replay import WAYS
from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, build_decoder, save_model
from tfllm.tokenizers import ByteBpeTokenizer, train_byte_bpe

SIZE = {"num_layers": 2, "num_heads": 4, "num_key_value_heads": 2, "hidden_dim": 32, "intermediate_dim": 48}
LATER = {  # what Qwen 3 and Llama 3.1 have besides
    "norm_queries_and_keys": True,
    "rotary_scaling": {
        "factor": 4.0,
        "low_frequency_factor": 1.0,
        "high_frequency_factor": 4.0,
        "original_length": 16,
    },
}
PROMPTS = ["the film was", "", "你 好", "a b c a b c a b c a b c a b c"]


@pytest.fixture(scope="module")
def byte_bpe(prompts_in_three_languages):
    """Words split as Qwen 3 does, whole ones kept as Llama 3 does."""
    trained = train_byte_bpe(prompts_in_three_languages, vocabulary_size=500)
    words = {"words": "qwen2", "compose": True, "whole_words": True}
    return ByteBpeTokenizer(trained.vocabulary, trained.merges, trained.special_tokens, **words)


@pytest.fixture(scope="module")
def model(byte_bpe, randomize):
    decoder = build_decoder(byte_bpe.vocabulary_size, **SIZE, **LATER, max_sequence_length=32)
    return randomize(add_causal_lm_head(decoder, generation={"max_new_tokens": 12, "stop": ["!"]}))


@pytest.fixture(scope="module")
def proven():
    """The requests that the export has asked in all ways."""
    return []


@pytest.fixture(scope="module")
def written(model, byte_bpe, tmp_path_factory, proven):
    directory = tmp_path_factory.mktemp("savedmodels") / "writer"

    def prove(version, requests, tolerance):
        proven.extend(requests)
        return check.prove(version, requests, tolerance)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(savedmodel, "prove", prove)
        export_savedmodel(model, byte_bpe, directory, sequence_length=24)
    return directory


def test_every_check_passes(written, proven, monkeypatch):
    """It would ask again what the export has asked: those requests are not repeated."""
    asked = []
    monkeypatch.setattr(check, "prove", lambda version, requests, tolerance: asked.extend(requests) or [])
    findings = check_savedmodel(written)
    assert {finding.check for finding in findings} == {"files", *check.CONTENT_CHECKS, "warm-up"}
    assert [finding.check for finding in findings if not finding.passed] == []
    assert asked and asked == proven[: len(asked)]
    proofs = json.loads((written / "1" / check.PROOFS_FILE).read_text("utf-8"))["proofs"]
    assert {proof["check"] for proof in proofs if proof["passed"]} == {*check.CONTENT_CHECKS, *WAYS}
    assert set(read_signatures(written / "1")) == {"serving_default", "generate", "score", "tokenize"}


@pytest.mark.slow
def test_texts_are_those_of_the_python_model(written, model, byte_bpe):
    python, saved = TextGenerator(model, byte_bpe, 24), load_generator(written)
    assert isinstance(saved, SavedGenerator)
    assert predict_texts(written, PROMPTS) == python.generate(PROMPTS)
    for settings in ({}, {"temperature": 1.0, "top_k": 5, "seed": [1, 2, 3, 4]}, {"max_new_tokens": 3}):
        one, other = (generator.generate(PROMPTS, **settings) for generator in (python, saved))
        for name in ("prompt", "text", "num_tokens", "finish_reason"):
            assert [row[name] for row in one] == [row[name] for row in other]
        assert [row["log_prob"] for row in other] == pytest.approx([row["log_prob"] for row in one], abs=1e-5)
    assert saved.score(PROMPTS)[0]["log_prob"] == pytest.approx(python.score(PROMPTS)[0]["log_prob"], abs=1e-5)


def test_nothing_is_said_of_gradients_where_it_is_loaded(written):
    lines, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
    try:
        tf.saved_model.load(str(written / "1"))
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
    assert lines == []


def test_greedy_texts_of_200_prompts_in_three_languages_are_those_of_the_python_model(
    written, model, byte_bpe, check_greedy_texts
):
    check_greedy_texts(TextGenerator(model, byte_bpe, 24), load_generator(written))


def test_what_is_drawn_follows_from_prompt_and_seed_whatever_the_batch(
    written, model, byte_bpe, prompts_in_three_languages
):
    python, saved = TextGenerator(model, byte_bpe, 24), load_generator(written)
    asked = list(enumerate(prompts_in_three_languages))
    settings = {"temperature": 0.8, "top_p": 0.95}

    def texts(generator, asked):
        rows = generator.generate([prompt for _, prompt in asked], seed=[seed for seed, _ in asked], **settings)
        return {seed: row["text"] for (seed, _), row in zip(asked, rows, strict=True)}

    expected = texts(python, asked)
    assert texts(saved, asked) == expected
    assert texts(saved, asked[::-1]) == expected  # other neighbours
    assert texts(saved, asked[:1]) == {0: expected[0]}  # none
    assert texts(saved, [(seed + 1, prompt) for seed, prompt in asked[:8]]) != {
        seed + 1: expected[seed] for seed in range(8)
    }


@pytest.mark.slow
def test_a_program_in_cpp_without_xla_writes_too(written, ask_in_cpp):
    answers = ask_in_cpp(written / "1", text=["the film was", "a b c"])
    assert answers["text"][:2] == ("string", 2)
    assert set(answers) == {"finish_reason", "log_prob", "num_tokens", "text"}


def test_what_stands_in_the_graph_cannot_be_changed(written):
    saved = load_generator(written)
    assert saved.generate(["a"], stop=["!"]) == saved.generate(["a"])
    with pytest.raises(InputError, match=r"cannot change: no_repeat_ngram"):
        saved.generate(["a"], no_repeat_ngram=2)
    with pytest.raises(InputError, match="gives whole texts"):
        saved.stream("a")


def test_a_savedmodel_is_asked_where_keras_cannot_be_imported(written, run_without_keras):
    said = run_without_keras(
        "from tfllm.export import load_generator\n"
        f"print(load_generator({str(written)!r}).generate(['the film'])[0]['finish_reason'])"
    )
    assert said in ("stop", "length")


@pytest.mark.slow
def test_a_model_directory_writes_and_what_does_not_write_is_refused(model, byte_bpe, exported, tmp_path):
    save_model(model, tmp_path / "model", byte_bpe)
    assert load_generator(tmp_path / "model").generate(["a"])[0]["prompt"] == "a"
    with pytest.raises(InputError, match="does not write text"):
        load_generator(exported)


def test_a_server_streams_the_text_that_the_savedmodel_gives(written):
    import asyncio

    from tfllm.serving import Batching, Limits
    from tfllm.serving.batching import Batcher
    from tfllm.serving.loaded import LoadedModel
    from tfllm.serving.metrics import Metrics
    from tfllm.serving.models import Version
    from tfllm.serving.service import Service
    from tfllm.serving.streaming import row_settings, write_pieces

    version, batcher = Version("writer", 1, written / "1"), Batcher(Batching(), 0, Metrics())
    version.model, service = LoadedModel(version.directory), Service(None, batcher, Limits(), Metrics())

    async def pieces_of(prompt, settings):
        text = np.array([prompt.encode()], object)
        rows = row_settings(version, settings)
        signature = version.model.find("generate")
        return [piece async for piece in write_pieces(service, version, signature, {"text": text}, rows)]

    saved = load_generator(written)
    for prompt in PROMPTS[:2]:
        for settings in ({}, *({"temperature": 1.0, "seed": seed, "max_new_tokens": 12} for seed in range(2))):
            pieces = asyncio.run(pieces_of(prompt, settings))
            whole = saved.generate([prompt], **settings)[0]
            assert "".join(piece.text for piece in pieces) == whole["text"]
            assert pieces[-1].written["finish_reason"] == whole["finish_reason"]
    batcher.close()
    version.model.close()
