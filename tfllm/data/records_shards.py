"""One shard: packed rows of token ids <-> a TFRecord file with one row in a record.

In: documents as arrays of token ids. Out: a file, and the entry about it in the manifest; or its rows again.

A record is the T token ids of a row and nothing else, little-endian uint16 (int32 if the vocabulary has more than
65,536 tokens). `padding_mask` needs no byte, because no text becomes [CLS] or [PAD]: each text of a row begins with
[CLS], so its number is how many [CLS] stand up to here. Example, [PAD] 0, [CLS] 2, [SEP] 3:

    token_ids      2  10  11  3  2  12  3  0
    padding_mask   1   1   1  1  2   2  2  0
"""

import contextlib
import gzip
import hashlib
import json
import os
import tempfile
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.packing import pack
from tfllm.manifest import DISK_FULL, read_manifest
from tfllm.tokenizers import Tokenizer

KIND = "records"  # of the directory, in its manifest
COMPRESSIONS = ("gzip", "none")
REMEDY = "Copy it again from where it is whole, or write the records again."
_TEXTS = 4096  # texts tokenised at a time; bounds memory
_HEAD, _FOOT = 12, 4  # bytes of a TFRecord before (length, its CRC) and after (CRC) the data


def id_type(vocabulary_size: int) -> str:
    """The smallest type that holds every id: 'uint16' or 'int32'."""
    return "uint16" if vocabulary_size <= 2**16 else "int32"


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of all that decides the ids: the tokenizer's kind, options and files."""
    with tempfile.TemporaryDirectory() as directory:
        tokenizer.save(Path(directory) / "tokenizer")
        saved = read_manifest(Path(directory) / "tokenizer", "tokenizer")
    return hashlib.sha256(json.dumps([saved["arguments"], saved["files"]], sort_keys=True).encode()).hexdigest()


def tokenize_and_pack(texts: list[str], tokenizer: Tokenizer, length: int) -> tuple[np.ndarray, np.ndarray]:
    """token_ids and padding_mask, int32 (rows, T), of texts packed into rows; see `packing.pack`."""
    return pack(tokenize_texts(texts, tokenizer), length, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)


def tokenize_texts(texts: list[str], tokenizer: Tokenizer, *, target: bool = False) -> list[np.ndarray]:
    """Token ids of each text, without special tokens; `target`: of texts that a model is to write."""
    tokenize = tokenizer.tokenize_target if target else tokenizer.tokenize
    documents = []
    for start in range(0, len(texts), _TEXTS):
        ids = tokenize(texts[start : start + _TEXTS])
        documents += np.split(ids.values.numpy(), ids.row_splits.numpy()[1:-1])
    return documents


def padding_mask_of(token_ids: tf.Tensor, cls_id: int, pad_id: int) -> tf.Tensor:
    """`padding_mask` of packed rows by their ids alone, int32 (B, T); see the example above."""
    is_text = tf.cast(token_ids != pad_id, tf.int32)
    return tf.cumsum(tf.cast(token_ids == cls_id, tf.int32), axis=1) * is_text


def write_shard(file: Path, texts: list[str], tokenizer: Tokenizer, length: int, compression: str) -> dict:
    """Tokenise, pack and write one shard, whole or not at all: beside, synced to disk, renamed.

    Args:
        file: where it shall stand; replaced if it is there.
        texts: its documents. The bytes written depend on them and the next three arguments alone.
        tokenizer: turns them into ids.
        length: T, tokens in a row.
        compression: one of COMPRESSIONS.

    Returns:
        What the manifest says of it: texts, characters, rows, tokens, bytes, sha256.

    Raises:
        InputError: the disk is full.
    """
    token_ids, padding_mask = tokenize_and_pack(texts, tokenizer, length)
    rows = token_ids.astype(f"<{np.dtype(id_type(tokenizer.vocabulary_size)).str[1:]}")
    options = tf.io.TFRecordOptions(compression_type="GZIP" if compression == "gzip" else "")
    with written_beside(file) as beside:
        with tf.io.TFRecordWriter(str(beside), options) as writer:
            for row in rows:
                writer.write(row.tobytes())
        content = beside.read_bytes()
    return {
        "texts": len(texts),
        "characters": sum(map(len, texts)),
        "rows": len(rows),
        "tokens": int((padding_mask > 0).sum()),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def read_shard(file: Path, entry: dict, dtype: str, length: int, compression: str) -> np.ndarray:
    """All rows of a shard, `dtype` (rows, T), once its bytes are known to be those that were written.

    Raises:
        InputError: the file is missing or its bytes have changed.
    """
    content = checked_bytes(file, entry)
    try:
        raw = gzip.decompress(content) if compression == "gzip" else content
        width = length * np.dtype(dtype).itemsize
        records = np.frombuffer(raw, np.uint8).reshape(entry["rows"], _HEAD + width + _FOOT)
    except (ValueError, EOFError, OSError, zlib.error):  # the hash is right, so the manifest is not
        raise InputError(f"{file} does not hold the rows that its manifest promises. {REMEDY}") from None
    return np.ascontiguousarray(records[:, _HEAD : _HEAD + width]).view(np.dtype(dtype).newbyteorder("<"))


def checked_bytes(file: Path, entry: dict) -> bytes:
    """The bytes of a shard; InputError names it unless they have the length and the SHA-256 of its `entry`."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file} is missing. {REMEDY}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. {REMEDY}") from None
    if len(content) != entry["bytes"]:
        raise InputError(f"{file} is damaged: {len(content):,} bytes instead of {entry['bytes']:,}. {REMEDY}")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise InputError(f"{file} is damaged: its bytes are not the ones that were written (SHA-256). {REMEDY}")
    return content


@contextlib.contextmanager
def written_beside(file: Path) -> Iterator[Path]:
    """A name beside `file` to write to; synced to disk and renamed to `file` at the end, removed if that fails."""
    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex}.unfinished")
    try:
        with enough_room(file):
            yield beside
            sync(beside)
            os.replace(beside, file)
            sync(file.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def enough_room(path: Path) -> Iterator[None]:
    """Turn the error of a full disk, met while `path` is written, into an InputError that says so."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DISK_FULL:
            raise
        reason = error.strerror if isinstance(error, OSError) else error.message.rpartition("; ")[2]
        raise InputError(
            f"There is no room for {path.name} in {path.parent} ({reason}). Free some, and the same call goes on."
        ) from None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, stand on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
