"""Which models and versions are wanted: directories, or TF Serving's `models.config`.

In: a base path or a ModelServerConfig. Out: `ModelConfig`s and the versions that stand on disk.
"""

import errno
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tfllm.checks import InputError

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")


class ModelConfig(NamedTuple):
    """One model.

    Attributes:
        name: in requests.
        base_path: the directory of its versions: 1, 2, ...
        latest: how many of the highest versions are served; 0: all.
        specific: these versions only; empty: what `latest` says.
        labels: version by label.
    """

    name: str
    base_path: Path
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = MappingProxyType({})

    def wanted(self) -> dict[int, Path]:
        """The versions that should be served, of those on disk: number -> directory.

        Raises:
            InputError: when the base path is not there: then nobody knows that its versions are gone for good.
            PermissionError: when it may not be read: then nobody knows either.
            OSError: when the disk does not answer.
        """
        found = versions_in(self.base_path)
        if not found and not self.base_path.exists():
            raise InputError(f"{self.base_path}, the base path of {self.name}, is not there.")
        numbers = found.keys() & set(self.specific) if self.specific else sorted(found)[-self.latest :]
        return {number: found[number] for number in numbers}


def find_models(base_path: Path, latest: int = 1, specific: tuple[int, ...] = ()) -> list[ModelConfig]:
    """The models under a base path: savedmodels/NAME/VERSION; or the one, when its versions stand there themselves.

    A directory without a version is a model that waits for one.

    Raises:
        InputError: when there is no such directory: then nobody knows that its models are gone for good.
        OSError: when the disk does not answer.
    """
    if versions_in(base_path):
        return [ModelConfig(base_path.resolve().name, base_path, latest, specific)]
    if not base_path.is_dir():
        raise InputError(f"{base_path} is not there, or no directory.")
    names = sorted(entry.name for entry in base_path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return [ModelConfig(name, base_path / name, latest, specific) for name in names]


def read_config(file: Path) -> list[ModelConfig]:
    """The models of a `models.config` file, TF Serving's ModelServerConfig as text.

    Raises:
        InputError: when the file does not hold one.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    try:
        config = text_format.Parse(file.read_text("utf-8"), model_server_config_pb2.ModelServerConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a ModelServerConfig: {error}.") from None
    return models_of(config, str(file))


def models_of(config, place: str) -> list[ModelConfig]:
    """The models of a ModelServerConfig message; `place` names it in messages."""
    models = []
    for one in config.model_config_list.config:
        if not one.name or not one.base_path:
            raise InputError(f"{place}: every model needs a name and a base_path.")
        if one.name in {model.name for model in models}:
            raise InputError(f"{place}: {one.name!r} is configured twice.")
        policy = one.model_version_policy
        choice = policy.WhichOneof("policy_choice")
        specific = tuple(policy.specific.versions) if choice == "specific" else ()
        if choice == "specific" and not specific:
            raise InputError(f"{place}: {one.name}: `specific` needs versions.")
        latest = {"all": 0, "latest": max(policy.latest.num_versions, 1)}.get(choice, 1)
        models.append(ModelConfig(one.name, Path(one.base_path), latest, specific, dict(one.version_labels)))
    return models


def versions_in(directory: Path) -> dict[int, Path]:
    """The versions that stand whole in a directory: number -> directory, 7 or, with as many zeros, 00000007.

    One that may not be read is among them: that it cannot be loaded is told where it is loaded.

    Raises:
        OSError: when the directory may not be read, or the disk does not answer: then nobody knows that there are none.
    """
    try:
        entries = sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(entry.name): entry for entry in entries if _is_version(entry)}


def _is_version(entry: Path) -> bool:
    name = entry.name
    if not (name.isascii() and name.isdigit() and len(name) < 19):
        return False
    try:
        return any(_is_file(entry / file) for file in GRAPH_FILES)
    except PermissionError:
        return True


def _is_file(path: Path) -> bool:
    """As `Path.is_file`, which takes what may not be read for no file in some versions of Python."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
