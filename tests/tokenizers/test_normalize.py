"""The normalization table against the reference, in whole texts and with the sources of every character."""

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import normalizers

from tfllm.tokenizers.normalize import BertNormalizer


def normalized(lowercase, texts):
    result = BertNormalizer(lowercase)(tf.strings.unicode_decode(texts, "UTF-8"))
    return tf.strings.unicode_encode(result.code_points, "UTF-8"), result.sources


@pytest.mark.parametrize("lowercase", [True, False])
def test_random_strings_are_normalized_as_the_reference_does(lowercase):
    random = np.random.default_rng(0)
    pools = [range(0x20, 0x7F), range(0xA0, 0x600), range(0xAC00, 0xAD00), range(0x1E00, 0x2100), range(0x10000)]
    code_points = [random.choice(list(pools[i % 5]), 12) for i in range(3000)]
    texts = ["".join(chr(c) for c in row if not 0xD800 <= c < 0xE000) for row in code_points]
    reference = normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=lowercase, lowercase=lowercase)
    found, _ = normalized(lowercase, texts)
    for text, one in zip(texts, found.numpy(), strict=True):
        # Marks that are not removed may be put in another order by NFD; WordPiece sees the same characters.
        assert sorted(one.decode()) == sorted(reference.normalize_str(text))


def test_sources_name_the_character_each_came_from():
    found, sources = normalized(True, ["É\x00한", "", "\u0301a"])
    assert [text.decode() for text in found.numpy()] == ["e\u1112\u1161\u11ab", "", "a"]
    assert sources.to_list() == [[0, 2, 2, 2], [], [1]]


def test_the_separator_of_the_table_is_itself_left_alone():
    found, _ = normalized(True, ["a¶B¶|"])
    assert found.numpy().tolist() == ["a¶b¶|".encode()]
