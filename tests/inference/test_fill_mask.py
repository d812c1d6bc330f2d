"""Words for typed [MASK]s: where they stand, what fills them, whatever surrounds them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.samples import sample_path
from tfllm.inference import build_signatures, to_rows
from tfllm.inference.fill_mask import Words, decode, encode
from tfllm.models import add_masked_lm_head
from tfllm.tokenizers import train_sentencepiece

LENGTH = 16


@pytest.fixture(scope="module")
def model(make_encoder):
    keras.utils.set_random_seed(0)  # or the best word for a gap is another one in every run
    return add_masked_lm_head(make_encoder())


@pytest.fixture(scope="module")
def fill(model, tokenizer):
    function = build_signatures(model, tokenizer, LENGTH)["fill_mask"].function

    def fill(*texts):
        return {name: value.numpy() for name, value in function(text=tf.constant(texts)).items()}

    return fill


def encoded(tokenizer, *texts):
    gaps = encode(tf.constant(texts), tokenizer, LENGTH)
    rows = gaps.inputs["token_ids"].numpy(), gaps.inputs["padding_mask"].numpy()
    ids = [row[mask == 1].tolist() for row, mask in zip(*rows, strict=True)]
    return ids, gaps.inputs["mask_positions"].numpy().tolist(), gaps.count.numpy().tolist()


def test_a_typed_mask_becomes_the_mask_token_and_its_place_is_told(tokenizer):
    ids, positions, count = encoded(tokenizer, "the [MASK] was [MASK].", "good", "[MASK]", "bad[MASK]ly[MASK][MASK]")
    word = tokenizer.vocabulary.index
    mask, cls, sep = tokenizer.mask_id, tokenizer.cls_id, tokenizer.sep_id
    assert ids[0] == [cls, word("the"), mask, word("was"), mask, word("."), sep]
    assert ids[1] == [cls, word("good"), sep]
    assert ids[2] == [cls, mask, sep]
    assert ids[3][:3] == [cls, word("bad"), mask]
    assert ids[3][-3:] == [mask, mask, sep]
    assert count == [2, 0, 1, 3]
    assert [row[:number] for row, number in zip(positions, count, strict=True)] == [[2, 4], [], [1], [2, 4, 5]]


@pytest.mark.parametrize("before", [0, 3, 12, 13, 40])
@pytest.mark.parametrize("between", [0, 10, 11, 30])
def test_of_a_long_text_the_part_around_the_gaps_is_read(tokenizer, before, between):
    text = "a " * before + "[MASK] " + "b " * between + "[MASK]" + " c" * 40
    ids, positions, count = encoded(tokenizer, text)
    assert len(ids[0]) == LENGTH
    assert count == [2 if between <= LENGTH - 4 else 1]
    assert [ids[0][place] for place in positions[0][: count[0]]] == [tokenizer.mask_id] * count[0]
    if before == 40 and between == 0:
        assert ids[0].count(tokenizer.vocabulary.index("a")) == ids[0].count(tokenizer.vocabulary.index("c")) == 6


def test_words_are_those_of_the_model_and_their_scores_probabilities_among_words(model, tokenizer, fill):
    found = fill("the [MASK] was good")
    word = tokenizer.vocabulary.index
    ids = [[tokenizer.cls_id, word("the"), tokenizer.mask_id, word("was"), word("good"), tokenizer.sep_id]]
    inputs = {"token_ids": np.array(ids, "int32")}
    inputs |= {"segment_ids": np.zeros_like(inputs["token_ids"]), "padding_mask": np.ones_like(inputs["token_ids"])}
    logits = model.predict({**inputs, "mask_positions": np.array([[2]], "int32")}, verbose=0)[0, 0].astype("float64")
    logits[tokenizer.special_ids] = -np.inf
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = np.argsort(-probabilities)[:5]
    assert [name.decode() for name in found["words"][0, 0]] == [
        tokenizer.vocabulary[index].removeprefix("##") for index in best
    ]
    np.testing.assert_allclose(found["scores"][0, 0], probabilities[best], rtol=1e-3)


def test_texts_without_a_gap_have_none_and_come_back(fill):
    found = fill("the film was good", "", "[mask] [ MASK ]", "a [MASK]")
    assert found["count"].tolist() == [0, 0, 0, 1]
    assert found["filled"].tolist()[:3] == [b"the film was good", b"", b"[mask] [ MASK ]"]
    assert found["words"].shape == found["scores"].shape == (4, 1, 5)
    assert (found["words"][:3] == b"").all()
    assert (found["scores"][:3] == 0).all()


def test_malformed_utf8_comes_back_with_replacement_characters(fill):
    found = fill(b"\xff [MASK] \xe4\xbd")
    assert found["count"].tolist() == [1]
    filled = found["filled"][0].decode()
    assert filled.startswith("\ufffd ")
    assert filled.endswith(" \ufffd")


def filled_with(tokenizer, text, *words):
    """The text after a model for which these tokens are the best for its gaps."""
    gaps = encode(tf.constant([text]), tokenizer, LENGTH)
    logits = np.zeros((1, max(1, len(words)), tokenizer.vocabulary_size), "float32")
    for place, word in enumerate(words):
        logits[0, place, tokenizer.vocabulary.index(word)] = 9
    return decode(tf.constant(logits), gaps, Words(tokenizer))["filled"][0].numpy().decode()


@pytest.mark.parametrize(
    ("text", "words", "filled"),
    [
        ("the [MASK] was [MASK] !", ["film", "good"], "the film was good !"),
        ("bad [MASK] , good[MASK]", ["##ly", "##ly"], "badly , goodly"),
        ("[MASK] film[MASK]", ["the", "."], "the film."),
        ("你[MASK]，世[MASK]", ["好", "界"], "你好，世界"),
        ("[MASK][MASK]", ["a", "b"], "ab"),
        ("😀 \n[MASK]\t 😀", ["c"], "😀 \nc\t 😀"),
    ],
)
def test_the_best_words_stand_in_their_gaps_and_the_rest_is_as_it_was(tokenizer, text, words, filled):
    assert filled_with(tokenizer, text, *words) == filled


def test_gaps_the_model_does_not_see_stay(tokenizer):
    assert filled_with(tokenizer, "[MASK]" + " a" * 30 + " [MASK]", "the") == "the" + " a" * 30 + " [MASK]"


def test_no_special_token_byte_or_blank_is_a_word(tokenizer):
    pieces = train_sentencepiece(sample_path("text_en.txt").read_text("utf-8").split("\n"), vocabulary_size=400)
    for one in (tokenizer, pieces):
        words = Words(one)
        chosen = [one.vocabulary[index] for index in words.ids.numpy()]
        assert not set(chosen) & {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁", "<0x0A>", "<0xE4>"}
        shown = [word.decode() for word in tf.gather(words.words, words.ids).numpy()]
        assert not any(word.startswith(("▁", "##")) or not word.strip() for word in shown)
    assert filled_with(pieces, "I saw [MASK] man", "▁the") == "I saw the man"
    assert filled_with(pieces, "he walk [MASK]", "ed") == "he walked"


def test_a_row_tells_the_filled_text_and_the_words_of_each_gap(fill):
    text = "the [MASK] was [MASK]"
    found = fill(text, "good")
    rows = to_rows("fill_mask", {"text": [text, "good"]}, found)
    assert rows[1] == {"text": "good", "filled": "good", "gaps": []}
    assert [len(gap) for gap in rows[0]["gaps"]] == [5, 5]
    best = [gap[0]["word"] for gap in rows[0]["gaps"]]
    assert best == [word.decode() for word in found["words"][0, :, 0]]
    scores = [entry["score"] for entry in rows[0]["gaps"][0]]
    assert scores == sorted(scores, reverse=True)
