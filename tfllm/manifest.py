"""A stage's directory: written beside, hashed, renamed into place; read back with checks.

In: a kind ("tokenizer", "model", "savedmodel", ...) and the arguments that made it.
Out: a directory whose `manifest.json` is written last. A directory without one is unfinished.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tfllm.checks import InputError, did_you_mean_beside
from tfllm.version import __version__

FILE_NAME = "manifest.json"
FORMAT = 1
CARD = "README.md"  # for people, who may edit it: it is not hashed
_DIGEST = "digest"
_HALF_WRITTEN = ".unfinished"
RUN = ".tfllm-run"  # in a directory that a training has not finished: what it needs to go on
_UNFINISHED = "holds a training that is not finished: the command that began it, given again, finishes it."
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_EXPORTS = {"savedmodel": "a SavedModel", "huggingface": "an export for transformers"}  # kinds made of a model
_GRAPH = "saved_model.pb"  # of a SavedModel, or of its version in a directory 1, 2, ...
_PUBLISHED = "config.json"  # of a model that transformers reads
_IMPORT = "tfllm import hf:ORG/NAME (or a directory) --out DIR"
_PACKAGES = ("tensorflow", "keras", "keras-hub", "tensorflow-text", "tokenizers", "sentencepiece")


def check_free(path: str | Path, *, or_unfinished: bool = False) -> None:
    """Raise InputError if `path` is taken or cannot be made, so that nothing is overwritten and no work is lost.

    `or_unfinished` also takes the directory of a training that is not finished.
    """
    path = Path(path)
    _check_untaken(path, or_unfinished)
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise InputError if nothing can be written to the directory `path`, which is there or can be made."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    with _writing(path):
        tempfile.TemporaryDirectory(dir=there).cleanup()


def _check_untaken(path: Path, or_unfinished: bool) -> None:
    taken = not all(map(_is_half_written, path.iterdir())) if path.is_dir() else path.exists()
    if taken and not (or_unfinished and is_unfinished(path)):
        hint = f" It {_UNFINISHED}" * is_unfinished(path)
        raise InputError(f"{path} already exists.{hint} Choose another place, or remove it first.")


def _is_half_written(entry: Path) -> bool:
    """Whether it is what `write_directory` was writing to, in this process or in one that was killed."""
    return re.fullmatch(rf"\..*\.\d+\{_HALF_WRITTEN}", entry.name) is not None


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """An InputError for a place that cannot be written; a full disk stays the OSError it is."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None


def is_unfinished(path: Path) -> bool:
    """Whether it is the directory of a training that is not finished."""
    return (path / RUN).is_dir() and not (path / FILE_NAME).exists()


