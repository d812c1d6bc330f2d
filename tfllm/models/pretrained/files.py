"""Files of a directory that somebody else wrote: nothing outside it is read, nothing too large is taken in.

In: a directory and the names of files in it. Out: paths of regular files, JSON objects; InputError for what is amiss.
"""

import json
from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError

MOST_JSON_BYTES = 8_000_000  # config.json has some kilobytes; parsed, JSON takes up to twenty times its size


class Folder(NamedTuple):
    """A directory to read. Links may lead anywhere within `root`, and no further."""

    path: Path
    root: Path

    def find(self, name: str) -> Path | None:
        """The file `name`; None if there is none.

        Raises:
            InputError: for a name or a link that leads out of `root`, and for what is not a regular file.
        """
        path = self.path / name
        try:
            real = path.resolve()
            inside = real.is_relative_to(self.root.resolve())
            exists = path.is_symlink() or path.exists()
        except (OSError, ValueError, RuntimeError):
            raise InputError(f"{self.path}: {name!r} cannot be the name of a file.") from None
        if not inside:
            raise InputError(
                f"{path} leads out of {self.root}, to {real}: nothing outside is read. Copy the file there."
            )
        if not exists:
            return None
        if not path.is_file():
            raise InputError(f"{path} is not a regular file.")
        return path

    def need(self, name: str) -> Path:
        """The file `name`; InputError if there is none."""
        path = self.find(name)
        if path is None:
            raise InputError(f"{self.path} has no {name}, which says what the checkpoint is.")
        return path


def open_folder(path: str | Path, root: str | Path | None = None) -> Folder:
    """The directory `path`; InputError if it is none."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such directory.")
    return Folder(path, Path(root or path))


def read_json(file: Path, kind: type = dict) -> dict | list:
    """A JSON object, or a list.

    Raises:
        InputError: if the file is larger than 8 MB, is no JSON, nests too deeply, or names a thing twice.
    """
    size = file.stat().st_size
    if size > MOST_JSON_BYTES:
        raise InputError(f"{file} has {size:,} bytes; at most {MOST_JSON_BYTES:,} are read.")
    return parse_json(file.read_bytes(), file, kind)


def parse_json(text: bytes, file: Path, kind: type = dict) -> dict | list:
    """As `read_json`, of bytes that stand in `file`."""
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition)
    except RecursionError:
        raise InputError(f"{file} nests its JSON too deeply.") from None
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(value, kind):
        name = {dict: "object", list: "list"}[kind]
        raise InputError(f"{file} must hold a JSON {name}. Received: {type(value).__name__}.")
    return value


def _without_repetition(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is named twice")
    return found
