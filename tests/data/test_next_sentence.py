"""Sentence pairs: the labels are true of the texts they came from."""

import numpy as np
import pytest

from tfllm.data.next_sentence import sentence_pairs, split_sentences
from tfllm.tokenizers import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer():
    """Every word w0 ... w2999 is its own token, so that a token tells where in which text it stood."""
    return WordPieceTokenizer([*SPECIAL, ".", *(f"w{number}" for number in range(3000))])


@pytest.fixture(scope="module")
def texts():
    """30 texts of 20 sentences of 1 to 8 words; no word stands twice."""
    random, word, texts = np.random.default_rng(0), iter(range(3000)), []
    for _ in range(30):
        sentences = [" ".join(f"w{next(word)}" for _ in range(random.integers(1, 9))) for _ in range(20)]
        texts.append(" ".join(f"{sentence}." for sentence in sentences))
    return texts


def pairs(texts, tokenizer, length=32, seed=0):
    return sentence_pairs(texts, tokenizer, length, np.random.default_rng(seed))


def parts(rows, tokenizer):
    """(A, B, label) of each row, without special tokens."""
    for row in range(len(rows["label_ids"])):
        ids, segments = rows["token_ids"][row], rows["segment_ids"][row]
        real = (rows["padding_mask"][row] > 0) & ~np.isin(ids, tokenizer.special_ids)
        yield ids[real & (segments == 0)].tolist(), ids[real & (segments == 1)].tolist(), rows["label_ids"][row]


def test_a_row_is_cls_a_sep_b_sep_and_padding(tokenizer):
    rows = pairs(["w1. w2 w3."], tokenizer, length=12)
    w1, w2, w3, dot = (tokenizer.vocabulary.index(token) for token in ("w1", "w2", "w3", "."))
    np.testing.assert_array_equal(rows["token_ids"], [[2, w1, dot, 3, w2, w3, dot, 3, 0, 0, 0, 0]])
    np.testing.assert_array_equal(rows["segment_ids"], [[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(rows["padding_mask"], [[1] * 8 + [0] * 4])
    np.testing.assert_array_equal(rows["label_ids"], [1])
    assert {value.dtype.name for value in rows.values()} == {"int32"}


def test_b_follows_a_in_its_text_exactly_where_the_label_says_so(tokenizer, texts):
    sources = tokenizer.tokenize(texts).to_list()
    text_of = {token: number for number, ids in enumerate(sources) for token in ids if token > 5}  # 5 is the full stop
    for first, second, follows in parts(pairs(texts, tokenizer), tokenizer):
        assert first and second
        home, other = (sources[text_of[next(token for token in part if token > 5)]] for part in (first, second))
        start = next(i for i in range(len(home)) if home[i : i + len(first)] == first)
        continues = home[start + len(first) : start + len(first) + len(second)] == second
        assert continues == (follows == 1)
        assert (home is other) == (follows == 1)


def test_half_of_the_pairs_follow(tokenizer, texts):
    labels = np.concatenate([pairs(texts, tokenizer, seed=seed)["label_ids"] for seed in range(10)])
    assert len(labels) > 1000
    assert labels.mean() == pytest.approx(0.5, abs=0.06)  # four deviations of 1.5 %


@pytest.mark.parametrize("length", [8, 16, 128])
def test_rows_have_one_length_and_both_separators_whatever_it_is(tokenizer, texts, length):
    rows = pairs(texts, tokenizer, length=length)
    assert rows["token_ids"].shape == rows["padding_mask"].shape == (len(rows["label_ids"]), length)
    assert ((rows["token_ids"] == tokenizer.sep_id).sum(1) == 2).all()
    assert (rows["token_ids"][:, 0] == tokenizer.cls_id).all()


def test_rows_are_mostly_full(tokenizer, texts):
    assert pairs(texts, tokenizer, length=64)["padding_mask"].mean() > 0.7


def test_a_text_of_one_sentence_is_cut_in_the_middle(tokenizer):
    rows = pairs(["w1 w2 w3 w4"], tokenizer, length=20)
    ids = [tokenizer.vocabulary.index(f"w{number}") for number in range(1, 5)]
    assert list(parts(rows, tokenizer)) == [(ids[:2], ids[2:], 1)]


def test_with_one_text_every_pair_follows(tokenizer, texts):
    assert (pairs(texts[:1], tokenizer)["label_ids"] == 1).all()


@pytest.mark.parametrize("texts", [[], [""], ["w1"], ["\u200b", ""]])
def test_texts_without_two_tokens_give_no_rows(tokenizer, texts):
    assert pairs(texts, tokenizer, length=8)["token_ids"].shape == (0, 8)


def test_the_random_generator_decides(tokenizer, texts):
    first, same, other = (pairs(texts, tokenizer, seed=seed)["token_ids"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? ", ["One.", "Two!", "Three?"]),
        ("It costs 3.50 euros. Fine.", ["It costs 3.50 euros.", "Fine."]),
        ("今天下雨。我没带伞！怎么办？", ["今天下雨。", "我没带伞！", "怎么办？"]),
        ("no end", ["no end"]),
        (" ", []),
    ],
)
def test_sentences_end_at_western_and_chinese_punctuation(text, expected):
    assert split_sentences(text) == expected
