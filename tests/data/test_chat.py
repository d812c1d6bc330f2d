"""Answers are learnt, and nothing else; long conversations are parted; batches go on exactly where they were."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.chat import ChatBatches, encode_answers
from tfllm.tokenizers import WordPieceTokenizer, train_byte_bpe
from tfllm.tokenizers.chat import ChatTemplate, default_template
from tfllm.tokenizers.chat_encoder import ChatEncoder

PAD, CLS, SEP, MASK = 0, 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer():
    """`a` is 5, `z` is 30."""
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"])
    tokenizer.chat_template = default_template(tokenizer.special_tokens)
    return tokenizer


def talk(*texts, system=None):
    roles = ["user", "assistant"] * len(texts)
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def read(tokenizer, part):
    """Tokens, with those that are learnt in capitals."""
    names = tokenizer.vocabulary
    return " ".join(names[one].upper() if learnt else names[one].lower() for one, learnt in part)


def test_answers_and_their_ends_are_learnt(tokenizer):
    (part,) = encode_answers([talk("a b", "c", "d", "e f", "g", system="s")], tokenizer, 64)
    assert read(tokenizer, part) == "[cls] s [mask] a b [sep] C [SEP] [mask] d [sep] E F [SEP]"


def test_text_of_marks_in_plain_text_is_not_learnt(tokenizer):
    whole = tokenizer.chat_template
    tokenizer.chat_template = ChatTemplate(
        "[CLS] u ", None, (" u ", " x "), (" y ", " [SEP] z "), " y ", control=("[CLS]", "[SEP]")
    )
    try:
        (part,) = encode_answers([talk("a", "b", "c", "d e")], tokenizer, 64)
        assert read(tokenizer, part) == "[cls] u a x y B [SEP] z u c x y D E [SEP] z"
        with pytest.raises(InputError, match="no place for a system"):
            encode_answers([talk("a", "b", system="s")], tokenizer, 64)
    finally:
        tokenizer.chat_template = whole


@pytest.mark.parametrize("answer", ["hello", " hello", "\nhello", "\n\nhello", " \n\n hello\n\n", "\n\n\n```\nhello"])
def test_an_answer_is_learnt_behind_the_tokens_that_a_prompt_has(answer):
    """White space it begins with may be one token with the template's: then that token is in no prompt."""
    blanks = ["\n" * count + " " * count + "x" + "\n" * count + "y" for count in range(1, 5)] * 9
    tokenizer = train_byte_bpe(["user assistant hello hi", *blanks], vocabulary_size=290)
    end = tokenizer.special_tokens["sep"]
    tokenizer.chat_template = ChatTemplate(
        "user\n", None, ("user\n", end + "\n"), ("assistant\n", end + "\n"), "assistant\n", control=(end,)
    )
    assert tokenizer.tokenize("\n\n").row_lengths().numpy() == [1], "so that they can be one"
    conversation = talk("hi", answer, "hi", answer)
    (part,) = encode_answers([conversation], tokenizer, 200)
    tokens, learnt = part.T
    encode = ChatEncoder(tokenizer)
    (begin, end), (second_begin, second_end) = np.flatnonzero(np.diff(learnt, prepend=0, append=0)).reshape(2, 2)
    prompt = encode(tf.constant([["user"]]), tf.constant([["hi"]]), 200).to_list()[0]
    assert tokens[:begin].tolist() == prompt
    for one in (tokens[begin:end], tokens[second_begin:second_end]):
        assert one[-1] == encode.end_id
        assert tokenizer.detokenize([one[:-1].tolist()])[0].numpy().decode() == answer


def test_a_long_conversation_is_parted_between_turns_and_no_answer_is_lost(tokenizer, caplog):
    conversation = talk("a", "b", "c", "d", "e", "f", "g", "h", system="s")
    parts = encode_answers([conversation, talk("a", "b")], tokenizer, 14)
    assert [read(tokenizer, part) for part in parts] == [
        "[cls] [mask] a [sep] B [SEP]",
        "[cls] s [mask] e [sep] F [SEP] [mask] g [sep] H [SEP]",
        "[cls] s [mask] a [sep] B [SEP] [mask] c [sep] D [SEP]",
    ]
    assert "1 of 2 conversations are longer than 14 tokens" in caplog.text


def test_of_a_question_and_an_answer_that_are_too_long_the_end_is_cut(tokenizer, caplog):
    (part,) = encode_answers([talk("a b", "c d e f g")], tokenizer, 8)
    assert read(tokenizer, part) == "[cls] [mask] a b [sep] C D E"
    assert "1 questions with their answers are longer than 8 tokens" in caplog.text
    with pytest.raises(InputError, match="No answer is left to learn"):
        encode_answers([talk("a b c d e f g h", "c")], tokenizer, 8)


def conversations():
    random = np.random.default_rng(0)
    words = list("abcdefghijklmnopqrstuvwxyz")
    return [
        talk(*(" ".join(random.choice(words, random.integers(1, 6))) for _ in range(2 * random.integers(1, 4))))
        for _ in range(60)
    ]


def arrays(dataset, count):
    return [
        (inputs["token_ids"], inputs["padding_mask"], next_ids, weights)
        for inputs, next_ids, weights in dataset.take(count).as_numpy_iterator()
    ]


def test_batches_hold_every_conversation_and_each_token_predicts_the_next_of_its_own(tokenizer):
    rows = conversations()
    batches = ChatBatches(rows, tokenizer, sequence_length=64, batch_size=16, seed=3)
    expected = sorted(read(tokenizer, part) for part in encode_answers(rows, tokenizer, 64))
    found = []
    for token_ids, mask, next_ids, weights in arrays(batches.once(), 99):
        assert token_ids.dtype == mask.dtype == next_ids.dtype == np.int32 and weights.dtype == np.float32
        for row in range(len(token_ids)):
            assert not weights[row][mask[row] == 0].any()
            for text in range(1, mask[row].max() + 1):
                here = mask[row] == text
                ids, following, learnt = token_ids[row][here], next_ids[row][here], weights[row][here]
                assert following[:-1].tolist() == ids[1:].tolist() and learnt[-1] == 0
                found.append(read(tokenizer, zip(ids, [0, *learnt[:-1]], strict=True)))
    assert sorted(found) == expected


def test_batches_begin_at_any_number_and_a_seed_decides_their_order(tokenizer):
    rows = conversations()
    make = lambda seed: ChatBatches(rows, tokenizer, sequence_length=64, batch_size=16, seed=seed)  # noqa: E731
    batches = make(1)
    assert batches.epoch_steps >= 2
    steps = 2 * batches.epoch_steps + 1
    whole, rest = arrays(batches(), steps + 2), arrays(make(1)(steps), 2)
    for one, other in zip(whole[steps:], rest, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)
    assert not np.array_equal(arrays(make(2)(), 1)[0][0], whole[0][0])
