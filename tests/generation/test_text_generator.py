"""What is written is what the full pass says, whatever stands beside it; ends, stops, streams, scores."""

import collections
import itertools

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, build_decoder, build_encoder, save_model, set_generation
from tfllm.writing import SETTINGS, Rules

CLS, SEP, WORDS = 2, 3, range(5, 11)
PROMPTS = ["a b", "c", "", "d e f a b c d e", "f f f"]


def by_full_passes(probabilities, letters, prompt, count):
    """Greedy text, token by token, each from a pass over all of them; its log-probability."""
    ids, start, total = [CLS, *letters.tokenize(prompt).to_list()[0]], None, 0.0
    start = len(ids)
    while len(ids) - start < count:
        last = probabilities(ids)[-1]
        token = max([SEP, *WORDS], key=lambda token: last[token])
        total += last[token]
        if token == SEP:
            break
        ids.append(token)
    return letters.detokenize([ids[start:]]).numpy()[0].decode(), total


def test_greedy_text_is_that_of_full_passes(generator, probabilities, letters):
    for row in generator.generate(PROMPTS, max_new_tokens=12):
        text, log_prob = by_full_passes(probabilities, letters, row["prompt"], 12)
        assert row["text"].strip() == text
        assert row["log_prob"] == pytest.approx(log_prob, abs=1e-4)
        assert row["num_tokens"] == len(text.split())
        assert row["finish_reason"] == ("length" if row["num_tokens"] == 12 else "stop")


@pytest.mark.parametrize("rules", [{}, {"num_beams": 3}, {"repetition_penalty": 1.4}, {"no_repeat_ngram": 2}])
def test_a_text_does_not_depend_on_the_prompts_beside_it(generator, rules):
    settings = {
        "max_new_tokens": [12, 3, 20, 0, 9],
        "temperature": [1.0, 0.0, 2.0, 1.0, 0.7],
        "top_k": [0, 0, 3, 0, 0],
        "top_p": [0.9, 1.0, 1.0, 0.5, 1.0],
        "seed": [1, 2, 3, 4, 5],
    }
    together = generator.generate(PROMPTS, **settings, **rules)
    for number, prompt in enumerate(PROMPTS):
        own = {name: values[number] for name, values in settings.items()}
        (alone,) = generator.generate([prompt], **own, **rules)
        for name in ("text", "num_tokens", "finish_reason"):
            assert alone[name] == together[number][name], (prompt, name)
        assert alone["log_prob"] == pytest.approx(together[number]["log_prob"], abs=1e-4)


@pytest.mark.parametrize("rules", [{}, {"num_beams": 2}])
def test_with_learned_positions_a_text_may_be_longer_than_its_neighbour_leaves_room_for(letters, randomize, rules):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16, "max_sequence_length": 32}
    model = randomize(add_causal_lm_head(build_decoder(letters.vocabulary_size, **size, positions="learned")))
    generator, prompts = TextGenerator(model, letters), ["a", " ".join("abcdef" * 5)]
    settings = {"max_new_tokens": 31, "min_new_tokens": 31, **rules}
    alone, together = (generator.generate(texts, **settings)[0] for texts in (prompts[:1], prompts))
    assert together["num_tokens"] == 30
    assert together["text"] == alone["text"]
    assert together["log_prob"] == pytest.approx(alone["log_prob"], abs=1e-4)


