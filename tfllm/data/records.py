"""A corpus of any size -> a directory of records: tokenised and packed rows in shards, written once, read in every run.

In: corpus files and a tokenizer. Out: DIR/train-00000.tfrecord.gz, ..., DIR/held-out-00000.tfrecord.gz, ...,
DIR/tokenizer and, when all is done, DIR/manifest.json.

While it is written, DIR/.unfinished holds what is needed to go on after a crash: `request.json`, what was asked for;
`finished.jsonl`, an entry for each shard that stands; fingerprints of the texts, if some are to be left out.
"""

import contextlib
import fcntl
import functools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.data import cleaning
from tfllm.data.records_shards import (
    COMPRESSIONS,
    KIND,
    checked_bytes,
    enough_room,
    id_type,
    sync,
    tokenizer_hash,
    write_shard,
    written_beside,
)
from tfllm.data.records_workers import Workers, processors
from tfllm.data.sources import expand_paths, read_texts
from tfllm.data.splits import is_held_out
from tfllm.tokenizers import Tokenizer, load_tokenizer

WORK = ".unfinished"
_PARTS = ("train", "held-out")


def write_records(
    corpus: str | Path | Sequence[str | Path],
    tokenizer: Tokenizer | str | Path,
    directory: str | Path,
    *,
    sequence_length: int = 128,
    held_out: float = 0.01,
    deduplicate: str = "none",
    remove_texts_of: str | Path | Sequence[str | Path] | None = None,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    shard_megabytes: float = 8.0,
    compression: str = "gzip",
    workers: int | None = None,
    progress: Callable[[str, dict], None] | None = None,
) -> dict:
    """Tokenise and pack a corpus once, for `masked_lm_dataset` and `records_dataset` to read.

    Memory does not grow with the corpus, but for an entry of 1 kB a shard and what `deduplicate` and `remove_texts_of`
    take: see docs/records.md.
    Killed at any instant and called again with the same arguments, it keeps the shards that stand and goes on. The
    bytes depend on the arguments and the versions of tfllm and TensorFlow, not on `workers` or on restarts.

    Args:
        corpus: files, globs or directories, as `read_texts` takes them.
        tokenizer: a tokenizer or its directory.
        directory: where the records shall stand: free, or left unfinished by a call with the same arguments.
        sequence_length: T, tokens in a row.
        held_out: share of the texts for the "held-out" part, 0 to 1. A text's own hash decides.
        deduplicate: "exact" leaves out texts that repeat an earlier one but for case, width and white space; "near"
            also those that nearly do (three quarters of their runs of five words or Chinese characters).
        remove_texts_of: evaluation files. Texts that quote 13 words (Chinese characters) in a row of any of their
            cells are left out, and texts that are nothing but a shorter cell.
        text_column, document, encoding, on_bad_rows: how the corpus is read, see `read_texts`.
        shard_megabytes: text that goes into a shard, as UTF-8. A worker takes some ten times this in memory.
        compression: "gzip" or "none".
        workers: processes; default: one for each processor.
        progress: called with a stage ("cleaning", "writing") and its counts whenever some are new.

    Returns:
        The manifest: `shards` (texts, characters, rows, tokens, bytes, sha256 of each) and `counts` are in it.

    Raises:
        InputError: for a bad argument, a corpus that cannot be read, a directory that was begun otherwise, a full disk.

    Source: evaluation texts as in Brown et al. 2020, arXiv:2005.14165, appendix C; near repetitions by MinHash with
    the numbers of Penedo et al. 2024, arXiv:2406.17557. Differs: the whole text goes, not 200 characters about the
    quotation; a frequent 13-gram counts like any; Chinese is compared by characters.
    """
    checks.check_one_of("deduplicate", deduplicate, cleaning.DEDUPLICATE)
    checks.check_between("shard_megabytes", shard_megabytes, 0.001, 1000)
    workers = processors() if workers is None else workers
    checks.check_at_least("workers", workers, 1)
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    if tokenizer.pad_id in (tokenizer.cls_id, tokenizer.sep_id):
        raise InputError(
            "In records, padding is told from text by its token, and this tokenizer pads with one that begins or ends "
            f"a text, {tokenizer.special_tokens['pad']!r}. Train on the text files themselves."
        )
    reading = {"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows}
    next(read_texts(corpus, **reading))
    evaluation_files = expand_paths(remove_texts_of) if remove_texts_of else []
    arguments = {
        "sequence_length": sequence_length,
        "held_out": held_out,
        "deduplicate": deduplicate,
        "remove_texts_of": [str(source) for source in evaluation_files],
        **reading,
        "shard_megabytes": shard_megabytes,
        "compression": compression,
    }
    request = make_request(arguments, tokenizer, [*expand_paths(corpus), *evaluation_files])
    directory = Path(directory)
    with enough_room(directory), opened(directory, request) as finished_before:
        if finished_before is not None:
            return finished_before
        if not (directory / "tokenizer").exists():
            tokenizer.save(directory / "tokenizer")
        report = progress or (lambda stage, counts: None)
        texts = functools.partial(read_texts, corpus, **reading)
        with Workers(workers) as pool:
            reasons = None
            if deduplicate != "none" or evaluation_files:
                fingerprint = cleaning.Fingerprinter(deduplicate, cleaning.read_quotes(remove_texts_of, encoding))
                reasons = _reasons(directory, texts(), fingerprint, request, pool, report)
            entries, counts = _write_shards(directory, texts(), reasons, request, pool, report)
        return write_manifest(directory, request, entries, counts)


def make_request(arguments: dict, tokenizer: Tokenizer, sources: Sequence) -> dict:
    """All that decides the bytes of records, as the manifest keeps it: arguments, tokenizer, input files, versions."""
    checks.check_at_least("sequence_length", arguments["sequence_length"], 8)
    checks.check_between("held_out", arguments["held_out"], 0, 1)
    checks.check_one_of("compression", arguments["compression"], COMPRESSIONS)
    return {
        "arguments": {**arguments, "id_type": id_type(tokenizer.vocabulary_size)},
        "tokenizer": tokenizer_hash(tokenizer),
        "inputs": {str(source): manifest.hash_file(source) for source in sources if isinstance(source, Path)},
        "versions": manifest.versions(),
    }


@contextlib.contextmanager
def opened(directory: Path, request: dict) -> Iterator[dict | None]:
    """Hold the directory for this process; gives its manifest if the same request was finished there before."""
    work = directory / WORK
    finished = _finished(directory, request)
    if finished is None:
        if not work.is_dir():
            manifest.check_free(directory)
        work.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            finished = _finished(directory, request)  # by a process that held the lock until now
            if finished is None:
                _begin(directory, request)
                try:
                    yield None
                except BaseException:
                    _leave_if_worth(directory)
                    raise
    if finished is not None:
        yield finished
    shutil.rmtree(work, ignore_errors=True)  # the lock's file is closed by now: NFS would keep it


def _leave_if_worth(directory: Path) -> None:
    """Remove what a call that failed has made, unless shards or fingerprints stand, from which it may go on."""
    work = directory / WORK
    if any(directory.glob("*.tfrecord*")) or any(work.glob("fingerprints-*")):
        return
    for made in (directory / "tokenizer", work):
        shutil.rmtree(made, ignore_errors=True)
    with contextlib.suppress(OSError):  # somebody has put something else there
        directory.rmdir()


def _finished(directory: Path, request: dict) -> dict | None:
    """The manifest of a directory in which this request is finished, None if none is; InputError if another is."""
    if not (directory / manifest.FILE_NAME).is_file():
        return None
    finished = manifest.read_manifest(directory, KIND)
    _check_same(directory, finished, request)
    return finished


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process that holds it."""
    with open(directory / WORK / "lock", "a") as file:  # NFS locks no file that is open for reading only
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{directory} is being written by another process. Wait for it.") from None
        yield


def _begin(directory: Path, request: dict) -> None:
    """Note the request, or check that it is the one that was noted; remove what a crash left half written."""
    noted = directory / WORK / "request.json"
    if noted.is_file():
        _check_same(directory, json.loads(noted.read_text("utf-8")), request)
    else:
        manifest.write_json(noted, request)
    for left in directory.glob(".*.unfinished"):
        left.unlink() if left.is_file() else shutil.rmtree(left)


def _check_same(directory: Path, before: dict, request: dict) -> None:
    """Raise InputError that says what differs from the request that began the directory."""
    differences = []
    for group in ("arguments", "inputs", "versions"):
        old, new = before[group], request[group]
        for name in sorted({*old, *new}):
            if old.get(name) != new.get(name):
                values = "" if group == "inputs" else f" ({old.get(name)!r} then, {new.get(name)!r} now)"
                differences.append(f"{name}{values}")
    if before["tokenizer"] != request["tokenizer"]:
        differences.append("the tokenizer")
    if differences:
        raise InputError(
            f"{directory} was begun otherwise; different now: {', '.join(differences)}. "
            "Ask for the same again to go on, choose another place, or remove it first."
        )


def _reasons(
    directory: Path, texts: Iterator[str], fingerprint: cleaning.Fingerprinter, request: dict, pool: Workers, report
) -> np.ndarray:
    """Why each text of the corpus is left out; its fingerprints are kept, chunk by chunk, for a restart."""
    limit = request["arguments"]["shard_megabytes"] * 1e6
    sizes, done = [], Counter()

    def tasks() -> Iterator[tuple]:
        for number, chunk in enumerate(_chunks(texts, limit)):
            sizes.append(len(chunk))
            file = _fingerprints(directory, number)
            if file.is_file():
                done["texts"] += len(chunk)
            else:
                yield fingerprint, file, chunk

    for size in pool.run(_write_fingerprints, tasks()):
        done["texts"] += size
        report("cleaning", done)
    files = [_fingerprints(directory, number) for number in range(len(sizes))]
    columns = (
        np.concatenate([np.load(file, mmap_mode="r")[:, column] for file in files])
        for column in range(np.load(files[0], mmap_mode="r").shape[1])
    )
    return cleaning.left_out(columns, sum(sizes), request["arguments"]["deduplicate"])


def _fingerprints(directory: Path, number: int) -> Path:
    return directory / WORK / f"fingerprints-{number:05}.npy"


def _write_fingerprints(fingerprint: cleaning.Fingerprinter, file: Path, texts: list[str]) -> int:
    with written_beside(file) as beside, open(beside, "wb") as stream:
        np.save(stream, np.asfortranarray(fingerprint(texts)))
    return len(texts)


def _chunks(texts: Iterator[str], limit: float) -> Iterator[list[str]]:
    """Consecutive texts, `limit` bytes together or a little more."""
    chunk, size = [], 0
    for text in texts:
        chunk.append(text)
        size += len(text.encode())
        if size >= limit:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _write_shards(
    directory: Path, texts: Iterator[str], reasons: np.ndarray | None, request: dict, pool: Workers, report
) -> tuple[dict[str, dict], dict[str, int]]:
    """Write the shards that do not stand yet; the entries of all, and how many texts came and went."""
    arguments = request["arguments"]
    counts, done = Counter(), Counter()

    def kept() -> Iterator[str]:
        for number, text in enumerate(texts):
            counts["texts"] += 1
            reason = cleaning.KEPT if reasons is None else reasons[number]
            counts[cleaning.REASONS[reason]] += 1
            if reason == cleaning.KEPT:
                yield text

    def tasks() -> Iterator[tuple]:
        for name, chunk in _shards(kept(), arguments):
            if name in entries:
                _add(done, entries[name])
            else:
                yield name, directory, request, chunk

    with _journal(directory) as (entries, record):
        for name, entry in pool.run(write_named_shard, tasks()):
            record(name, entry)
            _add(done, entry)
            report("writing", done)
    return dict(sorted(entries.items())), dict(counts)


def _add(done: Counter, entry: dict) -> None:
    done.update({"shards": 1} | {name: entry[name] for name in ("texts", "characters", "rows", "tokens", "bytes")})


def _shards(texts: Iterator[str], arguments: dict) -> Iterator[tuple[str, list[str]]]:
    """File names and texts of all shards; each part fills its own."""
    limit = arguments["shard_megabytes"] * 1e6
    chunks, sizes, numbers = {part: [] for part in _PARTS}, Counter(), Counter()

    def full(part: str) -> tuple[str, list[str]]:
        chunk, chunks[part], sizes[part] = chunks[part], [], 0
        numbers[part] += 1
        return shard_name(part, numbers[part] - 1, arguments["compression"]), chunk

    for text in texts:
        part = "held-out" if is_held_out(text, arguments["held_out"]) else "train"
        chunks[part].append(text)
        sizes[part] += len(text.encode())
        if sizes[part] >= limit:
            yield full(part)
    yield from (full(part) for part in _PARTS if chunks[part])


def shard_name(part: str, number: int, compression: str) -> str:
    """Example: train-00003.tfrecord.gz."""
    return f"{part}-{number:05}.tfrecord{'.gz' if compression == 'gzip' else ''}"


def write_named_shard(name: str, directory: Path, request: dict, texts: list[str]) -> tuple[str, dict]:
    """Write the shard `name` of a request with the tokenizer that stands in `directory`; its name and entry."""
    tokenizer, arguments = _load_tokenizer(directory / "tokenizer", request["tokenizer"]), request["arguments"]
    options = arguments["sequence_length"], arguments["compression"]
    return name, write_shard(directory / name, texts, tokenizer, *options)


@functools.lru_cache(maxsize=1)
def _load_tokenizer(directory: Path, fingerprint: str) -> Tokenizer:
    return load_tokenizer(directory)  # the fingerprint tells two tokenizers apart that stood there in turn


@contextlib.contextmanager
def _journal(directory: Path) -> Iterator[tuple[dict[str, dict], Callable[[str, dict], None]]]:
    """Entries of the shards that stand, and a function that adds one for good."""
    file = directory / WORK / "finished.jsonl"
    entries = {}
    for line in file.read_text("utf-8").splitlines() if file.is_file() else []:
        with contextlib.suppress(ValueError):  # the last line is cut off, or (InputError) a shard is lost
            name, entry = json.loads(line)
            checked_bytes(directory / name, entry)
            entries[name] = entry
    with open(file, "a", encoding="utf-8") as stream:

        def record(name: str, entry: dict) -> None:
            stream.write(f"\n{json.dumps([name, entry])}\n")  # the line before may be cut off
            stream.flush()
            os.fsync(stream.fileno())
            entries[name] = entry

        yield entries, record


def write_manifest(directory: Path, request: dict, entries: dict[str, dict], counts: dict) -> dict:
    """Write the manifest that makes the directory finished, and return it."""
    tokenizer_files = {
        f"tokenizer/{file.name}": manifest.hash_file(file) for file in sorted((directory / "tokenizer").iterdir())
    }
    whole = {
        "format": manifest.FORMAT,
        "kind": KIND,
        **request,
        "seed": None,
        "counts": counts,
        "files": {name: entry["sha256"] for name, entry in entries.items()} | tokenizer_files,
        "shards": entries,
    }
    manifest.write_manifest(directory, whole)
    sync(directory)
    return manifest.read_manifest(directory, KIND)
