"""Records by Apache Beam: the same rows as from text, the same bytes from every run."""

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.data import check_records, records_dataset
from tfllm.tokenizers import WordPieceTokenizer

beam = pytest.importorskip("apache_beam", reason="needs apache-beam: pip install 'tfllm[beam]'")
beam_records = pytest.importorskip("tfllm.data.beam")

pytestmark = pytest.mark.filterwarnings("ignore")  # Beam's own
WORDS = [f"w{number}" for number in range(400)]
OPTIONS = {"num_shards": 3, "sequence_length": 16, "held_out": 0.2}


@pytest.fixture(scope="module")
def tokenizer():
    """Every word of the corpus is its own token, and stands in one text only."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS])


@pytest.fixture(scope="module")
def texts():
    return ["{} {}. {} {}.".format(*WORDS[start : start + 4]) for start in range(0, 400, 4)]


@pytest.fixture
def corpus(tmp_path, texts):
    (tmp_path / "a.txt").write_text("\n".join(texts[:70]), "utf-8")
    (tmp_path / "b.txt").write_text("\n".join(texts[70:]), "utf-8")
    (tmp_path / "empty.txt").touch()
    return [str(tmp_path / name) for name in ("a.txt", "b.txt", "empty.txt")]


def words(directory, tokenizer, part="all"):
    batches = records_dataset(directory, tokenizer, part=part, repeat=False).as_numpy_iterator()
    return sorted(np.concatenate([batch["token_ids"][batch["token_ids"] > 5] for batch in batches]).tolist())


def contents(directory):
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_every_word_is_there_once_and_the_reader_takes_it(corpus, tokenizer, tmp_path):
    found = beam_records.write_records(corpus, tokenizer, tmp_path / "r", **OPTIONS)
    assert words(tmp_path / "r", tokenizer) == list(range(6, 406))
    assert set(words(tmp_path / "r", tokenizer, "held-out")).isdisjoint(words(tmp_path / "r", tokenizer, "train"))
    assert check_records(tmp_path / "r")[1] == []
    assert sorted(found["shards"]) == ["held-out-00000.tfrecord.gz", *(f"train-0000{n}.tfrecord.gz" for n in range(3))]
    assert found["counts"] == {"texts": 100, "kept": 100, "quoting": 0, "repeated": 0}
    assert not (tmp_path / "r" / ".unfinished").exists()


def test_the_shards_do_not_depend_on_order_or_source(corpus, texts, tokenizer, tmp_path):
    beam_records.write_records(corpus, tokenizer, tmp_path / "a", **OPTIONS)
    beam_records.write_records(beam.Create(texts[::-1]), tokenizer, tmp_path / "b", **OPTIONS)
    one, other = (contents(tmp_path / name) for name in "ab")
    del one["manifest.json"], other["manifest.json"]  # it names the input files
    assert one == other


def test_a_run_that_failed_is_done_again_with_the_same_bytes(texts, tokenizer, tmp_path):
    def fail(text):
        if text == texts[60]:
            raise OSError("the network is gone")
        return text

    with pytest.raises(Exception, match="the network is gone"):
        beam_records.write_records(beam.Create(texts) | beam.Map(fail), tokenizer, tmp_path / "a", **OPTIONS)
    assert not (tmp_path / "a" / "manifest.json").exists()
    with pytest.raises(InputError, match=r"num_shards \(3 then, 4 now\)"):
        beam_records.write_records(beam.Create(texts), tokenizer, tmp_path / "a", **{**OPTIONS, "num_shards": 4})
    for name in "ab":
        beam_records.write_records(beam.Create(texts), tokenizer, tmp_path / name, **OPTIONS)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_source_is_never_taken_for_the_one_that_was_written(texts, tokenizer, tmp_path):
    def fail(text):
        if text == texts[1]:
            raise OSError("the network is gone")
        return text

    options = OPTIONS | {"num_shards": 40}
    beam_records.write_records(beam.Create(texts[:1]), tokenizer, tmp_path / "fresh", **options)
    with pytest.raises(Exception, match="the network is gone"):
        beam_records.write_records(beam.Create(texts) | beam.Map(fail), tokenizer, tmp_path / "r", **options)
    for left in ("counts", "shards"):
        (tmp_path / "r" / ".unfinished" / left / "train-00041.tfrecord.gz.json").write_text("{}")
    (tmp_path / "r" / "train-00041.tfrecord.gz").touch()
    beam_records.write_records(beam.Create(texts[:1]), tokenizer, tmp_path / "r", **options)
    assert contents(tmp_path / "r") == contents(tmp_path / "fresh")
    with pytest.raises(InputError, match="whether from this source nobody can tell"):
        beam_records.write_records(beam.Create(texts), tokenizer, tmp_path / "r", **options)


def test_files_that_were_written_are_not_written_again(corpus, tokenizer, tmp_path):
    found = beam_records.write_records(corpus, tokenizer, tmp_path / "r", **OPTIONS)
    assert beam_records.write_records(corpus, tokenizer, tmp_path / "r", **OPTIONS) == found


def test_repetitions_and_quotations_are_left_out_and_counted(texts, tokenizer, tmp_path):
    (tmp_path / "test.txt").write_text(texts[0], "utf-8")
    repeated = [*texts, texts[1].upper(), texts[2] + " ", texts[0]]
    options = {**OPTIONS, "deduplicate": "exact", "remove_texts_of": tmp_path / "test.txt"}
    found = beam_records.write_records(beam.Create(repeated), tokenizer, tmp_path / "r", **options)
    assert found["counts"] == {"texts": 103, "kept": 99, "quoting": 2, "repeated": 2}
    assert words(tmp_path / "r", tokenizer) == list(range(10, 406))
