"""The same records by an Apache Beam pipeline: on this machine, or on a cluster by pipeline options.

In: corpus files, or any Beam source of texts. Out: what `tfllm.data.records.write_records` leaves, in other shards: a
text's hash, not its place, decides which it goes to, so that work that is tried again gives the same bytes.

Every worker must see the files and the directory under the same paths (a shared file system) and have tfllm installed.
"""

import functools
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise ImportError('Apache Beam is not installed: pip install "tfllm[beam]".') from error

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.data.cleaning import Fingerprinter, read_quotes
from tfllm.data.records import WORK, make_request, opened, shard_name, write_manifest, write_named_shard
from tfllm.data.sources import bad_rows_error, check_reading, expand_paths, read_documents
from tfllm.data.splits import is_held_out, normal_form
from tfllm.tokenizers import Tokenizer, load_tokenizer


def write_records(
    corpus: str | Path | Sequence[str | Path] | beam.PTransform,
    tokenizer: Tokenizer | str | Path,
    directory: str | Path,
    *,
    num_shards: int,
    sequence_length: int = 128,
    held_out: float = 0.01,
    deduplicate: str = "none",
    remove_texts_of: str | Path | Sequence[str | Path] | None = None,
    text_column: str | None = None,
    document: str = "line",
    encoding: str = "utf-8",
    on_bad_rows: str = "error",
    compression: str = "gzip",
    pipeline_options: PipelineOptions | None = None,
) -> dict:
    """Tokenise and pack a corpus by Apache Beam, for the same readers as `tfllm.write_records`.

    Args:
        corpus: files, globs or directories, each file read by one worker; or a Beam source of texts, such as
            `beam.io.ReadFromText("gs://bucket/*.txt")`, which Beam may split further. Whether a source is the one that
            was written before nobody can tell, so that a finished directory is refused to it.
        num_shards: into how many train shards the texts are dealt; a worker holds the texts of one in memory.
        deduplicate: "none", or "exact"; see `tfllm.write_records`. "near" is not offered here.
        pipeline_options: the runner and its options. Default: Beam's direct runner, on this machine.
        tokenizer, directory, sequence_length, held_out, remove_texts_of, text_column, document, encoding, on_bad_rows,
            compression: as `tfllm.write_records` takes them. A run that failed is done again from the start.

    Returns:
        The manifest. `counts["texts"]` are those read, `counts["kept"]` those written.

    Raises:
        InputError: for a bad argument, or a directory that is taken or was begun otherwise.
    """
    checks.check_one_of("deduplicate", deduplicate, ("none", "exact"))
    checks.check_at_least("num_shards", num_shards, 1)
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    reading = {"text_column": text_column, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows}
    files = [] if isinstance(corpus, beam.PTransform) else expand_paths(corpus)
    if files:
        check_reading(files, text_column, document, on_bad_rows)
    evaluation_files = expand_paths(remove_texts_of) if remove_texts_of else []
    arguments = {
        "sequence_length": sequence_length,
        "held_out": held_out,
        "deduplicate": deduplicate,
        "remove_texts_of": [str(source) for source in evaluation_files],
        **reading,
        "num_shards": num_shards,
        "compression": compression,
    }
    request = make_request(arguments, tokenizer, [*files, *evaluation_files])
    directory = Path(directory).absolute()
    with opened(directory, request) as finished_before:
        if finished_before is not None:
            if not files:
                raise InputError(
                    f"{directory} holds finished records; whether from this source nobody can tell. Choose another "
                    "place, or remove it first."
                )
            return finished_before
        _remove_shards(directory)
        if not (directory / "tokenizer").exists():
            tokenizer.save(directory / "tokenizer")
        for kind in ("counts", "shards"):
            (directory / WORK / kind).mkdir()
        with beam.Pipeline(options=pipeline_options or PipelineOptions([])) as pipeline:
            if files:
                texts = pipeline | beam.Create([str(file) for file in files]) | beam.Reshuffle()
                texts |= "read" >> beam.FlatMap(functools.partial(_read, reading))
            else:
                texts = pipeline | corpus
            _count(texts, "texts", directory)
            if evaluation_files:
                fingerprint = Fingerprinter("none", read_quotes(remove_texts_of, encoding))
                texts |= "leave out quotations" >> beam.Filter(functools.partial(_quotes_nothing, fingerprint))
                _count(texts, "not_quoting", directory)
            if deduplicate == "exact":
                texts |= "leave out repetitions" >> _Distinct()
            _count(texts, "kept", directory)
            texts |= "deal" >> beam.Map(functools.partial(_with_shard, request))
            texts |= "gather" >> beam.GroupByKey()
            texts |= "write" >> beam.MapTuple(functools.partial(_write, directory, request))
        entries, counts = (_read_all(directory / WORK / kind) for kind in ("shards", "counts"))
        left = counts.pop("not_quoting", counts["texts"])
        counts |= {"quoting": counts["texts"] - left, "repeated": left - counts["kept"]}
        return write_manifest(directory, request, entries, counts)


def _remove_shards(directory: Path) -> None:
    """Remove what a run that failed left: its source may have been another."""
    for kind in ("counts", "shards"):
        if (directory / WORK / kind).exists():
            shutil.rmtree(directory / WORK / kind)
    for shard in directory.glob("*.tfrecord*"):
        shard.unlink()


class _Distinct(beam.PTransform):
    """One text of all that have the same normal form: the first by its characters."""

    def expand(self, texts):
        return (
            texts | beam.Map(lambda text: (_digest(normal_form(text)), text)) | beam.CombinePerKey(min) | beam.Values()
        )


def _read(reading: dict, file: str) -> Iterator[str]:
    options = {name: value for name, value in reading.items() if name != "on_bad_rows"}
    for found in read_documents(file, **options):
        if isinstance(found, str):
            yield found
        elif reading["on_bad_rows"] == "error":
            remedy = "Mend it, or leave such documents out (on_bad_rows='skip')."
            raise bad_rows_error([found], remedy, reading["encoding"])


def _quotes_nothing(fingerprint: Fingerprinter, text: str) -> bool:
    return not fingerprint([text])[0, 0]


def _with_shard(request: dict, text: str) -> tuple[str, str]:
    """The name of a text's shard, by its hash, and the text."""
    arguments = request["arguments"]
    held_out = is_held_out(text, arguments["held_out"])
    shards = max(1, round(arguments["num_shards"] * arguments["held_out"])) if held_out else arguments["num_shards"]
    number = int.from_bytes(_digest(text)) % shards
    return shard_name("held-out" if held_out else "train", number, arguments["compression"]), text


def _write(directory: Path, request: dict, name: str, texts: Iterable[str]) -> None:
    """Write a shard and its entry; in the order of their hashes, as texts arrive in any."""
    texts = sorted(texts, key=lambda text: (_digest(text), text))
    _, entry = write_named_shard(name, directory, request, texts)
    manifest.write_json(directory / WORK / "shards" / f"{name}.json", entry)


def _count(texts: beam.PCollection, name: str, directory: Path) -> None:
    file = directory / WORK / "counts" / f"{name}.json"
    counted = texts | f"count {name}" >> beam.combiners.Count.Globally()
    _ = counted | f"note {name}" >> beam.Map(lambda count: manifest.write_json(file, count))


def _read_all(directory: Path) -> dict:
    """What the JSON files of a directory hold, by their names."""
    files = sorted(directory.glob("[!.]*.json"))
    return {file.name.removesuffix(".json"): json.loads(file.read_text("utf-8")) for file in files}


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
