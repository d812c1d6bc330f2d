"""Records are read in a known order, from any batch, by any number of workers, and never when damaged."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.data import masked_lm_dataset, records_dataset, write_records
from tfllm.tokenizers import WordPieceTokenizer

WORDS = [f"w{number}" for number in range(400)]
SHARDS = 20


@pytest.fixture(scope="module")
def tokenizer():
    """Every word of the corpus is its own token, and stands in one text only."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "a.txt"
    file.write_text("".join("{} {} {} {}.\n".format(*WORDS[start : start + 4]) for start in range(0, 400, 4)), "utf-8")
    return file


def written(corpus, tokenizer, directory, **options):
    """20 shards of about five texts, three rows, each."""
    options = {"sequence_length": 16, "shard_megabytes": 0.001, "held_out": 0, "workers": 1, **options}
    write_records(corpus, tokenizer, directory, **options)
    return directory


@pytest.fixture(scope="module")
def records(corpus, tokenizer, tmp_path_factory):
    return written(corpus, tokenizer, tmp_path_factory.mktemp("records") / "r", shard_megabytes=0.001)


def rows(dataset):
    return [tuple(row) for batch in dataset.as_numpy_iterator() for row in batch["token_ids"]]


def same(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, list(one), list(other))


def test_a_batch_keeps_the_contract(records, tokenizer):
    dataset = records_dataset(records, tokenizer, batch_size=4)
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in dataset.element_spec.items()} == {
        name: ([4, 16], tf.int32) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    batch = next(dataset.as_numpy_iterator())
    np.testing.assert_array_equal(batch["padding_mask"] == 0, batch["token_ids"] == tokenizer.pad_id)
    assert batch["padding_mask"].max() == 2


def test_every_word_stands_in_each_epoch_once_and_the_epochs_differ(records, tokenizer):
    once = rows(records_dataset(records, tokenizer, batch_size=1, repeat=False))
    assert sorted(token for row in once for token in row if token > 5) == list(range(6, 406))
    twice = rows(records_dataset(records, tokenizer, batch_size=1, seed=3).take(2 * len(once)))
    first, second = twice[: len(once)], twice[len(once) :]
    assert sorted(first) == sorted(second) == sorted(once)
    assert len({tuple(first), tuple(second), tuple(once)}) == 3
    assert rows(records_dataset(records, tokenizer, batch_size=1, seed=4).take(len(once))) != first


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("start", [1, 6, 7, 40])
def test_from_batch_n_on_it_is_the_run_from_0(records, tokenizer, repeat, start):
    options = {"batch_size": 7, "repeat": repeat, "seed": 1}
    expected = records_dataset(records, tokenizer, **options).skip(start).take(5)
    same(
        expected.as_numpy_iterator(),
        records_dataset(records, tokenizer, **options, start_batch=start).take(5).as_numpy_iterator(),
    )


@pytest.mark.parametrize("kind", ["text", "records", "pairs"])
def test_masked_batches_from_n_on_are_those_of_the_run_from_0(corpus, records, tokenizer, kind):
    options = {"batch_size": 8, "seed": 5, "next_sentence": kind == "pairs", "sequence_length": 16}
    source = records if kind == "records" else corpus
    expected = masked_lm_dataset(source, tokenizer, **options).skip(9).take(6)
    found = masked_lm_dataset(source, tokenizer, **options, start_batch=9).take(6)
    same(expected.as_numpy_iterator(), found.as_numpy_iterator())


def test_skipping_reads_no_shard_that_is_not_used(corpus, tokenizer, tmp_path):
    directory = written(corpus, tokenizer, tmp_path / "r", shard_megabytes=0.0011)
    shards = json.loads((directory / "manifest.json").read_text())["shards"]
    first = sum(entry["rows"] for entry in list(shards.values())[:1])
    (directory / next(iter(shards))).unlink()
    assert rows(records_dataset(directory, tokenizer, batch_size=first, repeat=False, start_batch=1))


@pytest.mark.parametrize("repeat", [True, False])
def test_workers_share_the_batches_of_one_without_overlap_or_loss(records, tokenizer, repeat):
    def take(batch_size, **options):
        dataset = records_dataset(records, tokenizer, batch_size=batch_size, repeat=repeat, seed=2, **options)
        return [list(map(tuple, batch["token_ids"])) for batch in dataset.take(9).as_numpy_iterator()]

    alone = take(15)
    shared = [take(5, num_workers=3, worker_index=index) for index in range(3)]
    for number, batch in enumerate(alone):
        assert [row for worker in shared for row in (worker[number] if number < len(worker) else [])] == batch


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 4, "worker_index": 3}, {"start_batch": 3}, {"start_batch": 99}]
)
def test_one_pass_knows_its_length(records, tokenizer, options):
    dataset = records_dataset(records, tokenizer, batch_size=4, repeat=False, **options)
    assert int(dataset.cardinality()) == sum(1 for _ in dataset)


