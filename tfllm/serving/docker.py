"""`write_docker`: what TensorFlow Serving needs in production, written for the models of a base path.

In: `savedmodels/`. Out: a directory with a compose file, the server's own configuration, nginx, Prometheus, Kubernetes.
The texts stand in `production/`; a word between @ is filled in here.
"""

import json
import logging
import re
import shlex
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tfllm import manifest
from tfllm.checks import InputError, check_exists
from tfllm.serving.config import ModelConfig, find_models, versions_in
from tfllm.serving.limits import Limits

log = logging.getLogger("tfllm")
# TensorFlow Serving -> the tag of its image. Which of them have a model's ops stands in its `tfllm.json`.
TAGS = {"2.18": "2.18.0", "2.19": "2.19.0", "2.20": "2.20.0"}
FACTS_FILE = "assets.extra/tfllm.json"
_TEMPLATES = Path(__file__).parent / "production"
_FILES = {  # in the directory written -> template
    "compose.yaml": "compose.yaml",
    "nginx.conf": "nginx.conf",
    "prometheus.yml": "prometheus.yml",
    "kubernetes.yaml": "kubernetes.yaml",
    "README.md": "README.md",
    "config/monitoring.config": "monitoring.config",
    "config/batching.config": "batching.config",  # unless a model takes lists
}
_MIB = 2**20
_SERVER_MIB = 512  # a server without models
_CANARY = """
# A canary: serve two versions and name them; ask .../versions/2 or .../labels/canary, and swap the labels later.
#   model_version_policy { specific { versions: 1 versions: 2 } }
#   version_labels { key: "stable" value: 1 }
#   version_labels { key: "canary" value: 2 }
"""


class Served(NamedTuple):
    """A model as the files need it.

    Attributes:
        bytes: of the version that is served.
        servers: releases of TensorFlow Serving that have its ops.
        inputs: name -> shape of the inputs of `serving_default`.
        takes_lists: whether any signature takes lists of strings: choices, or the turns of a conversation.
    """

    config: ModelConfig
    bytes: int
    servers: tuple[str, ...] = tuple(TAGS)
    inputs: Mapping[str, list[int]] = MappingProxyType({"text": [-1]})
    takes_lists: bool = False


def write_docker(
    base_path: str | Path, directory: str | Path, check: Callable[[Path], None] | None = None
) -> list[Path]:
    """Write compose file, server configuration, gateway, monitoring and Kubernetes manifests for some models.

    The image is the newest TensorFlow Serving that has all ops of all models. Batching is on unless a model takes
    lists of any length, which TensorFlow Serving cannot put into one batch; then there is no file for it.

    Args:
        base_path: `savedmodels`, or one model, `savedmodels/NAME`. The files name it by its absolute path.
        directory: where; it must not exist yet, or be empty.
        check: raises InputError for a version's directory that must not be served: one that does not load ends the
            server.

    Returns:
        The files written.

    Raises:
        InputError: when there is no model, a model's name cannot stand in a URL, no TensorFlow Serving has the ops of
            all, or `directory` is taken.
    """
    base_path, directory = Path(base_path), Path(directory)
    check_exists(base_path)
    models = [_read(config, check) for config in find_models(base_path) if _has_versions(config)]
    if not models:
        raise InputError(f"{base_path} holds no model: neither NAME/1/saved_model.pb nor 1/saved_model.pb.")
    values = _values(base_path, models)
    texts = {name: _fill((_TEMPLATES / source).read_text("utf-8"), values) for name, source in _FILES.items()}
    if any(model.takes_lists for model in models):
        del texts["config/batching.config"]
    texts["config/models.config"] = _models_config(models) + _CANARY
    manifest.check_free(directory)
    for name, text in texts.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, "utf-8")
    return [directory / name for name in texts]


def _has_versions(config: ModelConfig) -> bool:
    try:
        return bool(versions_in(config.base_path))
    except PermissionError as error:
        log.warning("%s is left out: %s", config.name, error)
        return False


def _read(config: ModelConfig, check: Callable[[Path], None] | None) -> Served:
    if not config.name.isprintable() or set(config.name) & set("/:") or config.name != config.name.strip():
        raise InputError(
            f"A model's name stands in URLs, before ':predict': it must be printable and must not hold '/' or ':'. "
            f"Received: {config.name!r}."
        )
    versions = versions_in(config.base_path)
    version = versions[max(versions)]
    if check is not None:
        check(version)
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    return Served(config, size, **_facts(version / FACTS_FILE))


