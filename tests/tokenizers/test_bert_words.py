"""Words of much text, beside those of the reference; the counts of their characters."""

import random

import pytest
from tokenizers import normalizers, pre_tokenizers

from tfllm.tokenizers.bert_words import BertWords, CharacterCounts
from tfllm.tokenizers.code_points import SURROGATES

POOLS = (range(0x20, 0x250), range(0x300, 0x370), range(0x4E00, 0x4E20), range(0xAC00, 0xAC40), range(0x2000, 0x2070))


def words(text, lowercase=True):
    return BertWords(lowercase)(text).tobytes().decode("utf-32-le").split()


def reference(text, lowercase=True):
    normalized = normalizers.BertNormalizer(lowercase=lowercase).normalize_str(text)
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalized)]


@pytest.mark.parametrize("lowercase", [True, False])
def test_real_texts(texts, lowercase):
    text = "\n".join(texts)
    assert words(text, lowercase) == reference(text, lowercase)


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_of_the_first_plane_between_letters_and_alone(lowercase):
    text = "".join(f"{chr(one)}x{chr(one)} " for one in range(0x10000) if one not in SURROGATES)
    assert words(text, lowercase) == reference(text, lowercase)


def test_mixed_up_characters_of_many_scripts():
    drawn = random.Random(0)
    text = "".join(chr(drawn.choice(drawn.choice(POOLS))) for _ in range(60_000))
    assert words(text) == reference(text)


def test_lines_stay_lines():
    assert BertWords(True)("Été,\r\nété").tobytes().decode("utf-32-le").split("\n") == ["ete ,  ", "ete"]


def test_counts_of_characters_and_which_stand_inside_words():
    counts = CharacterCounts()
    for text in ("ab ba\nc", "", "cd"):
        counts.add(BertWords(True)(text))
    assert counts.occurrences() == ({"a": 2, "b": 2, "c": 2, "d": 1}, {"a", "b", "d"})
