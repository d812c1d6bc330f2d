"""Texts are changed as asked, anew in every epoch, the same for the same seed; never to nothing."""

import pytest

from tfllm.checks import InputError
from tfllm.data.augmentation import augment_texts

TEXTS = ["The quick brown fox jumps over the lazy dog, twice.", "我昨天在北京的一家小饭馆吃了面条，味道很好！"] * 50


def test_nothing_asked_changes_nothing():
    odd = ["", " \t", "a", "👩‍👩‍👧 e\u0301"]
    assert augment_texts([*TEXTS, *odd], 0, 0) == [*TEXTS, *odd]


def test_seed_epoch_and_place_decide():
    once = augment_texts(TEXTS, 1, 2, typos=0.1, word_dropout=0.1, case=0.5)
    assert once == augment_texts(TEXTS, 1, 2, typos=0.1, word_dropout=0.1, case=0.5)
    assert once != augment_texts(TEXTS, 1, 3, typos=0.1, word_dropout=0.1, case=0.5)
    assert once != augment_texts(TEXTS, 2, 2, typos=0.1, word_dropout=0.1, case=0.5)
    assert len(set(once)) > 80


def test_case_changes_its_share_of_the_texts_in_one_of_three_ways():
    text = "The fox, ÉTÉ"
    changed = augment_texts([text] * 900, 0, 0, case=0.5)
    kinds = [changed.count(kind) for kind in (text, text.lower(), text.upper(), text.title())]
    assert sum(kinds) == 900
    assert abs(kinds[0] - 450) < 60
    assert all(abs(kind - 150) < 40 for kind in kinds[1:])


def test_word_dropout_leaves_out_its_share_of_words_and_of_ideographs():
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    english = augment_texts([" ".join(words)] * 300, 0, 0, word_dropout=0.2)
    assert sum(len(text.split()) for text in english) / 3000 == pytest.approx(0.8, abs=0.02)
    assert all(text == " ".join(word for word in words if word in text.split()) for text in english)
    chinese = augment_texts(["我昨天在北京的饭馆吃面"] * 300, 0, 0, word_dropout=0.2)
    assert sum(map(len, chinese)) / 3300 == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("text", ["abcdefghij", "我昨天在北京的饭馆吃"])
def test_typos_swap_drop_or_double_neighbours(text):
    kinds = {"swapped": 0, "dropped": 0, "doubled": 0, "same": 0}
    for changed in augment_texts([text] * 2000, 0, 0, typos=0.01):
        if changed == text:
            kinds["same"] += 1
        elif len(changed) == len(text) and sorted(changed) == sorted(text):
            kinds["swapped"] += 1
        elif len(changed) == len(text) - 1:
            kinds["dropped"] += 1
        elif len(changed) == len(text) + 1:
            kinds["doubled"] += 1
            assert any(changed[place] == changed[place + 1] for place in range(len(text)))
    assert kinds["same"] == pytest.approx(2000 * 0.99**10, abs=60)
    assert all(30 < kinds[kind] < 110 for kind in ("swapped", "dropped", "doubled"))


@pytest.mark.parametrize("options", [{"typos": 1.0}, {"word_dropout": 1.0}, {"typos": 1.0, "word_dropout": 1.0}])
@pytest.mark.parametrize("text", ["a", " a ", "ab cd", "我", "我 你", "!", "👍"])
def test_no_text_becomes_blank(text, options):
    for epoch in range(20):
        assert augment_texts([text], 0, epoch, **options)[0].strip()


def test_typos_never_touch_white_space():
    for changed in augment_texts(["a b\tc\n d"] * 100, 0, 0, typos=0.5):
        assert "".join(character for character in changed if character.isspace()) == " \t\n "


@pytest.mark.parametrize("name", ["case", "typos", "word_dropout"])
def test_a_share_outside_0_to_1_is_refused(name):
    with pytest.raises(InputError, match=f"`{name}` must be between 0 and 1"):
        augment_texts(["a"], 0, 0, **{name: 1.1})