def _facts(file: Path) -> dict:
    """What `tfllm.json` says of servers and inputs. Others have none: they are taken to run everywhere, on one text."""
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text("utf-8"))
        signatures = {name: one["inputs"] for name, one in facts["signatures"].items()}
        tensors = [tensor for inputs in signatures.values() for tensor in inputs.values()]
        return {
            "servers": tuple(facts.get("servers", TAGS)),
            "inputs": {name: list(tensor["shape"]) for name, tensor in signatures["serving_default"].items()},
            "takes_lists": any(len(tensor["shape"]) > 1 and tensor["dtype"] == "string" for tensor in tensors),
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged: {error!r}.") from None


def _values(base_path: Path, models: list[Served]) -> dict[str, str]:
    servers = _common_servers(models)
    names = [model.config.name for model in models]
    lists = ", ".join(model.config.name for model in models if model.takes_lists)
    target = f"/models/{names[0]}" if versions_in(base_path) else "/models"
    memory = _SERVER_MIB + 4 * sum(model.bytes for model in models) // _MIB  # two versions while one replaces another
    batching = "- --enable_batching=true\n- --batching_parameters_file=/config/batching.config"
    batching_row = (
        "| `config/batching.config` | requests that arrive together run together; 32 rows a request at most |"
    )
    if lists:
        batching = f"# No batching: {lists} takes lists of any length."
        batching_row = f"| no `config/batching.config` | batching is off: {lists} takes lists of any length |"
    return {
        "TAG": TAGS[servers[-1]],
        "SERVERS": ", ".join(servers),
        "BATCHING": batching,
        "BATCHING_ROW": batching_row,
        "COMPOSE_SOURCE": _for_compose(str(base_path.resolve())),
        "COMPOSE_TARGET": _for_compose(target),
        "TARGET": _for_yaml(target),
        "STATUS_PATH": _status_path(names[0]),
        "CURL": _curl(models[0]),
        "HEALTH": _for_compose(_health(names)),
        "BODY_MIB": str(Limits().body_bytes // _MIB),
        "MEMORY": str(2 * memory),
        "RESERVED": str(memory),
    }


def _common_servers(models: list[Served]) -> list[str]:
    """The releases that run all models, oldest first."""
    found = [server for server in TAGS if all(server in model.servers for model in models)]
    if not found:
        stated = "; ".join(f"{model.config.name}: {', '.join(model.servers)}" for model in models)
        raise InputError(f"No TensorFlow Serving that is known here has the ops of all models ({stated}).")
    return found


def _models_config(models: list[Served]) -> str:
    blocks = [
        "  config {\n"
        f"    name: {_for_proto(model.config.name)}\n"
        f"    base_path: {_for_proto(f'/models/{model.config.name}')}\n"
        '    model_platform: "tensorflow"\n'
        "    model_version_policy { latest { num_versions: 1 } }\n"
        "  }\n"
        for model in models
    ]
    return f"model_config_list {{\n{''.join(blocks)}}}\n"


def _health(names: list[str]) -> str:
    """A bash program that succeeds when every model has an available version. Percent-encoded names need no quotes."""
    paths = " ".join(map(_status_path, names))
    return (
        f"for path in {paths}; do exec 3<>/dev/tcp/127.0.0.1/8501 || exit 1; "
        'printf "GET %s HTTP/1.0\\r\\n\\r\\n" "$path" >&3; grep -q \'"AVAILABLE"\' <&3 || exit 1; done'
    )


def _status_path(name: str) -> str:
    return f"/v1/models/{urllib.parse.quote(name, safe='')}"


def _curl(model: Served) -> str:
    """A command that asks the model for an answer, for people to paste."""
    row = {name: "A text" if len(shape) == 1 else ["One", "Another"] for name, shape in model.inputs.items()}
    body = json.dumps({"instances": [row if len(row) > 1 else next(iter(row.values()))]})
    return f"curl -d {shlex.quote(body)} http://localhost:8501{_status_path(model.config.name)}:predict"


def _for_yaml(text: str) -> str:
    """A string of YAML in double quotes."""
    escaped = re.sub(r'["\\]', r"\\\g<0>", text)
    return '"' + "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in escaped) + '"'


def _for_compose(text: str) -> str:
    """The same for compose, which would put a variable in place of what follows a $."""
    return _for_yaml(text).replace("$", "$$")


def _for_proto(text: str) -> str:
    """A string of protobuf's text format."""
    plain = {ord(letter) for letter in map(chr, range(32, 127)) if letter not in '"\\'}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _fill(template: str, values: dict[str, str]) -> str:
    """Fill in all words at once, so that a value that holds one itself stays as it is; lines keep their indentation."""

    def value(found: re.Match) -> str:
        before = template[: found.start()].rpartition("\n")[2]
        return values[found[1]].replace("\n", "\n" + before)

    return re.sub(r"@([A-Z_]+)@", value, template)
