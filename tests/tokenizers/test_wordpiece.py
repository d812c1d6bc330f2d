"""WordPiece: splitting, lower-casing, the vocabulary's rules."""

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer
from tfllm.tokenizers.base import SPECIAL_TOKENS
from tfllm.tokenizers.wordpiece import read_vocabulary

VOCABULARY = [
    *SPECIAL_TOKENS,
    "the",
    "un",
    "##believ",
    "##able",
    "believ",
    "中",
    "国",
    "，",
    ",",
    "straße",
    "The",
    "É",
    "e",
]


def tokens(tokenizer, text):
    return [tokenizer.vocabulary[i] for i in tokenizer.tokenize(text).to_list()[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The UNBELIEVABLE", ["the", "un", "##believ", "##able"]),
        ("the中国,the", ["the", "中", "国", ",", "the"]),
        ("中国，the", ["中", "国", "，", "the"]),  # a full-width comma stays one
        ("Straße É", ["straße", "e"]),  # accents go, "ß" stays
        ("unbelievableness", ["[UNK]"]),  # no partial words
        ("t\x00he\u200b \ufffd", ["the"]),  # characters nobody sees are removed
        ("the\u00a0the\u3000the\u2028the", ["the"] * 4),
    ],
)
def test_lowercase_splits_by_berts_rules(text, expected):
    assert tokens(WordPieceTokenizer(VOCABULARY, lowercase=True), text) == expected


def test_without_lowercase_case_and_accents_stay():
    tokenizer = WordPieceTokenizer(VOCABULARY, lowercase=False)
    assert tokens(tokenizer, "The the É THE") == ["The", "the", "É", "[UNK]"]


def test_words_of_a_hundred_characters_are_tokenized_in_every_script():
    letters = ["a", "##a", "ж", "##ж", "𐐨", "##𐐨"]
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, *letters], lowercase=True)
    for letter in letters[::2]:
        assert len(tokenizer.tokenize(letter * 100).to_list()[0]) == 100
    assert tokens(tokenizer, "a" * 401) == ["[UNK]"]


def test_options_are_remembered(tmp_path):
    options = {"strip_accents": False, "clean_text": False, "split_on_cjk": False, "max_characters_per_word": 3}
    WordPieceTokenizer([*VOCABULARY, "中国", "é"], **options).save(tmp_path / "tokenizer")
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    assert {name: getattr(tokenizer, name) for name in options} == options
    assert tokens(tokenizer, "THE中国 中国 É theee, un") == ["[UNK]", "中国", "é", "[UNK]", ",", "un"]


def test_offsets_of_words_that_are_split_here():
    tokenizer = WordPieceTokenizer(VOCABULARY, max_characters_per_word=12)
    found = tokenizer.tokenize_with_offsets(["\0 The unbelievable", "E\u0301, unbelievableness the中"])
    spans = [field.to_list() for field in (found.character_starts, found.character_ends)]
    assert spans == [[[2, 6, 8, 14], [0, 2, 4, 21, 24]], [[5, 8, 14, 18], [2, 3, 20, 24, 25]]]


def test_a_word_can_never_be_a_special_token():
    names = {"pad": "pad", "unk": "unk", "cls": "un", "sep": "中"}
    for options in ({}, {"max_characters_per_word": 100}):
        tokenizer = WordPieceTokenizer(["pad", "unk", "un", "中", "a"], special_tokens=names, **options)
        assert tokens(tokenizer, "a pad un 中 unk") == ["a", *["unk"] * 4]


def test_word_starts_are_not_continuations():
    tokenizer = WordPieceTokenizer(VOCABULARY)
    ids = tokenizer.tokenize(["the unbelievable 中国"])
    assert tokenizer.word_starts(ids).to_list() == [[1, 1, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([*SPECIAL_TOKENS, "a", "a"], "entry 6 repeats an earlier token"),
        ([*SPECIAL_TOKENS, ""], "entry 5 is empty"),
        (["[PAD]", "[UNK]", "a"], r"lacks \[CLS\] \[SEP\] \[MASK\]"),
        ([], "lacks"),
    ],
)
def test_an_unusable_vocabulary_is_an_input_error(vocabulary, message):
    with pytest.raises(InputError, match=message):
        WordPieceTokenizer(vocabulary)


def test_only_newlines_end_a_line_of_the_vocabulary(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_bytes("a\n\u2028\n##\u2028\n\x85x\n".encode())
    assert read_vocabulary(file) == ["a", "\u2028", "##\u2028", "\x85x"]


def test_a_vocabulary_that_is_not_utf8_is_an_input_error(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_vocabulary(file)
