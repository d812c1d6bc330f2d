"""A model that reads a text and writes another, as a SavedModel: the texts of the Python model, in any language."""

import pytest

from tfllm.export import export_savedmodel, load_generator, predict_texts
from tfllm.export.check import read_signatures
from tfllm.generation import TextGenerator
from tfllm.models import add_seq2seq_head, build_encoder_decoder
from tfllm.tokenizers import train_sentencepiece

pytestmark = pytest.mark.slow

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 48, "max_sequence_length": 32}
TEXTS = ["A man rides a red bicycle.", "Ein Mann fährt über die Straße.", "今天天气很好，我们去公园。", "", "x" * 300]


@pytest.fixture(scope="module")
def tokenizer():
    return train_sentencepiece(TEXTS * 20, vocabulary_size=340)


@pytest.fixture(scope="module")
def model(tokenizer, randomize):
    inner = build_encoder_decoder(tokenizer.vocabulary_size, **SIZE)
    return randomize(add_seq2seq_head(inner, generation={"max_new_tokens": 9}))


@pytest.fixture(scope="module")
def written(model, tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("savedmodels") / "translator"
    export_savedmodel(model, tokenizer, directory, sequence_length=24)
    return directory


def test_it_writes_scores_and_tokenizes(written):
    signatures = read_signatures(written / "1")
    assert set(signatures) == {"serving_default", "generate", "score", "tokenize"}
    assert set(signatures["score"]["inputs"]) == {"text", "target"}


def test_texts_in_three_languages_are_those_of_the_python_model(written, model, tokenizer):
    python, saved = TextGenerator(model, tokenizer, 24), load_generator(written)
    greedy = python.generate(TEXTS)
    assert len({row["text"] for row in greedy[:3]}) == 3
    for row, other in zip(greedy, predict_texts(written, TEXTS), strict=True):
        assert {**other, "log_prob": 0} == {**row, "log_prob": 0}
    settings = {"temperature": 1.0, "top_k": 5, "seed": [1, 2, 3, 4, 5]}
    one, other = (generator.generate(TEXTS, **settings) for generator in (python, saved))
    assert [row["text"] for row in one] == [row["text"] for row in other]
    targets = TEXTS[1:] + TEXTS[:1]
    found = [[row["log_prob"] for row in generator.score(TEXTS, targets)] for generator in (python, saved)]
    assert found[1] == pytest.approx(found[0], abs=1e-3)


def test_greedy_texts_of_200_prompts_in_three_languages_are_those_of_the_python_model(
    written, model, tokenizer, check_greedy_texts
):
    check_greedy_texts(TextGenerator(model, tokenizer, 24), load_generator(written))


def test_what_is_drawn_follows_from_prompt_and_seed_whatever_the_batch(
    written, model, tokenizer, prompts_in_three_languages
):
    python, saved = TextGenerator(model, tokenizer, 24), load_generator(written)
    prompts, settings = prompts_in_three_languages[:60], {"temperature": 1.0}
    texts = [row["text"] for row in python.generate(prompts, seed=list(range(60)), **settings)]
    backwards = saved.generate(prompts[::-1], seed=list(range(60))[::-1], **settings)
    assert [row["text"] for row in backwards[::-1]] == texts
