"""Answers to conversations: those of full passes over what the template makes of them, alone, together and streamed."""

import pytest

from tfllm.checks import InputError
from tfllm.generation import TextGenerator
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.chat import default_template

SEP, WORDS = 3, range(5, 11)
CONVERSATIONS = [
    [("user", "a b")],
    [("system", "c"), ("user", "d [SEP] e")],
    [("user", "a"), ("assistant", "f f"), ("user", "b"), ("assistant", "c"), ("user", "d e")],
]


def messages_of(turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.fixture(scope="module")
def chatter(writing_model, letters):
    tokenizer = WordPieceTokenizer(letters.vocabulary)
    tokenizer.chat_template = default_template(tokenizer.special_tokens)
    return TextGenerator(writing_model, tokenizer)


def rendered(letters, turns):
    """`[CLS] system [MASK] user [SEP] answer [SEP] ...` as ids."""
    ids = [2]
    for role, content in turns:
        text = letters.tokenize(content).to_list()[0]
        ids += {"system": text, "user": [4, *text, 3], "assistant": [*text, 3]}[role]
    return ids


def by_full_passes(probabilities, letters, ids, count):
    start, total = len(ids), 0.0
    while len(ids) - start < count:
        last = probabilities(ids)[-1]
        token = max([SEP, *WORDS], key=lambda token: last[token])
        total += last[token]
        if token == SEP:
            break
        ids = [*ids, token]
    return letters.detokenize([ids[start:]]).numpy()[0].decode(), total


def test_answers_are_those_of_full_passes_over_the_rendered_conversation(chatter, probabilities, letters):
    together = chatter.answers([messages_of(turns) for turns in CONVERSATIONS], max_new_tokens=6)
    for turns, row in zip(CONVERSATIONS, together, strict=True):
        text, log_prob = by_full_passes(probabilities, letters, rendered(letters, turns), 6)
        assert row["text"] == text and row["log_prob"] == pytest.approx(log_prob, abs=1e-4)
        assert chatter.chat(messages_of(turns), max_new_tokens=6)["text"] == text
        assert "".join(chatter.stream_chat(messages_of(turns), max_new_tokens=6)) == text


def test_what_is_drawn_does_not_depend_on_the_conversations_beside_it(chatter):
    settings = {"max_new_tokens": 8, "temperature": 1.5, "min_new_tokens": 8}
    together = chatter.answers([messages_of(turns) for turns in CONVERSATIONS], seed=[1, 2, 3], **settings)
    for turns, row, seed in zip(CONVERSATIONS, together, (1, 2, 3), strict=True):
        assert chatter.chat(messages_of(turns), seed=seed, **settings)["text"] == row["text"]
        assert len(row["text"].split()) == 8  # control tokens never come


def test_the_oldest_turns_of_a_long_conversation_are_left_out(chatter):
    system, turn = ("system", "c"), [("user", "a b"), ("assistant", "f")]
    long = [system, *turn * 9, ("user", "d e")]
    short = [system, *turn * 2, ("user", "d e")]  # 2 + 2 * 6 + 4 tokens; the model sees 32, of which 11 are new
    one, other = (chatter.chat(messages_of(turns), max_new_tokens=11) for turns in (long, short))
    assert one == other


def test_nothing_to_answer_and_what_is_no_conversation_are_said(chatter, generator):
    assert chatter.answers([]) == []
    with pytest.raises(InputError, match="must end with a message of the user"):
        chatter.chat(messages_of([("user", "a"), ("assistant", "b")]))
    with pytest.raises(InputError, match="Conversation 2 message 1 has the role"):
        chatter.answers([messages_of([("user", "a")]), messages_of([("robot", "a")])])
    with pytest.raises(InputError, match="no chat template"):
        generator.chat(messages_of([("user", "a")]))
    with pytest.raises(InputError, match="With beams"):
        next(chatter.stream_chat(messages_of([("user", "a")]), num_beams=2))
