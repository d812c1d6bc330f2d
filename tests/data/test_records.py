"""Records are written whole: exact bytes, for any number of workers and after any crash, or an error that says why."""

import fcntl
import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfllm
from tfllm.checks import InputError
from tfllm.data import check_records, write_records
from tfllm.data.records_shards import padding_mask_of, read_shard
from tfllm.tokenizers import WordPieceTokenizer

WORDS = [f"w{number}" for number in range(400)]
TINY = {"sequence_length": 16, "shard_megabytes": 0.001, "held_out": 0.1, "workers": 1}


@pytest.fixture(scope="module")
def tokenizer():
    """Every word of the corpus is its own token: w0 is 6."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """500 texts of one to nine words."""
    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(WORDS, draw.integers(1, 10))) for _ in range(500)]
    file = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    file.write_text("\n".join(lines), "utf-8")
    return file


@pytest.fixture(scope="module")
def whole(corpus, tokenizer, tmp_path_factory):
    """What one uninterrupted worker writes."""
    directory = tmp_path_factory.mktemp("whole") / "records"
    write_records(corpus, tokenizer, directory, **TINY)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_a_tiny_corpus_becomes_exactly_these_bytes(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("w0 w1 w2\nw3\nw4 w5 w6 w7 w8 w9 w10\n", "utf-8")
    found = write_records(tmp_path / "a.txt", tokenizer, tmp_path / "r", sequence_length=9, held_out=0, workers=1)
    entry = found["shards"]["train-00000.tfrecord.gz"]
    assert {name: entry[name] for name in ("texts", "characters", "rows", "tokens")} == {
        "texts": 3, "characters": 31, "rows": 2, "tokens": 17,
    }  # fmt: skip
    rows = read_shard(tmp_path / "r" / "train-00000.tfrecord.gz", entry, "uint16", 9, "gzip")
    assert rows.dtype == np.uint16
    np.testing.assert_array_equal(rows, [[2, 10, 11, 12, 13, 14, 15, 16, 3], [2, 6, 7, 8, 3, 2, 9, 3, 0]])
    mask = padding_mask_of(tf.cast(rows, tf.int32), tokenizer.cls_id, tokenizer.pad_id)
    assert mask.dtype == tf.int32
    np.testing.assert_array_equal(mask, [[1] * 9, [1, 1, 1, 1, 1, 2, 2, 2, 0]])


def test_tensorflow_reads_the_shards_without_this_package(whole):
    files = sorted(str(file) for file in whole.glob("*.tfrecord.gz"))
    records = list(tf.data.TFRecordDataset(files, "GZIP").map(lambda record: tf.io.decode_raw(record, tf.uint16)))
    assert {tuple(record.shape) for record in records} == {(16,)}
    assert len(records) == sum(
        entry["rows"] for entry in json.loads((whole / "manifest.json").read_text())["shards"].values()
    )


def test_ids_take_four_bytes_when_two_do_not_hold_them(tmp_path):
    words = [f"v{number}" for number in range(2**16)]
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    (tmp_path / "a.txt").write_text(words[-1], "utf-8")
    options = {"sequence_length": 8, "held_out": 0, "compression": "none", "workers": 1}
    found = write_records(tmp_path / "a.txt", tokenizer, tmp_path / "r", **options)
    ((name, entry),) = found["shards"].items()
    np.testing.assert_array_equal(
        read_shard(tmp_path / "r" / name, entry, "int32", 8, "none"), [[2, 2**16 + 4, 3] + [0] * 5]
    )
    assert entry["bytes"] == 16 + 8 * 4


@pytest.mark.slow
def test_two_workers_killed_and_one_that_goes_on_write_what_one_writes(corpus, tokenizer, whole, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    program = (
        "import sys, psutil, tfllm\n"
        "def progress(stage, counts):\n"
        "    print(counts['shards'], *(child.pid for child in psutil.Process().children()), flush=True)\n"
        "    sys.stdin.readline()\n"
        "if __name__ == '__main__':\n"
        f"    tfllm.write_records(*sys.argv[1:], **{TINY | {'workers': 2}}, progress=progress)"
    )
    (tmp_path / "run.py").write_text(program, "utf-8")
    command = [sys.executable, tmp_path / "run.py", corpus, tmp_path / "tokenizer", tmp_path / "r"]
    environment = os.environ | {"PYTHONPATH": str(Path(tfllm.__file__).parent.parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as run:
        finished = 0
        while finished < 3:
            finished, *children = (int(number) for number in run.stdout.readline().split())
            run.stdin.write("\n")
            run.stdin.flush()
        run.kill()
    assert len(children) >= 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
    shards = sorted((tmp_path / "r").glob("*.tfrecord.gz"))
    assert 3 <= len(shards) < len(list(whole.glob("*.tfrecord.gz")))
    assert not (tmp_path / "r" / "manifest.json").exists()
    noted = tmp_path / "r" / ".unfinished" / "finished.jsonl"  # a shard without a line there is written anew
    name, _ = json.loads(noted.read_text("utf-8").strip().split("\n")[0])
    with open(noted, "a") as journal:
        journal.write('["train-000')  # a line cut off
    (tmp_path / "r" / ".train-00009.tfrecord.gz.1.unfinished").write_bytes(b"half")
    (finished,) = (shard for shard in shards if shard.name == name)
    before = finished.stat().st_mtime_ns
    write_records(corpus, tokenizer, tmp_path / "r", **TINY)
    assert finished.stat().st_mtime_ns == before
    assert contents(tmp_path / "r") == contents(whole)


def test_a_shard_lost_while_unfinished_is_written_again(corpus, tokenizer, whole, tmp_path):
    class Stop(Exception):
        pass

    def stop(stage, counts):
        if counts["shards"] == 4:
            raise Stop

    with pytest.raises(Stop):
        write_records(corpus, tokenizer, tmp_path / "r", **TINY, progress=stop)
    first, second = sorted((tmp_path / "r").glob("*.tfrecord.gz"))[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    write_records(corpus, tokenizer, tmp_path / "r", **TINY)
    assert contents(tmp_path / "r") == contents(whole)


def test_other_arguments_than_it_was_begun_with_are_named(corpus, tokenizer, tmp_path):
    def stop(stage, counts):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(corpus, tokenizer, tmp_path / "r", **TINY, progress=stop)
    other = WordPieceTokenizer([*tokenizer.vocabulary, "more"])
    with pytest.raises(InputError, match=r"different now: held_out \(0.1 then, 0.2 now\), the tokenizer\."):
        write_records(corpus, other, tmp_path / "r", **TINY | {"held_out": 0.2})
    write_records(corpus, tokenizer, tmp_path / "r", **TINY)
    assert write_records(corpus, tokenizer, tmp_path / "r", **TINY) == write_records(
        corpus, tokenizer, tmp_path / "r", **TINY
    )  # finished: nothing to do
    with pytest.raises(InputError, match="sequence_length"):
        write_records(corpus, tokenizer, tmp_path / "r", **TINY | {"sequence_length": 32})


def test_a_taken_directory_or_a_bad_argument_is_refused(corpus, tokenizer, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").touch()
    with pytest.raises(InputError, match="already exists"):
        write_records(corpus, tokenizer, tmp_path / "r")
    with pytest.raises(InputError, match="`deduplicate` must be one of none, exact, near"):
        write_records(corpus, tokenizer, tmp_path / "s", deduplicate="fuzzy")


def test_check_names_every_damaged_shard(whole, tmp_path):
    directory = tmp_path / "r"
    for name, content in contents(whole).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    assert check_records(directory)[1] == []
    damaged = sorted(directory.glob("train*.tfrecord.gz"))[:3]
    damaged[0].unlink()
    damaged[1].write_bytes(gzip.compress(b""))
    damaged[2].write_bytes(damaged[2].read_bytes()[::-1])
    faults = check_records(directory)[1]
    assert len(faults) == 3
    assert all(file.name in fault for file, fault in zip(damaged, faults, strict=True))


def test_texts_that_are_left_out_are_counted(tokenizer, tmp_path):
    lines = ["w0 w1 w2", "W0  w1 w2", "w3 w4", "w5", "w0 w1 w2"]
    (tmp_path / "a.txt").write_text("\n".join(lines), "utf-8")
    (tmp_path / "test.csv").write_text("text,label\nw5,w3\n", "utf-8")
    options = {"deduplicate": "exact", "remove_texts_of": tmp_path / "test.csv", "held_out": 0, "workers": 1}
    found = write_records(tmp_path / "a.txt", tokenizer, tmp_path / "r", **options)
    assert found["counts"] == {"texts": 5, "kept": 2, "repeated": 2, "quoting": 1}
    assert str(tmp_path / "test.csv") in found["inputs"]
    assert sum(entry["texts"] for entry in found["shards"].values()) == 2


def test_a_second_process_is_refused_by_a_lock_on_a_file_open_for_writing(corpus, tokenizer, whole, tmp_path):
    """NFS gives an exclusive lock on no other descriptor."""
    directory = tmp_path / "r"

    def progress(stage, counts):
        with pytest.raises(InputError, match="is being written by another process"):
            write_records(corpus, tokenizer, directory, **TINY)
        lock = os.stat(directory / ".unfinished" / "lock")
        descriptors = [int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
        (held,) = (number for number in descriptors if os.path.samestat(os.fstat(number), lock))
        assert fcntl.fcntl(held, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY

    write_records(corpus, tokenizer, directory, **TINY, progress=progress)
    assert contents(directory) == contents(whole)


def test_what_a_kill_after_the_manifest_left_is_removed_by_the_next_call(corpus, tokenizer, whole, tmp_path):
    write_records(corpus, tokenizer, tmp_path / "r", **TINY)
    (tmp_path / "r" / ".unfinished").mkdir()
    (tmp_path / "r" / ".unfinished" / "fingerprints-00000.npy").touch()
    write_records(corpus, tokenizer, tmp_path / "r", **TINY)
    assert contents(tmp_path / "r") == contents(whole)


def test_whatever_write_a_full_disk_stops_is_named_and_the_same_call_goes_on(corpus, tokenizer, tmp_path):
    """On a real file system of its own that grows page by page, so that every write finds it full in turn."""
    options = TINY | {"deduplicate": "exact", "compression": "none"}
    write_records(corpus, tokenizer, tmp_path / "whole", **options)
    mounted, stops = tmp_path / "small", []
    mounted.mkdir()
    if os.system(f"mount -t tmpfs -o size=4k tmpfs {mounted} 2>/dev/null"):
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        while not (mounted / "r" / "manifest.json").exists():
            try:
                write_records(corpus, tokenizer, mounted / "r", **options)
            except InputError as error:
                stops.append(str(error))
                left = [file.name for pattern in ("*tfrecord*", "*fingerprints*") for file in mounted.rglob(pattern)]
                assert not [name for name in left if name.endswith(".unfinished")]
            os.system(f"mount -o remount,size={4 * len(stops) + 4}k {mounted}")
        assert contents(mounted / "r") == contents(tmp_path / "whole")
    finally:
        os.system(f"umount {mounted}")
    said = "There is no room for {} in {} (No space left on device). Free some, and the same call goes on."
    assert said.format("fingerprints-00000.npy", mounted / "r" / ".unfinished") in stops
    assert said.format("train-00001.tfrecord", mounted / "r") in stops
    assert said.format("r", mounted) in stops
    assert all(stop.startswith("There is no room for ") for stop in stops)


def test_a_tokenizer_that_pads_with_the_end_of_a_text_is_refused(tmp_path):
    (tmp_path / "corpus.txt").write_text("w1 w2\n", "utf-8")
    vocabulary = ["[END]", "[UNK]", ".", *WORDS]
    special = {"pad": "[END]", "unk": "[UNK]", "cls": "[END]", "sep": "[END]"}
    gpt2_like = WordPieceTokenizer(vocabulary, special_tokens=special)
    with pytest.raises(InputError, match="pads with one that begins or ends a text, '\\[END\\]'"):
        write_records(tmp_path / "corpus.txt", gpt2_like, tmp_path / "records", **TINY)
