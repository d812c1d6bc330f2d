"""Pairs of texts: read, packed side by side or a text a row, with cosines or with numbers that tell equal texts."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data.embedding import EmbeddingBatches, read_pair_table, scores_to_cosines
from tfllm.tokenizers import WordPieceTokenizer

TEXTS = ["the " * (1 + number % 9) + str(number) for number in range(60)]
PAIRS = ["a " * (1 + number % 7) + str(number) for number in range(60)]


def test_pairs_have_scores_only_where_a_column_of_scores_is_named(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("text,other,label,stars\na,b,entailment,2\nc,d,neutral,4\n", "utf-8")
    table = read_pair_table(file, text_pair="other")
    assert (table.texts, table.pairs, table.labels) == (["a", "c"], ["b", "d"], None)
    assert read_pair_table(file, text="text", text_pair="other", score="stars").labels == [2, 4]
    with pytest.raises(InputError, match="'entailment' is not a number"):
        read_pair_table(file, text="text", text_pair="other", score="label")


def test_scores_become_cosines_from_0_to_1():
    assert scores_to_cosines([1, 5, 2]).tolist() == [0, 1, 0.25]
    assert scores_to_cosines([1, 4], (0, 5)).tolist() == pytest.approx([0.2, 0.8])
    with pytest.raises(InputError, match="All scores are 3"):
        scores_to_cosines([3, 3])


def test_two_pairs_make_exactly_this_row(tiny_tokenizer):
    batches = EmbeddingBatches(["the", "a"], ["a a", "the"], tiny_tokenizer, batch_size=2)
    inputs, values, weights = next(iter(batches().as_numpy_iterator()))
    the, a = (tiny_tokenizer.vocabulary.index(word) for word in ("the", "a"))
    cls, sep = tiny_tokenizer.cls_id, tiny_tokenizer.sep_id
    assert inputs["token_ids"][0, :13].tolist() == [cls, the, sep, cls, a, a, sep, cls, a, sep, cls, the, sep]
    assert inputs["padding_mask"][0, :13].tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert not inputs["padding_mask"][0, 13:].any()
    assert not inputs["segment_ids"].any()
    assert values[0, :5].tolist() == [1, 3, 2, 1, 0]  # "the" is text 1 wherever it stands
    assert weights[0, :5].tolist() == [1, 1, 1, 1, 0]
    assert values.shape == weights.shape == (1, batches.texts_per_row)
    assert {value.dtype.name for value in [*inputs.values(), values]} == {"int32"}


@pytest.mark.parametrize("packed", [True, False])
def test_a_tokenizer_that_puts_pairs_into_one_segment_makes_the_same_batches(tiny_tokenizer, packed):
    twice = WordPieceTokenizer(tiny_tokenizer.vocabulary, pair_separators=2)
    lengths = {"packed": packed, "sequence_length": 10, "batch_size": 8}  # some pairs are cut
    both = [
        next(iter(EmbeddingBatches(TEXTS, PAIRS, tokenizer, **lengths)().as_numpy_iterator()))
        for tokenizer in (tiny_tokenizer, twice)
    ]
    for one, other in zip(*both, strict=True):
        np.testing.assert_equal(other, one)


def pairs_of(elements, packed):
    """((ids, value), (ids, value)) of every pair in the batches."""
    found = []
    for inputs, values, weights in elements:
        if packed:
            rows = zip(inputs["token_ids"], inputs["padding_mask"], values, weights, strict=True)
            texts = [
                (tuple(ids[mask == place + 1].tolist()), float(value))
                for ids, mask, row, row_weights in rows
                for place, value in enumerate(row[row_weights > 0])
            ]
        else:
            rows = zip(inputs["token_ids"], inputs["padding_mask"], values, strict=True)
            texts = [(tuple(ids[mask == 1].tolist()), float(value)) for ids, mask, value in rows]
        found += [(texts[place], texts[place + 1]) for place in range(0, len(texts), 2)]
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_a_pass_holds_every_pair_once_side_by_side_with_its_cosine(tiny_tokenizer, packed):
    cosines = np.arange(60, dtype="float32") / 60
    batches = EmbeddingBatches(TEXTS, PAIRS, tiny_tokenizer, cosines=cosines, packed=packed, batch_size=8, seed=3)
    found = pairs_of(batches().take(batches.epoch_steps + 1).as_numpy_iterator(), packed)[:60]
    wrapped = [tiny_tokenizer.wrap(tiny_tokenizer.tokenize(texts), 64).to_list() for texts in (TEXTS, PAIRS)]
    expected = [
        ((tuple(first), pytest.approx(float(cosine))), (tuple(second), pytest.approx(float(cosine))))
        for first, second, cosine in zip(*wrapped, cosines, strict=True)
    ]
    key = lambda pair: pair[0][0] + pair[1][0]  # noqa: E731
    assert sorted(found, key=key) == sorted(expected, key=key)


@pytest.mark.parametrize("packed", [True, False])
def test_batches_can_begin_at_any_one(tiny_tokenizer, packed):
    batches = EmbeddingBatches(TEXTS, PAIRS, tiny_tokenizer, packed=packed, batch_size=8)
    from_start = list(batches().take(5).as_numpy_iterator())[3:]
    for expected, found in zip(from_start, batches(3).take(2).as_numpy_iterator(), strict=True):
        for name, value in expected[0].items():
            np.testing.assert_array_equal(value, found[0][name])
        np.testing.assert_array_equal(expected[1], found[1])


@pytest.mark.parametrize("packed", [True, False])
def test_long_pairs_are_cut_to_the_row_the_longer_text_first(tiny_tokenizer, packed, caplog):
    batches = EmbeddingBatches(["the " * 90], ["a " * 7], tiny_tokenizer, packed=packed, sequence_length=64)
    (first, _), (second, _) = pairs_of(batches().take(1).as_numpy_iterator(), packed)[0]
    assert (len(first), len(second)) == (64 - 9, 9)
    assert "1 of 1 texts (100.0 %) are longer than 63 tokens" in caplog.text


def test_every_text_needs_a_partner_and_a_cosine(tiny_tokenizer):
    with pytest.raises(InputError, match="2 texts and 1 partners"):
        EmbeddingBatches(["a", "b"], ["c"], tiny_tokenizer)
    with pytest.raises(InputError, match="needs a partner"):
        EmbeddingBatches(["a"], ["c"], tiny_tokenizer, cosines=[1, 0])
