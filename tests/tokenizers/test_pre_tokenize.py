"""Words of GPT-2 and others against the regular expressions of the reference, on every character and random strings."""

import random
from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tfllm.tokenizers.huggingface.byte_pairs import EXPRESSIONS
from tfllm.tokenizers.pre_tokenize import Gpt2Words
from tfllm.tokenizers.pre_tokenize_llama import LlamaWords

REFERENCE = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
PIECES = [
    *["a", "Wort", "é", "e\u0301", "中", "한", "ǅ", "ª", "ʼ", "א", "ا", "1", "²", "Ⅷ", "½", "٣", "〇", "𝟘", "१"],
    *[" ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u0085", "\u2028", "\u3000", "\u200b", "\ufeff", "\x1c", "\0"],
    *["'", "''", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'l", "'r", "'v", "’s", "s", "ll", "e"],
    *[".", "...", "!?", "-", "_", "$", "👨‍👩‍👧", "🏳️‍🌈", "\ufffd", "\ue000", "\u0301", "\u202e", "\U0010ffff"],
]


LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
OTHERS = {  # name -> ours, the reference
    "gpt2-digits": (lambda: Gpt2Words(digits_alone=True), [pre_tokenizers.Digits(individual_digits=True), REFERENCE]),
    "llama3": (LlamaWords, [pre_tokenizers.Split(Regex(EXPRESSIONS["llama3"]), "isolated"), LEVEL]),
    "qwen2": (lambda: LlamaWords(1), [pre_tokenizers.Split(Regex(EXPRESSIONS["qwen2"]), "isolated"), LEVEL]),
}
MORE = ["'ſ", "ſ", "'Ll", "'lL", "\n\n", "\r", " \n", "\n ", "a", "1", " ", "'"]


@pytest.fixture(scope="module")
def words():
    return Gpt2Words()


def begins(words, texts):
    found = words(tf.strings.unicode_decode(texts, "UTF-8"))
    return [np.flatnonzero(row).tolist() for row in found.to_list()]


def expected(texts):
    return [[first for _, (first, _) in REFERENCE.pre_tokenize_str(text)] for text in texts]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello world", ["Hello", " world"]),
        ("a  b \n", ["a", " ", " b", " \n"]),
        ("a\n b", ["a", "\n", " b"]),
        ("don't 's '  'd'll", ["don", "'t", " '", "s", " '", " ", " '", "d", "'ll"]),
        ("we're'respect DON'T", ["we", "'re", "'re", "spect", " DON", "'", "T"]),
        ("x²3 Ⅷ,;", ["x", "²3", " Ⅷ", ",;"]),
        ("", []),
    ],
)
def test_words_are_those_of_the_expression(words, text, parts):
    limits = [*begins(words, [text])[0], len(text)]
    assert [text[first:after] for first, after in pairwise(limits)] == parts


def test_random_strings_are_split_as_the_reference_does(words):
    generator = random.Random(0)
    texts = ["".join(generator.choices(PIECES, k=generator.randrange(12))) for _ in range(20_000)]
    assert begins(words, texts) == expected(texts)


def test_every_character_is_of_the_class_the_reference_has_it_in(words):
    # Where a word begins in "a?1?." tells letters, numbers, white space and the rest apart.
    for first in [*range(0, 0x40000, 0x4000), 0xE0000, 0xF0000, 0x10C000]:
        text = "".join(f"a{chr(c)}1{chr(c)}." for c in range(first, first + 0x4000) if not 0xD800 <= c < 0xE000)
        assert begins(words, [text]) == expected([text])


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_split_as_their_reference_does(name):
    ours, reference = OTHERS[name]
    generator, reference = random.Random(1), pre_tokenizers.Sequence(reference)
    texts = ["".join(generator.choices([*PIECES, *MORE * 4], k=generator.randrange(12))) for _ in range(10_000)]
    found = [[first for _, (first, _) in reference.pre_tokenize_str(text)] for text in texts]
    assert begins(ours(), texts) == found