@contextlib.contextmanager
def write_directory(
    path: str | Path,
    kind: str,
    arguments: dict,
    *,
    seed: int | None = None,
    inputs: Iterable[str | Path] | Mapping[str, str] = (),
    finish_run: bool = False,
) -> Iterator[Path]:
    """Write a stage's directory whole or not at all.

    Args:
        path: where it shall stand. It must not exist, or be an empty directory, which is filled and not replaced: it
            may be a mount or a link.
        kind: what it holds; `read_manifest` asks for it.
        arguments: JSON values; what the stage was called with.
        seed: the seed the stage used, if any.
        inputs: files it was made from, see `hash_files`; their SHA-256 is recorded.
        finish_run: `path` may be the directory of an unfinished training; what the training needed is then removed.

    Yields:
        A temporary directory beside `path`, or in it if it is there. It is hashed and renamed when the block ends, and
        removed when it raises.
    """
    path = Path(path)
    _check_untaken(path, finish_run)
    hashes = hash_files(inputs)
    filled = path.is_dir()
    beside = (path if filled else path.parent) / f".{path.name}.{os.getpid()}{_HALF_WRITTEN}"
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
    try:
        yield beside
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "arguments": arguments,
            "seed": seed,
            "versions": versions(),
            "inputs": hashes,
            "files": {str(file.relative_to(beside)): hash_file(file) for file in _files(beside)},
        }
        for entry in beside.rglob("*"):
            _fsync(entry)
        write_manifest(beside, manifest)
        _fsync(beside)
        if filled:
            _check_untaken(path, finish_run)
            _move_into(path, beside)
        else:
            os.rename(beside, path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _move_into(path: Path, beside: Path) -> None:
    """Move a finished directory into one that is there; until the manifest, the last, is there, that is unfinished."""
    for entry in sorted(beside.iterdir(), key=lambda entry: entry.name == FILE_NAME):
        target = path / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        if entry.name == FILE_NAME:
            _fsync(path)
        os.replace(entry, target)
    _fsync(path)
    if (path / RUN).exists():
        shutil.rmtree(path / RUN)


def read_manifest(path: str | Path, kind: str) -> dict:
    """The manifest of a finished directory of this `kind`; InputError says what else it is."""
    path = Path(path)
    if not path.is_dir():
        raise _no_directory(path, kind)
    file = path / FILE_NAME
    if not file.is_file():
        raise _without_manifest(path, kind)
    try:
        text = file.read_text("utf-8")
        manifest = json.loads(text)
        del manifest[_DIGEST]
        if text != _sealed(manifest):
            raise ValueError("its bytes are not the ones that were written")
        found, form, _, _ = (manifest[key] for key in ("kind", "format", "arguments", "files"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error}.") from None
    if form != FORMAT:
        raise InputError(f"{file} has format {form}; this tfllm {__version__} reads format {FORMAT}.")
    if found != kind:
        raise _of_another_kind(path, found, kind)
    return manifest


def _no_directory(path: Path, kind: str) -> InputError:
    if path.exists():
        return InputError(f"{path} is a file, not a {kind} directory: give the directory it stands in.")
    near = did_you_mean_beside(path)
    hint = f" A published model is imported first: {_IMPORT}." if kind == "model" and not near else ""
    return InputError(f"{path}: no such directory{near}.{hint}")


def _without_manifest(path: Path, kind: str) -> InputError:
    if is_unfinished(path):
        return InputError(f"{path} {_UNFINISHED}")
    if kind not in _EXPORTS and ((path / _GRAPH).is_file() or any(path.glob(f"*/{_GRAPH}"))):
        return _of_another_kind(path, "savedmodel", kind)
    if (path / _PUBLISHED).is_file():
        return InputError(f"{path} holds a published model, which is imported first: {_IMPORT}.")
    return InputError(
        f"{path} has no {FILE_NAME}: it is not a tfllm directory, or the run that wrote it did not finish."
    )


def _of_another_kind(path: Path, found: str, kind: str) -> InputError:
    if found in _EXPORTS and kind not in _EXPORTS:
        remedy = "Give the model directory it was exported from."
        return InputError(f"{path} is {_EXPORTS[found]}, not a {kind} directory. {remedy}")
    return InputError(f"{path} holds {_EXPORTS.get(found, f'a {found}')}, not {_EXPORTS.get(kind, f'a {kind}')}.")


def check_files(path: str | Path, manifest: dict) -> None:
    """Raise InputError if a file named in the manifest is missing or its bytes have changed."""
    for name, expected in manifest["files"].items():
        file = Path(path) / name
        if not file.is_file():
            raise InputError(f"{file} is missing; {FILE_NAME} names it.")
        if hash_file(file) != expected:
            raise InputError(
                f"{file} is damaged: its bytes are not the ones that were written (SHA-256 differs). "
                "Copy it again, or make it anew."
            )


def hash_file(file: str | Path) -> str:
    """SHA-256 of a file, as hex."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(files: Iterable[str | Path] | Mapping[str, str]) -> dict[str, str]:
    """Names of files -> their SHA-256; a mapping has it already, taken when they were read."""
    return dict(files) if isinstance(files, Mapping) else {str(file): hash_file(file) for file in files}


def update_files(path: str | Path, kind: str, texts: dict[str, str]) -> None:
    """Add or replace text files of a finished directory; killed at any instant, it leaves a valid one.

    The manifest names the changed files again only when they stand.

    Args:
        path: the directory.
        kind: what it holds.
        texts: file name relative to `path` -> its whole text.

    Raises:
        InputError: if it is not a finished directory of this kind.
    """
    path = Path(path)
    read_manifest(path, kind)
    with _locked(path):
        manifest = read_manifest(path, kind)
        kept = {name: digest for name, digest in manifest["files"].items() if name not in texts}
        write_manifest(path, {**manifest, "files": kept})
        for name, text in texts.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            _write_text(path / name, text)
        changed = {name: hash_file(path / name) for name in texts if name != CARD}
        write_manifest(path, {**manifest, "files": dict(sorted({**kept, **changed}.items()))})


def write_json(file: Path, value: dict) -> None:
    """Write JSON whole: beside, synced to disk, renamed."""
    _write_text(file, as_json(value))


def write_manifest(directory: Path, manifest: dict) -> None:
    """Write a directory's manifest whole, with its own digest."""
    _write_text(directory / FILE_NAME, _sealed(manifest))


def _sealed(manifest: dict) -> str:
    """A manifest's text; its last entry is the SHA-256 of the text without that entry."""
    return as_json({**manifest, _DIGEST: hashlib.sha256(as_json(manifest).encode()).hexdigest()})


def as_json(value: dict) -> str:
    """JSON that UTF-8 can write: a byte of a file's name that is no text, a lone surrogate, becomes an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def versions() -> dict[str, str]:
    """Versions of everything that shapes a result, without importing it."""
    found = {"tfllm": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _files(directory: Path) -> list[Path]:
    return sorted(file for file in directory.rglob("*") if file.is_file() and file.name != CARD)


def _write_text(file: Path, text: str) -> None:
    beside = file.with_name(f".{file.name}.unfinished")
    with open(beside, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, file)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time; the lock ends with the process that holds it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
