"""Files that somebody else wrote: read with limits, JSON with a type for every value.

In: a directory and names of files. Out: bytes, JSON values; InputError names the file and what is amiss.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tfllm.checks import InputError

SETTINGS = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
DOCUMENT = "tokenizer.json"
MOST_BYTES = 64_000_000  # of a file; the largest published tokenizer.json have 35 million
MOST_VALUES = 4_000_000  # of a JSON file, counted by commas and opening brackets; Python takes some 60 bytes for each
MOST_TOKENS = 1_000_000
MOST_CHARACTERS = 1_000  # of a token
_SHOWN = 80
_KINDS = {dict: "an object", list: "a list", str: "a string", int: "a whole number", bool: "true or false"}


class Files(NamedTuple):
    """A directory to read. Links may lead anywhere within `root`, and no further."""

    path: Path
    root: Path

    def find(self, name: str) -> Path | None:
        """The regular file `name`; None if there is none.

        Raises:
            InputError: for a link that leads out of `root`, and for what is not a regular file.
        """
        path = self.path / name
        try:
            inside = path.resolve().is_relative_to(self.root.resolve())
            exists = path.is_symlink() or path.exists()
        except (OSError, RuntimeError):  # links in a circle
            raise InputError(f"{path} cannot be read: it is a link that leads nowhere.") from None
        if not exists:
            return None
        if not inside:
            raise InputError(f"{path} leads out of {self.root}: nothing outside is read. Copy the file there.")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file.")
        return path

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        path = self.find(name)
        if path is None:
            return None
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{path} has {size:,} bytes; at most {MOST_BYTES:,} are read.")
        return path.read_bytes()

    def read_text(self, name: str) -> str | None:
        """The text of a file; None if there is none."""
        content = self.read(name)
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path / name} is not UTF-8: {error}.") from None

    def read_json(self, name: str) -> dict | None:
        """The JSON object in a file; None if there is none."""
        content, path = self.read(name), self.path / name
        if content is None:
            return None
        if content.count(b",") + content.count(b"[") + content.count(b"{") > MOST_VALUES:
            raise InputError(f"{path} has more than {MOST_VALUES:,} values.")
        try:
            value = json.loads(content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_number)
        except RecursionError:
            raise InputError(f"{path} nests its JSON too deeply.") from None
        except ValueError as error:
            raise InputError(f"{path} is not valid JSON: {shown(error)}.") from None
        return check_kind(value, dict, f"{path}: its JSON")


class Checkpoint(NamedTuple):
    """A directory, and what two of its files say.

    Attributes:
        files: the directory.
        settings: `tokenizer_config.json`.
        named: objects that may name special tokens ("pad_token", ...), the first to be believed first.
    """

    files: Files
    settings: dict
    named: list[dict]

    def option(self, name: str, kind: type, default: Any) -> Any:
        """A setting; the default where there is none or null."""
        if self.settings.get(name) is None:
            return default
        return need(self.settings, name, kind, str(self.files.path / SETTINGS))


def check_kind(value: Any, kind: type, what: str) -> Any:
    """The value; InputError unless it is of the kind."""
    if type(value) is not kind:
        raise InputError(f"{what} must be {_KINDS[kind]}. Received: {shown(repr(value))}.")
    return value


def need(values: dict, name: str, kind: type, where: str) -> Any:
    """`values[name]`; InputError unless it is of the kind."""
    return check_kind(values.get(name), kind, f"{where}: `{name}`")


def shown(what: object) -> str:
    """It as text for a message, cut."""
    text = str(what)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def check_tokens(tokens: list[str], where: str) -> None:
    """Raise InputError for too many tokens, too long ones, and ones that are no text."""
    if not 0 < len(tokens) <= MOST_TOKENS:
        raise InputError(f"{where} must have 1 to {MOST_TOKENS:,} tokens. Received: {len(tokens):,}.")
    for number, token in enumerate(tokens):
        if len(token) > MOST_CHARACTERS:
            raise InputError(f"{where}: token {number} has {len(token):,} characters; at most {MOST_CHARACTERS:,}.")
    try:
        "".join(tokens).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} has a token with half a surrogate pair, which is no text.") from None


def tokens_by_id(ids: dict[str, Any], where: str) -> list[str]:
    """Tokens in the order of their ids, which are 0, 1, 2 and so on.

    Raises:
        InputError: for an id that is no whole number, is missing or belongs to two tokens.
    """
    tokens: list[str | None] = [None] * len(ids)
    for token, token_id in ids.items():
        if type(token_id) is not int or not 0 <= token_id < len(ids):
            raise InputError(
                f"{where}: {shown(repr(token))} has the id {shown(token_id)}; the ids of {len(ids):,} tokens are 0 to "
                f"{len(ids) - 1:,}, each used once."
            )
        if tokens[token_id] is not None:
            raise InputError(
                f"{where}: {shown(repr(token))} and {shown(repr(tokens[token_id]))} have the id {token_id}."
            )
        tokens[token_id] = token
    return tokens


def _distinct(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{shown(repr(repeated))} is named twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
