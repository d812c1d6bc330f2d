"""Packed pairs of sources and targets: an exact row, every pair once a pass, from any batch, cuts reported."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import Seq2SeqBatches, read_seq2seq_table
from tfllm.data.packing import best_fit_pairs

SOURCES = [" ".join(["a"] * (1 + number % 20)) + f" {number}" for number in range(120)]
TARGETS = [" ".join(["b"] * (1 + number % 9)) + f" {number}" for number in range(120)]


def make(tokenizer, sources=SOURCES, targets=TARGETS, **arguments):
    arguments = {"sequence_length": 64, "target_length": 64, "batch_size": 16, **arguments}
    return Seq2SeqBatches(sources, targets, tokenizer, **arguments)


def pairs_of(elements):
    """(source ids, target ids, next ids) of every pair in the batches."""
    found = []
    for inputs, next_ids, weights in elements:
        assert (weights == (inputs["padding_mask"] > 0)).all()
        columns = (inputs["source_ids"], inputs["source_mask"], inputs["token_ids"], inputs["padding_mask"], next_ids)
        for source, source_mask, target, mask, following in zip(*columns, strict=True):
            assert source_mask.max() == mask.max()
            for number in range(1, mask.max() + 1):
                here = mask == number
                ids = source[source_mask == number], target[here], following[here]
                found.append(tuple(tuple(part.tolist()) for part in ids))
    return found


def test_two_files_that_were_pasted_together_are_read_line_by_line(tmp_path):
    sources, targets = ['"One" man.', "two's", 'a "dog', "x,y"], ["„Ein“ Mann.", '"', "Hund", ";"]
    lines = ["\t".join(pair) for pair in zip(sources, targets, strict=True)]
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    table = read_seq2seq_table(tmp_path / "train.tsv", source="0", target="1")
    assert (table.texts, table.pairs) == (sources, targets)


def test_a_tiny_data_set_gives_exactly_this_row(tokenizer):
    batches = make(tokenizer, ["a b", "c"], ["the film", "good"], batch_size=2)
    ((inputs, next_ids, weights),) = batches.once().as_numpy_iterator()
    a, b, c, the, film, good = (tokenizer.vocabulary.index(word) for word in ("a", "b", "c", "the", "film", "good"))
    cls, sep, pad = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
    rest = inputs["source_ids"].shape[1] - 7, inputs["token_ids"].shape[1] - 5
    assert inputs["source_ids"][0].tolist() == [cls, a, b, sep, cls, c, sep] + [pad] * rest[0]
    assert inputs["source_mask"][0].tolist() == [1, 1, 1, 1, 2, 2, 2] + [0] * rest[0]
    assert inputs["token_ids"][0].tolist() == [cls, the, film, cls, good] + [pad] * rest[1]
    assert inputs["padding_mask"][0].tolist() == [1, 1, 1, 2, 2] + [0] * rest[1]
    assert next_ids[0].tolist() == [the, film, sep, good, sep] + [0] * rest[1]
    assert weights[0].tolist() == [1] * 5 + [0] * rest[1]


def test_a_pass_holds_every_pair_once_and_the_next_pass_in_another_order(tiny_tokenizer):
    batches = make(tiny_tokenizer)
    once = pairs_of(batches.once().as_numpy_iterator())
    wanted = Counter(
        (tuple(source), (tiny_tokenizer.cls_id, *target), (*target, tiny_tokenizer.sep_id))
        for source, target in zip(
            tiny_tokenizer.wrap(tiny_tokenizer.tokenize(SOURCES), 64).to_list(),
            tiny_tokenizer.tokenize(TARGETS).to_list(),
            strict=True,
        )
    )
    assert Counter(once) == wanted
    elements = list(batches().take(2 * batches.epoch_steps).as_numpy_iterator())
    first, second = (pairs_of(part) for part in (elements[: batches.epoch_steps], elements[batches.epoch_steps :]))
    assert first[:20] != second[:20]
    assert len(set(first) & set(wanted)) > 0.9 * len(wanted)


def test_any_batch_can_be_the_first(tiny_tokenizer):
    batches = make(tiny_tokenizer)
    whole = list(batches().take(3 * batches.epoch_steps).as_numpy_iterator())
    for start in (1, batches.epoch_steps, 2 * batches.epoch_steps + 1):
        for later, here in zip(whole[start:], batches(start).as_numpy_iterator(), strict=False):
            for one, other in zip(
                itertools.chain(later[0].values(), later[1:]), [*here[0].values(), *here[1:]], strict=True
            ):
                np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_order(tiny_tokenizer):
    one, other = (pairs_of(make(tiny_tokenizer, seed=seed)().take(1).as_numpy_iterator()) for seed in (0, 1))
    assert one != other


def test_rows_are_nearly_full_of_sources_and_of_targets(tiny_tokenizer):
    random = np.random.default_rng(0)
    sources, targets = (
        [" ".join("ab"[n % 2] for n in range(length)) for length in column]
        for column in random.integers(3, 40, (2, 600))
    )
    batches = make(tiny_tokenizer, sources, targets, batch_size=64)
    filled = [
        ((inputs["source_mask"] > 0).mean(), weights.mean())
        for inputs, _, weights in batches().take(batches.epoch_steps - 1).as_numpy_iterator()
    ]
    assert np.mean(filled, axis=0).min() > 0.8


def test_texts_that_are_cut_are_counted(tiny_tokenizer, caplog):
    batches = make(tiny_tokenizer, ["a b c d e", "a"], ["a", "a b c d e f"], sequence_length=5, target_length=6)
    assert "1 of 2 sources (50.0 %) are longer than 5 tokens" in caplog.text
    assert "1 of 2 targets (50.0 %) are longer than 6 tokens" in caplog.text
    pairs = pairs_of(batches.once().as_numpy_iterator())
    assert max(len(source) for source, _, _ in pairs) == 5
    assert all(following[-1] == tiny_tokenizer.sep_id for _, _, following in pairs)


def test_a_source_without_a_target_is_refused(tiny_tokenizer):
    with pytest.raises(InputError, match="2 sources and 1 targets"):
        make(tiny_tokenizer, ["a", "b"], ["c"])
    with pytest.raises(InputError, match="0 sources"):
        make(tiny_tokenizer, [], [])


def test_pairs_fill_rows_in_both_parts():
    sizes = np.array([[6, 1], [1, 6], [3, 3], [4, 4]])
    rows = best_fit_pairs(sizes, np.array([7, 7]))
    assert sorted(map(sorted, rows)) == [[0, 1], [2, 3]]


def test_columns_are_source_and_target_unless_others_are_named(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"source": "a", "target": "x", "de": "y"}\n', "utf-8")
    assert read_seq2seq_table(file).pairs == ["x"]
    assert read_seq2seq_table(file, target="de").pairs == ["y"]
    with pytest.raises(InputError, match="no column 'fr'"):
        read_seq2seq_table(file, target="fr")
