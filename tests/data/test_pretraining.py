"""Corpus files become masked batches: the contract, the parts, the end, the seed."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tfllm.checks import InputError
from tfllm.data import masked_lm_dataset, read_held_out
from tfllm.tokenizers import WordPieceTokenizer

WORDS = [f"w{number}" for number in range(400)]


@pytest.fixture(scope="module")
def tokenizer():
    """Every word of the corpus is its own token, and stands in one text only."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS])


@pytest.fixture
def corpus(tmp_path):
    """100 texts of two sentences of two words, half of them in a gzipped file."""
    texts = ["{} {}. {} {}.\n".format(*WORDS[start : start + 4]) for start in range(0, 400, 4)]
    (tmp_path / "a.txt").write_text("".join(texts[:50]), "utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as stream:
        stream.write("".join(texts[50:]))
    return str(tmp_path / "*")


def originals(dataset):
    """Ids of all words in the order of the rows, with the masks undone."""
    found = []
    for inputs, mask_ids, weights in dataset.as_numpy_iterator():
        token_ids = inputs["token_ids"].copy()
        row, slot = np.nonzero(weights)
        token_ids[row, inputs["mask_positions"][row, slot]] = mask_ids[row, slot]
        found += token_ids[token_ids > 5].tolist()
    return found


def test_batches_keep_the_contract_with_static_lengths(corpus, tokenizer):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4)
    inputs, mask_ids, weights = dataset.element_spec
    assert {name: (spec.shape.as_list()[1:], spec.dtype) for name, spec in inputs.items()} == {
        "token_ids": ([16], tf.int32),
        "segment_ids": ([16], tf.int32),
        "padding_mask": ([16], tf.int32),
        "mask_positions": ([3], tf.int32),
    }
    assert (mask_ids.shape.as_list()[1:], mask_ids.dtype) == ([3], tf.int32)
    assert (weights.shape.as_list()[1:], weights.dtype) == ([3], tf.float32)
    assert inputs["token_ids"].shape[0] == 4


def test_one_pass_holds_every_word_of_all_files_once_and_ends(corpus, tokenizer):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=4, repeat=False)
    assert sorted(originals(dataset)) == list(range(6, 406))


def test_train_and_held_out_are_disjoint_and_together_everything(corpus, tokenizer):
    train, held_out = (
        set(originals(masked_lm_dataset(corpus, tokenizer, part=part, held_out=0.3, repeat=False)))
        for part in ("train", "held-out")
    )
    assert not train & held_out
    assert train | held_out == set(range(6, 406))
    assert 0.15 < len(held_out) / 400 < 0.45
    texts = list(read_held_out(corpus, held_out=0.3))
    assert {token for ids in tokenizer.tokenize(texts).to_list() for token in ids if token > 5} == held_out


def test_the_part_of_a_text_does_not_depend_on_its_place(corpus, tmp_path):
    one_file = list(read_held_out(str(tmp_path / "a.txt"), held_out=0.3))
    assert set(one_file) < set(read_held_out(corpus, held_out=0.3))


def test_repeated_it_never_ends_and_gives_whole_batches_in_new_orders(corpus, tokenizer):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=30)
    assert [len(inputs["token_ids"]) for inputs, _, _ in dataset.take(5)] == [30] * 5
    found = originals(dataset.take(5))
    assert set(found) == set(range(6, 406))
    assert found[:400] != found[400:800]


@pytest.mark.parametrize("next_sentence", [True, *slow(False)])
def test_the_seed_decides_order_pairs_and_masks(corpus, tokenizer, next_sentence):
    def batches(seed):
        dataset = masked_lm_dataset(
            corpus, tokenizer, sequence_length=16, batch_size=8, next_sentence=next_sentence, seed=seed
        )
        return list(dataset.take(20).as_numpy_iterator())

    first = batches(1)
    tf.nest.map_structure(np.testing.assert_array_equal, first, batches(1))
    assert any(
        (one[0]["token_ids"] != other[0]["token_ids"]).any() for one, other in zip(first, batches(2), strict=True)
    )


def test_with_next_sentence_there_are_two_targets_and_weights(corpus, tokenizer):
    dataset = masked_lm_dataset(corpus, tokenizer, sequence_length=16, batch_size=8, next_sentence=True)
    inputs, targets, weights = next(dataset.as_numpy_iterator())
    assert set(inputs) == {"token_ids", "segment_ids", "padding_mask", "mask_positions"}
    assert {name: (value.shape, value.dtype.name) for name, value in targets.items()} == {
        "masked_lm": ((8, 3), "int32"),
        "next_sentence": ((8,), "int32"),
    }
    assert weights["masked_lm"].shape == (8, 3)
    np.testing.assert_array_equal(weights["next_sentence"], np.ones(8, np.float32))


def test_a_column_of_a_table_is_read(tmp_path, tokenizer):
    (tmp_path / "reviews.csv").write_text("id,review\n1,w1 w2\n2,w3\n", "utf-8")
    dataset = masked_lm_dataset(tmp_path / "reviews.csv", tokenizer, text_column="review", repeat=False)
    assert sorted(originals(dataset)) == [7, 8, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 7}, "`sequence_length` must be at least 8"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"part": "heldout"}, "`part` must be one of all, train, held-out"),
        ({"held_out": 1.5}, "`held_out` must be between 0 and 1"),
        ({"mask_rate": 0}, "mask rate"),
    ],
)
def test_bad_arguments_are_input_errors(corpus, tokenizer, arguments, message):
    with pytest.raises(InputError, match=message):
        masked_lm_dataset(corpus, tokenizer, **arguments)


def test_a_missing_or_empty_corpus_is_an_input_error_at_once(tmp_path, tokenizer):
    with pytest.raises(InputError, match=r"nothing\.txt"):
        masked_lm_dataset(tmp_path / "nothing.txt", tokenizer)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InputError, match="There is no document"):
        masked_lm_dataset(tmp_path / "empty.txt", tokenizer)


def test_a_malformed_text_further_on_is_quoted_with_its_place(tmp_path, tokenizer):
    (tmp_path / "bad.txt").write_bytes(b"w1 w2\n\xff\xfe w3\n")
    dataset = masked_lm_dataset(tmp_path / "bad.txt", tokenizer, repeat=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)InputError: .*bad\.txt:2"):
        list(dataset)