def test_a_seed_gives_the_same_text_again_and_others_give_others(generator):
    texts = [
        [row["text"] for row in generator.generate(["a"] * 6, temperature=1.5, max_new_tokens=10, seed=seeds)]
        for seeds in (list(range(6)), list(range(6)), 0)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 3
    assert set(texts[2]) == {texts[0][0]}


def test_special_tokens_never_come(generator, letters):
    rows = generator.generate(["a"] * 30, temperature=50.0, max_new_tokens=20, min_new_tokens=20, seed=list(range(30)))
    assert all(len(row["text"].split()) == 20 for row in rows)


def test_prompt_and_text_fit_into_the_model_and_a_long_prompt_keeps_its_end(writing_model, letters):
    generator = TextGenerator(writing_model, letters, sequence_length=16)
    settings = {"min_new_tokens": 99, "max_new_tokens": 99}
    (short,) = generator.generate(["a b"], **settings)
    assert (short["num_tokens"], short["finish_reason"]) == (16 - 3, "length")
    (long,), (end,) = (generator.generate([text], **settings) for text in ("a b c d e f " * 9, "f a b c d e f"))
    assert long["num_tokens"] == 8
    assert long["text"] == end["text"]
    (short,) = generator.generate(["a b c d e f " * 9], max_new_tokens=3, min_new_tokens=3)
    assert short["num_tokens"] == 3


def test_no_prompts_give_no_texts_and_many_are_written_in_batches(generator):
    assert generator.generate([]) == []
    rows = generator.generate(["a", "b"] * 40, max_new_tokens=[3, 4] * 40)
    assert len({(row["prompt"], row["text"]) for row in rows}) == 2


def test_a_stop_string_ends_a_text_before_it(generator):
    (whole,) = generator.generate(["d"], max_new_tokens=12)
    words = whole["text"].split()
    stop = f"{words[2]} {words[3]}"
    (row,) = generator.generate(["d"], max_new_tokens=12, stop=["no such thing", stop])
    assert row["text"] == whole["text"].split(stop)[0]
    assert row["finish_reason"] == "stop" and row["num_tokens"] <= 4


def test_a_stop_string_that_ends_before_the_fewest_tokens_is_text(generator):
    fewest, settings = 5, {"max_new_tokens": 12, "min_new_tokens": 5}
    (whole,) = generator.generate(["d"], **settings)
    text, count = whole["text"], whole["num_tokens"]  # " a b c ...": two characters a token
    assert len(text) == 2 * count > 2 * fewest
    for stop in (text[2:6], text[2 * fewest - 4 : 2 * fewest], text[1]):
        ends = [number for number in range(fewest, count + 1) if text[: 2 * number].endswith(stop)]
        (row,) = generator.generate(["d"], stop=["no such thing", stop], **settings)
        assert row["text"] == (text[: 2 * ends[0]].removesuffix(stop) if ends else text)
        expected = ("stop", ends[0]) if ends else (whole["finish_reason"], count)
        assert (row["finish_reason"], row["num_tokens"]) == expected


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}, {"stop": ["e f"]}, {"max_new_tokens": 0}])
def test_a_stream_is_the_text_in_pieces(generator, settings):
    settings = {"max_new_tokens": 12, **settings}
    for prompt in PROMPTS:
        pieces = list(generator.stream(prompt, **settings))
        (row,) = generator.generate([prompt], **settings)
        assert "".join(pieces) == row["text"]
        assert all(pieces) and len(pieces) <= max(row["num_tokens"], 1)


def test_beams_that_hold_everything_find_the_most_probable_text(generator, probabilities, letters):
    for prompt, penalty in itertools.product(("a b", "f"), (0.0, 1.0)):
        ids = [CLS, *letters.tokenize(prompt).to_list()[0]]
        texts = [[SEP]] + [[one, SEP] for one in WORDS] + [[*pair] for pair in itertools.product(WORDS, WORDS)]

        first, second = probabilities(ids)[-1], {word: probabilities([*ids, word])[-1] for word in WORDS}

        def log_prob(text, first=first, second=second):
            return first[text[0]] + (second[text[0]][text[1]] if len(text) > 1 else 0)

        best = max(texts, key=lambda text: log_prob(text) / len(text) ** penalty)
        (row,) = generator.generate([prompt], max_new_tokens=2, num_beams=40, length_penalty=penalty)
        assert row["text"].strip() == letters.detokenize([best]).numpy()[0].decode()
        assert row["log_prob"] == pytest.approx(log_prob(best), abs=1e-4)
        assert row["finish_reason"] == ("stop" if best[-1] == SEP else "length")


def test_more_beams_find_texts_no_less_probable(generator):
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "length_penalty": 0.0}
    one, four = (generator.generate(PROMPTS, num_beams=beams, **settings) for beams in (1, 4))
    assert np.mean([row["log_prob"] for row in four]) > np.mean([row["log_prob"] for row in one])


def test_what_beams_are_compared_by_is_not_told_for_the_probability_of_the_model(generator):
    rules = {"num_beams": 3, "repetition_penalty": 2.0, "max_new_tokens": 6, "min_new_tokens": 6}
    (row,) = generator.generate([""], **rules)
    (score,) = generator.score([row["text"]])
    assert row["log_prob"] == pytest.approx(score["log_prob"], abs=1e-4)


def test_scores_are_the_probabilities_of_the_full_pass(generator, probabilities, letters):
    texts = ["a b c", "", "f"]
    for row, text in zip(generator.score(texts), texts, strict=True):
        ids = letters.tokenize(text).to_list()[0]
        expected = [probabilities([CLS, *ids])[place][token] for place, token in enumerate(ids)]
        assert (row["text"], row["num_tokens"]) == (text, len(ids))
        np.testing.assert_allclose(row["token_log_probs"], expected, atol=1e-5)
        assert row["log_prob"] == pytest.approx(sum(expected), abs=1e-4)
    (long,) = generator.score(["a " * 100])
    assert long["num_tokens"] == 31


