"""What is written after a source is what the full pass says, whatever stands beside it; streams and scores."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.generation import TextGenerator
from tfllm.models import add_seq2seq_head, build_encoder_decoder, read_encoder

CLS, SEP, WORDS = 2, 3, range(5, 11)
SIZE = {"num_layers": 1, "num_decoder_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 48}
SOURCES = ["a b", "c", "", "d e f a b c d e", "f f f"]


@pytest.fixture(scope="module")
def model(letters):
    random = np.random.default_rng(0)
    inner = build_encoder_decoder(letters.vocabulary_size, **SIZE, max_sequence_length=32)
    model = add_seq2seq_head(inner, generation={"max_new_tokens": 12}, start="sep")
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def generator(model, letters):
    return TextGenerator(model, letters)


@pytest.fixture(scope="module")
def log_probs(model, letters):
    """Source and target ids without padding -> log-probabilities of the token after each of the target."""

    def of(source, ids):
        source = np.array([letters.wrap(letters.tokenize(source), 32).to_list()[0]], "int32")
        ids = np.array([ids], "int32")
        inputs = {"source_ids": source, "source_mask": source * 0 + 1, "token_ids": ids, "padding_mask": ids * 0 + 1}
        logits = model.predict(inputs, verbose=0)[0]
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    return of


def test_greedy_text_is_that_of_full_passes(generator, log_probs, letters):
    for row in generator.generate(SOURCES):
        ids, total = [SEP], 0.0
        while len(ids) <= 12:
            last = log_probs(row["prompt"], ids)[-1]
            token = max([SEP, *WORDS], key=lambda token: last[token])
            total += last[token]
            if token == SEP:
                break
            ids.append(token)
        assert row["text"] == letters.detokenize([ids[1:]]).numpy()[0].decode()
        assert row["num_tokens"] == len(ids) - 1
        assert row["log_prob"] == pytest.approx(total, abs=1e-4)


def test_a_target_may_begin_with_several_tokens(model, letters, log_probs):
    generator = TextGenerator(add_seq2seq_head(read_encoder(model), start=["sep", "cls"]), letters)
    (row,) = generator.generate(["a b"], max_new_tokens=5, min_new_tokens=5)
    ids = letters.tokenize(row["text"]).to_list()[0]
    rows = log_probs("a b", [SEP, CLS, *ids])[1:-1]
    assert [max(WORDS, key=lambda token, last=last: last[token]) for last in rows] == ids
    (scored,) = generator.score(["a b"], [row["text"]])
    expected = [last[token] for last, token in zip(rows, ids, strict=True)]
    np.testing.assert_allclose(scored["token_log_probs"], expected, atol=1e-5)
    assert row["log_prob"] == pytest.approx(sum(expected), abs=1e-4)
    (longest,) = generator.generate(["a b"], max_new_tokens=99, min_new_tokens=99)
    assert longest["num_tokens"] == 32 - 2


@pytest.mark.parametrize("rules", [{}, {"num_beams": 3}, {"no_repeat_ngram": 2}])
def test_a_text_does_not_depend_on_the_sources_beside_it(generator, rules):
    settings = {"max_new_tokens": [12, 3, 20, 0, 9], "temperature": [1.0, 0.0, 2.0, 1.0, 0.7], "seed": [1, 2, 3, 4, 5]}
    together = generator.generate(SOURCES, **settings, **rules)
    for number, source in enumerate(SOURCES):
        own = {name: values[number] for name, values in settings.items()}
        (alone,) = generator.generate([source], **own, **rules)
        assert (alone["text"], alone["num_tokens"]) == (together[number]["text"], together[number]["num_tokens"])
        assert alone["log_prob"] == pytest.approx(together[number]["log_prob"], abs=1e-4)


def test_more_beams_find_texts_no_less_probable(generator):
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "length_penalty": 0.0}
    one, four = (generator.generate(SOURCES, num_beams=beams, **settings) for beams in (1, 4))
    assert np.mean([row["log_prob"] for row in four]) > np.mean([row["log_prob"] for row in one])


def test_words_of_the_source_may_be_written_again_those_written_may_not(generator):
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "no_repeat_ngram": 1}
    for row in generator.generate(["a b c d e f"], **settings):
        assert sorted(row["text"].split()) == list("abcdef")


def test_the_beginning_of_a_long_source_is_kept(model, letters):
    generator = TextGenerator(model, letters, sequence_length=8)
    long, short = generator.generate(["a b c d e f " * 9, "a b c d e f"])
    assert long["text"] == short["text"]


def test_a_stream_is_the_text_in_pieces(generator):
    for source in SOURCES:
        pieces = list(generator.stream(source, temperature=1.0, seed=3))
        assert "".join(pieces) == generator.generate([source], temperature=1.0, seed=3)[0]["text"]


def test_a_stop_string_ends_a_text_before_it(generator):
    (whole,) = generator.generate(["d"], max_new_tokens=8, min_new_tokens=8)
    stop = " ".join(whole["text"].split()[2:4])
    (row,) = generator.generate(["d"], max_new_tokens=8, stop=[stop])
    assert row["text"] == whole["text"].split(stop)[0] and row["finish_reason"] == "stop"


def test_a_score_needs_as_many_targets_as_texts(generator):
    with pytest.raises(InputError, match="give the `targets` too"):
        generator.score(["a"])
    with pytest.raises(InputError, match="as many texts and targets"):
        generator.score(["a", "b"], ["c"])


def test_scores_are_the_probabilities_of_the_full_pass(generator, log_probs, letters):
    sources, targets = ["a b", "c", ""], ["d e f", "", "a"]
    for row, source, target in zip(generator.score(sources, targets), sources, targets, strict=True):
        ids = letters.tokenize(target).to_list()[0]
        expected = [log_probs(source, [SEP, *ids])[place][token] for place, token in enumerate(ids)]
        assert (row["text"], row["num_tokens"]) == (target, len(ids))
        np.testing.assert_allclose(row["token_log_probs"], expected, atol=1e-5)
    (written,) = generator.generate(["f f"], max_new_tokens=5, min_new_tokens=5)
    assert written["log_prob"] == pytest.approx(generator.score(["f f"], [written["text"]])[0]["log_prob"], abs=1e-4)
