"""Every token gets its tag: in words and inside them, in windows of long texts, in batches."""

import logging

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import TaggedTexts, tagging_batches
from tfllm.data.spans import Span
from tfllm.data.tagging import encode_tagged, has_whole_words
from tfllm.tags import make_tags


def make_rows(*texts, kind="entities"):
    """Rows of texts in which `[LOC|Turin]` is a span."""
    rows = TaggedTexts(kind, [], [], None, [])
    for number, marked in enumerate(texts):
        text, spans = "", []
        for part in marked.replace("[", "\0[").replace("]", "]\0").split("\0"):
            if part.startswith("["):
                label, part = part[1:-1].split("|")
                spans.append(Span(len(text), len(text) + len(part), label))
            text += part
        rows.texts.append(text)
        rows.spans.append(spans)
        rows.places.append(f"a:{number}")
    return rows


def tagged(rows, tokenizer, labels=("LOC", "PER"), sequence_length=16):
    """(token, tag) of every token with a weight, and the tokens of each row."""
    encoded, targets = encode_tagged(rows, tokenizer, labels, sequence_length)
    names = make_tags(labels, rows.kind).names
    ids, weights = encoded.token_ids.values.numpy(), targets._weights
    assert targets.values.dtype == ids.dtype == np.int32 and weights.dtype == np.float32
    found = [
        f"{tokenizer.vocabulary[token]}/{names[tag]}"
        for token, tag, weight in zip(ids, targets.values, weights, strict=True)
        if weight
    ]
    return found, [[tokenizer.vocabulary[token] for token in row] for row in encoded.token_ids.to_list()]


def test_entities_become_iob2_tags_of_tokens(tokenizer):
    rows = make_rows("the [LOC|badly] [LOC|good] film", "[PER|世界]好")
    found, whole = tagged(rows, tokenizer)
    assert found == ["the/O", "bad/B-LOC", "##ly/I-LOC", "good/B-LOC", "film/O", "世/B-PER", "界/I-PER", "好/O"]
    assert whole == [["[CLS]", "the", "bad", "##ly", "good", "film", "[SEP]"], ["[CLS]", "世", "界", "好", "[SEP]"]]


def test_an_entity_may_begin_and_end_inside_a_word_and_inside_a_token(tokenizer):
    assert tagged(make_rows("bad[LOC|ly]"), tokenizer)[0] == ["bad/O", "##ly/B-LOC"]
    assert tagged(make_rows("ba[LOC|dl]y good"), tokenizer)[0] == ["bad/B-LOC", "##ly/I-LOC", "good/O"]
    assert tagged(make_rows("[PER|g][LOC|ood]"), tokenizer)[0] == ["good/B-LOC"]


def test_words_are_tagged_with_where_they_begin(tokenizer):
    rows = make_rows("[LOC|the] [PER|badly][LOC|世界] . good", kind="words")
    assert tagged(rows, tokenizer)[0] == ["the/LOC", "bad/PER", "##ly/+", "世/LOC", "界/+"]  # in no word: not learnt


def test_a_words_first_token_speaks_for_it_where_words_are_whole(tokenizer):
    rows = make_rows("the [LOC|badly] good badly", "[PER|世界]好")
    encoded, targets = encode_tagged(rows, tokenizer, ["LOC", "PER"], 16, whole_words=True)
    assert encoded.token_ids.row_lengths().numpy().tolist() == [8, 5]
    assert targets.values.tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 0, 3, 4, 0, 0]
    assert targets._weights.tolist() == [0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0]


def test_words_are_whole_where_hardly_any_span_begins_or_ends_inside_one():
    assert has_whole_words(make_rows("the [LOC|badly] [PER|good], [LOC|世][PER|界] ([LOC|a b])"))
    assert not has_whole_words(make_rows("the [LOC|bad]ly"))
    assert not has_whole_words(make_rows("the bad[LOC|ly]"))
    assert has_whole_words(make_rows("the bad[LOC|ly]", *["[LOC|a] [LOC|b]"] * 60))


def test_long_texts_are_cut_into_windows_and_every_token_counts_once(tokenizer, caplog):
    caplog.set_level(logging.INFO, "tfllm")
    rows = make_rows("a [LOC|b c good] bad the", "a")
    found, whole = tagged(rows, tokenizer, sequence_length=6)
    assert found == ["a/O", "b/B-LOC", "c/I-LOC", "good/I-LOC", "bad/O", "the/O", "a/O"]
    assert whole == [
        ["[CLS]", *"abc", "good", "[SEP]"],
        ["[CLS]", "good", "bad", "the", "[SEP]"],
        ["[CLS]", "a", "[SEP]"],
    ]
    assert caplog.messages == ["1 of 2 texts are longer than 6 tokens: cut into windows."]


def test_what_has_no_token_of_its_own_is_said(tokenizer, caplog):
    tagged(make_rows("[PER|g][LOC|ood] [LOC|\u200b]"), tokenizer)
    assert caplog.messages == ["2 entities have no token of their own and cannot be learnt."]


def test_a_label_that_is_none_and_a_bad_argument_are_input_errors(tokenizer):
    with pytest.raises(InputError, match="a:0: 'LOX' is not one of the labels LOC, PER"):
        tagged(make_rows("[LOX|a]"), tokenizer)
    with pytest.raises(InputError, match="sequence_length"):
        tagged(make_rows("[LOC|a]"), tokenizer, sequence_length=2)


@pytest.mark.parametrize("packed", [True, False])
def test_batches_hold_every_token_once_a_pass(tokenizer, packed):
    rows = make_rows(*["the [LOC|film]", "[PER|good] a b c", "good " * 30] * 10)
    batches = tagging_batches(rows, tokenizer, labels=["LOC", "PER"], packed=packed, sequence_length=16, batch_size=8)
    tokens = first = 0
    for inputs, values, weights in batches().take(batches.epoch_steps).as_numpy_iterator():
        assert values.shape == weights.shape == inputs["token_ids"].shape
        assert not weights[inputs["padding_mask"] == 0].any()
        assert set(np.unique(weights)) <= {0.0, 1.0}
        tokens, first = tokens + weights.sum(), first + (weights * np.isin(values, [1, 3])).sum()
    assert (tokens, first) == (10 * (2 + 4 + 30), 20)
