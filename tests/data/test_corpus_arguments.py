"""What a corpus cannot be asked for is refused, and what a failed call made does not stay."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import masked_lm_dataset, read_texts, write_records

TEXTS = [f"the film was {'good ' * (number + 1)}." for number in range(30)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "a b 中文.txt"
    file.write_text("\n".join(TEXTS), "utf-8")
    return file


@pytest.fixture(scope="module")
def records(corpus, tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("records") / "r"
    write_records(corpus, tokenizer, directory, sequence_length=48, held_out=0.3, workers=1)
    return directory


def tokens(records, tokenizer, **options) -> int:
    batches = masked_lm_dataset(records, tokenizer, batch_size=1, repeat=False, **options)
    return sum(int(np.count_nonzero(inputs["padding_mask"])) for inputs, *_ in batches.as_numpy_iterator())


def test_records_give_all_rows_for_training_when_nothing_is_to_be_held_out(records, tokenizer):
    parts = [tokens(records, tokenizer, part=part) for part in ("train", "held-out")]
    assert min(parts) > 0
    assert tokens(records, tokenizer, part="train", held_out=0) == sum(parts)


@pytest.mark.parametrize(
    ("name", "value"), [("text_column", "a"), ("document", "file"), ("encoding", "latin-1"), ("on_bad_rows", "skip")]
)
def test_how_text_is_read_says_nothing_to_records(records, tokenizer, name, value):
    with pytest.raises(InputError, match=f"`{name}` says how text files are read"):
        masked_lm_dataset(records, tokenizer, **{name: value})


def test_records_that_are_unfinished_or_have_lost_their_manifest_are_not_taken_for_text(
    corpus, tokenizer, tmp_path, records
):
    def stop(stage, counts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(corpus, tokenizer, tmp_path / "r", shard_megabytes=0.001, workers=1, progress=stop)
    with pytest.raises(InputError, match="did not finish"):
        masked_lm_dataset(tmp_path / "r", tokenizer)
    (tmp_path / "damaged").mkdir()
    for shard in records.glob("*.tfrecord.gz"):
        (tmp_path / "damaged" / shard.name).write_bytes(shard.read_bytes())
    (tmp_path / "damaged" / "manifest.json").write_text('{"kind": "rec')
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        masked_lm_dataset(tmp_path / "damaged", tokenizer)


def test_a_column_of_plain_text_and_a_table_as_one_document_are_refused(corpus, tmp_path):
    (tmp_path / "table.csv").write_text("text\ngood\n")
    with pytest.raises(InputError, match="plain text has none"):
        read_texts(corpus, "text")
    with pytest.raises(InputError, match="each a document"):
        read_texts(tmp_path / "table.csv", document="file")
    both = [corpus, tmp_path / "table.csv"]
    assert len(list(read_texts(both, "text", document="file"))) == 2


def test_a_corpus_that_cannot_be_read_leaves_no_records_behind(tokenizer, tmp_path):
    (tmp_path / "corpus.txt").write_bytes("\n".join(TEXTS).encode() + b"\nbad \xff\n")
    with pytest.raises(InputError, match="is not valid UTF-8"):
        write_records(tmp_path / "corpus.txt", tokenizer, tmp_path / "r", workers=1)
    assert not (tmp_path / "r").exists()
    with pytest.raises(InputError, match="is not valid UTF-8"):
        write_records(tmp_path / "corpus.txt", tokenizer, tmp_path / "r", workers=1, shard_megabytes=0.001)
    assert list((tmp_path / "r").glob("train-*"))  # mended, the text would be another; these shards are of the first
