"""Answers read off logits equal those a plain search finds; text, places and windows are exact on hostile text."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.samples import sample_path
from tfllm.inference import build_signatures, to_rows
from tfllm.inference.question_answering import N_BEST, choose, decode, encode
from tfllm.models import add_span_head, build_encoder, set_null_threshold
from tfllm.tokenizers import train_sentencepiece

LENGTH = 16
CONTEXTS = [
    "the film was good",
    "你好，世界。 the film 😀 was good, badly! " * 4,
    "",
    " \t\n",
    "Café e\u0301 👩‍👩‍👧 \u202eשלום ﷺ ½ a b c . good",
    "good . " * 30,
    "a\x00 b",
]
QUESTIONS = ["was the film good", "世界 good ?", "a", "", "b " * 40, "[SEP] [CLS]", "c"]


@pytest.fixture(scope="module")
def model(make_encoder, randomize):
    return randomize(add_span_head(make_encoder(), max_answer_tokens=4, stride=3))


@pytest.fixture(scope="module")
def signatures(model, tokenizer):
    return build_signatures(model, tokenizer, LENGTH)


def ask(signatures, name, questions, contexts):
    inputs = {"question": tf.constant(questions, tf.string, [len(questions)])}
    inputs["context"] = tf.constant(contexts, tf.string, [len(contexts)])
    return {output: values.numpy() for output, values in signatures[name].function(**inputs).items()}


def log_softmax(row):
    return row - (row.max() + math.log(np.exp(row - row.max()).sum()))


def search(model, tokenizer, question, context, limit=4, stride=3):
    """Every span of every window, one after the other: {(start, end): log-probability}, and that of no answer."""
    inputs, windows, tokens = encode(tf.constant([question]), tf.constant([context]), tokenizer, LENGTH, stride)
    logits = model.predict_on_batch({name: tensor.numpy() for name, tensor in inputs.items()})
    starts, ends = tokens.character_starts[0].numpy(), tokens.character_ends[0].numpy()
    spans, no_answer = {}, []
    for window, (of_start, of_end) in enumerate(logits):
        of_start, of_end = log_softmax(of_start.astype("float64")), log_softmax(of_end.astype("float64"))
        no_answer.append(of_start[0] + of_end[0])
        begin, place, length = (int(part[window]) for part in (windows.starts, windows.places, windows.lengths))
        for first in range(length):
            for last in range(first, min(first + limit, length)):
                span = int(starts[begin + first]), int(ends[begin + last])
                score = of_start[place + first] + of_end[place + last]
                spans[span] = max(score, spans.get(span, -np.inf))
    return spans, min(no_answer)


def test_the_best_answers_are_those_a_plain_search_finds(model, tokenizer, signatures):
    found = ask(signatures, "n_best", QUESTIONS, CONTEXTS)
    for row, (question, context) in enumerate(zip(QUESTIONS, CONTEXTS, strict=True)):
        spans, no_answer = search(model, tokenizer, question, context)
        best = sorted(spans.values(), reverse=True)[:N_BEST]
        assert found["count"][row] == len(best)
        np.testing.assert_allclose(found["scores"][row, : len(best)], np.exp(best), rtol=1e-4)
        assert found["no_answer_score"][row] == pytest.approx(np.exp(no_answer), rel=1e-4)
        for place in range(len(best)):
            span = found["starts"][row, place], found["ends"][row, place]
            assert np.exp(spans[span]) == pytest.approx(found["scores"][row, place], rel=1e-4)
            assert found["answers"][row, place].decode() == context[slice(*span)]
        assert (found["answers"][row, len(best) :] == b"").all()
        assert (found["scores"][row, len(best) :] == 0).all()
        assert (found["starts"][row, len(best) :] == -1).all()


def test_a_long_context_is_read_in_windows_that_hold_every_token(tokenizer):
    inputs, windows, tokens = encode(tf.constant(QUESTIONS), tf.constant(CONTEXTS), tokenizer, LENGTH, 3)
    assert inputs["token_ids"].shape[1] <= LENGTH
    for row, ids in enumerate(tokens.ids.to_list()):
        seen = set()
        for window in np.flatnonzero(windows.questions.numpy() == row):
            begin, place, length = (int(part[window]) for part in (windows.starts, windows.places, windows.lengths))
            part = windows.token_ids[window].numpy()
            assert part[place : place + length].tolist() == ids[begin : begin + length]
            assert part[[0, place - 1, place + length]].tolist() == [
                tokenizer.cls_id,
                tokenizer.sep_id,
                tokenizer.sep_id,
            ]
            assert windows.segment_ids[window].numpy().tolist() == [0] * place + [1] * (length + 1)
            seen |= set(range(begin, begin + length))
        assert seen == set(range(len(ids)))


def test_serving_default_is_the_best_answer_and_its_place(signatures):
    best, found = (
        ask(signatures, "n_best", QUESTIONS, CONTEXTS),
        ask(signatures, "serving_default", QUESTIONS, CONTEXTS),
    )
    for row, context in enumerate(CONTEXTS):
        assert found["answer"][row] == best["answers"][row, 0]
        if best["count"][row]:
            assert found["answer"][row].decode() == context[found["start"][row] : found["end"][row]] != ""
            assert found["score"][row] == best["scores"][row, 0]
        else:
            assert (found["start"][row], found["end"][row]) == (-1, -1)
            assert found["score"][row] == best["no_answer_score"][row] == 1


def test_the_null_threshold_decides_whether_there_is_an_answer(model, tokenizer):
    question, context = tf.constant(QUESTIONS), tf.constant(CONTEXTS)
    inputs, windows, tokens = encode(question, context, tokenizer, LENGTH, 3)
    spans = decode(model(inputs), windows, tokens, context, 4)
    gap = float(spans.no_answer[0] - spans.log_probabilities[0, 0])
    assert choose(spans, gap + 0.01)["answer"][0] != ""
    none = choose(spans, gap - 0.01)
    assert (none["answer"][0], none["start"][0], none["end"][0]) == ("", -1, -1)
    assert float(none["score"][0]) == pytest.approx(np.exp(float(spans.no_answer[0])))
    set_null_threshold(model, -1e6)
    try:
        assert set(
            ask(build_signatures(model, tokenizer, LENGTH), "serving_default", QUESTIONS, CONTEXTS)["answer"]
        ) == {b""}
    finally:
        set_null_threshold(model, None)


def test_a_question_without_batch_mates_gets_the_same_answer(signatures):
    together = ask(signatures, "serving_default", QUESTIONS, CONTEXTS)
    for row, (question, context) in enumerate(zip(QUESTIONS, CONTEXTS, strict=True)):
        alone = ask(signatures, "serving_default", [question], [context])
        assert [alone[name][0] for name in ("answer", "start", "end")] == [
            together[name][row] for name in ("answer", "start", "end")
        ]
        assert alone["score"][0] == pytest.approx(together["score"][row], rel=1e-4)


def test_the_graph_answers_as_the_operations_do_and_no_question_gives_no_answer(signatures):
    for name in ("serving_default", "n_best"):
        traced = tf.function(signatures[name].function, autograph=False).get_concrete_function(
            **signatures[name].inputs
        )
        for questions, contexts in ((QUESTIONS, CONTEXTS), ([], [])):
            inputs = {"question": tf.constant(questions, tf.string, [len(questions)])}
            found = traced(**inputs, context=tf.constant(contexts, tf.string, [len(contexts)]))
            for output, expected in ask(signatures, name, questions, contexts).items():
                assert found[output].shape[0] == len(questions)
                if expected.dtype == np.float32:
                    np.testing.assert_allclose(found[output], expected, rtol=1e-4)
                else:
                    np.testing.assert_array_equal(found[output], expected)


def test_malformed_utf8_gives_places_in_the_text_with_replacement_characters(signatures):
    contexts = [b"\xff\xfe good \xc3( film \xed\xa0\x80 \xe4\xb8 was", b"good\xff", b"\xff"]
    found = ask(signatures, "n_best", [b"was \xff good"] * 3, contexts)
    for row, context in enumerate(contexts):
        string = context.decode("utf-8", "replace")
        for place in range(found["count"][row]):
            answer = found["answers"][row, place].decode()
            assert answer == string[found["starts"][row, place] : found["ends"][row, place]] != ""


def test_a_token_with_the_space_before_it_gives_an_answer_without(randomize):
    tokenizer = train_sentencepiece(sample_path("text_en.txt").read_text("utf-8").split("\n"), vocabulary_size=400)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16, "max_sequence_length": LENGTH}
    model = randomize(add_span_head(build_encoder(tokenizer.vocabulary_size, **size)))
    context = "I saw a girl with a　telescope , and   she saw me ."
    found = ask(build_signatures(model, tokenizer, LENGTH), "n_best", ["who saw me"], [context])
    for answer, start, end in zip(found["answers"][0], found["starts"][0], found["ends"][0], strict=True):
        assert answer.decode() == context[start:end] == context[start:end].strip()


def test_a_row_tells_the_question_and_where_the_answer_stands(signatures):
    inputs = {"question": QUESTIONS[:1], "context": CONTEXTS[:1]}
    row = to_rows("question_answering", inputs, ask(signatures, "serving_default", QUESTIONS[:1], CONTEXTS[:1]))[0]
    assert row["answer"] == CONTEXTS[0][row["start"] : row["end"]]
    assert list(row) == ["question", "context", "answer", "score", "start", "end"]
    assert {type(row[name]) for name in ("start", "end")} == {int}