def test_what_was_written_has_the_score_it_says(generator):
    for row in generator.generate(PROMPTS, max_new_tokens=5, min_new_tokens=5, temperature=1.0, seed=2):
        whole, prompt = generator.score([row["prompt"] + row["text"], row["prompt"]])
        assert whole["log_prob"] - prompt["log_prob"] == pytest.approx(row["log_prob"], abs=1e-4)


def test_a_saved_model_writes_with_the_settings_it_was_saved_with(writing_model, letters, tmp_path):
    model = add_causal_lm_head(writing_model._tfllm_encoder())
    set_generation(model, max_new_tokens=3, min_new_tokens=3)
    save_model(model, tmp_path / "model", letters, run={"sequence_length": 8})
    generator = TextGenerator.load(tmp_path / "model")
    assert [row["num_tokens"] for row in generator.generate(["a", "b c"])] == [3, 3]
    assert generator.generate(["a"], min_new_tokens=9, max_new_tokens=9)[0]["num_tokens"] == 8 - 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"temperature": -1.0}, "`temperature` must be a number of at least 0"),
        ({"temperature": "hot"}, "`temperature` must be a number"),
        ({"top_p": 1.5}, "`top_p` must be above 0 and at most 1"),
        ({"seed": [1, 2, 3]}, "`seed` must be one value, or one for each of 1 prompts"),
        ({"stop": "x"}, "`stop` must be a list of strings"),
        ({"stop": [""]}, "`stop` must be a list of strings that are not empty"),
        ({"num_beams": 0}, "`num_beams` must be between 1 and 100"),
        ({"num_beams": 2, "stop": ["x"]}, "give `num_beams` or `stop`, not both"),
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be above 0"),
        ({"min_p": 2}, "`min_p` must be between 0 and 1"),
        ({"min_p": "2"}, "`min_p` must be a number"),
        ({"num_beams": 2.5}, "`num_beams` must be a whole number"),
        ({"num_beams": 2, "length_penalty": float("nan")}, "`length_penalty` must be a number"),
        ({"num_beams": 2, "length_penalty": 8.5}, "`length_penalty` must be between -8 and 8"),
        ({"num_beams": 2, "length_penalty": -40}, "`length_penalty` must be between -8 and 8"),
        ({"no_repeat_ngram": 10**6}, "`no_repeat_ngram` must be between 0 and 100"),
        ({"max_new_tokens": 2.7}, "`max_new_tokens` must be a whole number"),
        ({"seed": 2**31}, "`seed` must be a whole number of at least -2,147,483,647 and at most 2,147,483,647"),
        ({"stop": None}, "`stop` must be a list of strings"),
        ({"stop": ["\udcff"]}, "`stop` must be text"),
    ],
)
def test_settings_that_mean_nothing_are_refused(generator, settings, message):
    with pytest.raises(InputError, match=message):
        generator.generate(["a"], **settings)


def test_what_goes_on_takes_no_targets(generator):
    with pytest.raises(InputError, match="give no `targets`"):
        generator.score(["a"], ["b"])


def test_what_cannot_write_is_refused(generator, letters):
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 8}
    with pytest.raises(InputError, match="Only a model from `add_causal_lm_head` writes text"):
        TextGenerator(build_encoder(11, **size), letters)
    with pytest.raises(InputError, match="Only a model from `add_causal_lm_head` writes text"):
        TextGenerator(build_decoder(11, **size), letters)
    with pytest.raises(InputError, match="must not exceed 32"):
        TextGenerator(generator._model, letters, sequence_length=64)
    with pytest.raises(InputError, match="Leave `num_beams` out"):
        next(generator.stream("a", num_beams=2))
    with pytest.raises(InputError, match="`prompts`: give a list of strings, one for each row"):
        generator.generate("a")


def test_every_setting_has_a_default():
    assert list(SETTINGS) == [
        *("max_new_tokens", "temperature", "top_k", "top_p", "seed", "min_new_tokens", "min_p"),
        *("repetition_penalty", "no_repeat_ngram", "stop", "num_beams", "length_penalty"),
    ]


def test_a_step_has_no_operation_that_hands_a_few_numbers_to_another_thread(generator):
    write = generator._functions(Rules())["write"].get_concrete_function()
    functions = write.graph.as_graph_def().library.function
    bodies = [one for one in functions if "while_body" in one.signature.name]
    found = collections.Counter(node.op for body in bodies for node in body.node_def)
    assert found["BatchMatMulV3"] == 4  # scores and sums of values, in two layers
    assert found["BatchMatMulV2"] == found["Softmax"] == 0