def test_parts_are_disjoint_and_together_everything(corpus, tokenizer, tmp_path):
    directory = written(corpus, tokenizer, tmp_path / "r", held_out=0.3)
    train, held_out = (
        {token for row in rows(records_dataset(directory, tokenizer, part=part, repeat=False)) for token in row}
        for part in ("train", "held-out")
    )
    assert train & held_out <= {0, 2, 3, 5}
    assert train | held_out == {0, 2, 3, 5, *range(6, 406)}
    from_text = masked_lm_dataset(corpus, tokenizer, part="held-out", held_out=0.3, repeat=False, sequence_length=16)
    from_records = masked_lm_dataset(directory, tokenizer, part="held-out", repeat=False)
    same(from_text.as_numpy_iterator(), from_records.as_numpy_iterator())


def _flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _truncate(file):
    file.write_bytes(file.read_bytes()[:-5])


def _remove(file):
    file.unlink()


def _forge_length(file):
    content = bytearray(file.read_bytes())
    content[0] ^= 255  # the first byte of the first record's length
    file.write_bytes(content)


def test_each_of_20_damaged_shards_ends_training_with_its_name(tokenizer, tmp_path):
    corpus = tmp_path / "a.txt"
    corpus.write_text("".join(f"{word} {'w1 ' * 340}\n" for word in WORDS[:SHARDS]), "utf-8")
    directory = written(corpus, tokenizer, tmp_path / "r", compression="none", shard_megabytes=0.001)
    shards = sorted(directory.glob("*.tfrecord"))
    assert len(shards) == SHARDS
    for number, shard in enumerate(shards):
        kept = shard.read_bytes()
        (_flip, _truncate, _remove, _forge_length)[number % 4](shard)
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"InputError: .*{shard.name} is .*write the records"):
            rows(records_dataset(directory, tokenizer, repeat=False))
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"InputError: .*{shard.name} is "):
            for _ in masked_lm_dataset(directory, tokenizer).take(2 * SHARDS):
                pass
        shard.write_bytes(kept)
    rows(records_dataset(directory, tokenizer, repeat=False))


def test_a_manifest_that_promises_other_rows_gives_none(corpus, tokenizer, tmp_path):
    directory = written(corpus, tokenizer, tmp_path / "r")
    found = manifest.read_manifest(directory, "records")
    name = next(iter(found["shards"]))
    found["shards"][name]["rows"] += 1
    manifest.write_manifest(directory, found)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{name} does not hold the rows"):
        rows(records_dataset(directory, tokenizer, repeat=False))


def test_what_does_not_fit_the_records_is_an_input_error(records, tokenizer, corpus, tmp_path):
    other = WordPieceTokenizer([*tokenizer.vocabulary, "more"])
    with pytest.raises(InputError, match="another tokenizer"):
        masked_lm_dataset(records, other)
    for options, message in [
        ({"sequence_length": 32}, "sequence_length=16"),
        ({"held_out": 0.5}, "held_out=0"),
        ({"next_sentence": True}, "sentence pairs"),
        ({"part": "held-out"}, "no rows in the part 'held-out'"),
        ({"start_batch": -1}, "`start_batch` must be at least 0"),
    ]:
        with pytest.raises(InputError, match=message):
            masked_lm_dataset(records, tokenizer, **options)
    with pytest.raises(InputError, match="alone"):
        masked_lm_dataset([str(records), str(corpus)], tokenizer)
    with pytest.raises(InputError, match="did not finish"):
        records_dataset(tmp_path, tokenizer)
    with pytest.raises(InputError, match="`worker_index` must be between 0 and 1"):
        records_dataset(records, tokenizer, num_workers=2, worker_index=2)
