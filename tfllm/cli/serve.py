"""`tfllm serve`: SavedModels answered over REST and gRPC on this machine, as TF Serving would."""

import importlib.util
import inspect
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import manifest
from tfllm.checks import InputError, check_at_least, check_between, check_exists, check_one_of
from tfllm.cli.startup import load_tensorflow, log
from tfllm.serving.limits import Limits

if TYPE_CHECKING:
    from tfllm.serving import ModelConfig

_NEEDED = ("grpc", "grpc_health", "httptools", "prometheus_client", "starlette", "tensorflow_serving", "uvicorn")
_ENGINES = ("tensorflow", "openvino")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_OFF = "0: no limit."
_LIMITS = Limits()
_DAY = 24 * 60 * 60  # seconds; threads cannot wait for ever


def serve(
    base_path: Annotated[
        Path | None,
        typer.Argument(
            help="savedmodels, with NAME/VERSION in it, or savedmodels/NAME. New versions are found while it runs.",
            show_default="savedmodels",
        ),
    ] = None,
    rest_port: Annotated[int, typer.Option(help="Of REST and the page; 0 takes a free one.", min=0, max=65535)] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Of gRPC; 0 takes a free one.", min=0, max=65535)] = 8500,
    host: Annotated[
        str, typer.Option(help="Where to listen. Beyond this machine only with --token-file.")
    ] = "127.0.0.1",
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token that clients must send: Authorization: Bearer TOKEN.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(help="TF Serving's models.config, in place of a base path: names, versions, labels.")
    ] = None,
    versions: Annotated[
        str | None,
        typer.Option(
            help="latest; all; a number: so many of the latest; or 3,5: these. Of each model.", show_default="latest"
        ),
    ] = None,
    poll: Annotated[float, typer.Option(help="Seconds between two looks for new versions. 0: never.")] = 1.0,
    max_batch_size: Annotated[int, typer.Option(help="Rows of different requests computed together at most.")] = 32,
    batch_timeout: Annotated[
        float, typer.Option(help="Milliseconds a batch waits for more. 0: only what came meanwhile goes together.")
    ] = 0.0,
    threads: Annotated[int, typer.Option(help="Batches computed at a time.")] = 2,
    engine: Annotated[
        str | None,
        typer.Option(
            help="tensorflow; or openvino, which computes classifiers' labels and regressors' scores of single texts "
            "from the same SavedModel, and leaves the rest to TensorFlow: pip install 'tfllm\\[serving,openvino]'.",
            show_default="tensorflow",
        ),
    ] = None,
    max_queue: Annotated[int, typer.Option(help=f"Requests that wait; more get 429. {_OFF}")] = _LIMITS.queue,
    timeout: Annotated[
        float, typer.Option(help=f"Seconds until an answer must be there, or 504. {_OFF}")
    ] = _LIMITS.timeout_seconds,
    max_body_bytes: Annotated[int, typer.Option(help=f"Of a request. {_OFF}")] = _LIMITS.body_bytes,
    max_instances: Annotated[int, typer.Option(help=f"Rows of a request. {_OFF}")] = _LIMITS.instances,
    max_text_bytes: Annotated[int, typer.Option(help=f"Of each text. {_OFF}")] = _LIMITS.text_bytes,
    max_json_depth: Annotated[int, typer.Option(help=f"Lists and objects in each other. {_OFF}")] = _LIMITS.json_depth,
    trust: Annotated[bool, typer.Option("--trust", help="Run SavedModels that tfllm cannot vouch for.")] = False,
    emit_docker: Annotated[
        Path | None,
        typer.Option(
            help="Serve nothing; write what production with TF Serving in Docker needs into this directory.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Answer on this machine as TF Serving would, over REST and gRPC. For production use TF Serving."""
    if emit_docker is not None:
        _check_alone(locals())
    if model_config is not None:
        _check_config_alone(base_path, versions)
    base_path = base_path or Path("savedmodels")
    if emit_docker is not None:
        from tfllm.serving.docker import write_docker

        check_exists(base_path)
        _tell_left_out(base_path)
        write_docker(base_path, emit_docker, None if trust else _check_ours)
        log.info("wrote %s", emit_docker)
        return
    for name, value in (
        ("max-queue", max_queue),
        ("max-body-bytes", max_body_bytes),
        ("max-instances", max_instances),
        ("max-text-bytes", max_text_bytes),
        ("max-json-depth", max_json_depth),
    ):
        check_at_least(name, value, 0)
    check_between("timeout", timeout, 0, _DAY)
    check_between("poll", poll, 0, _DAY)
    check_between("batch-timeout", batch_timeout, 0, 60_000)
    check_at_least("max-batch-size", max_batch_size, 1)
    check_at_least("threads", threads, 1)
    engine = engine or "tensorflow"
    check_one_of("engine", engine, _ENGINES)
    _check_installed(engine)
    token = _read_token(token_file, host)
    check_exists(model_config or base_path)
    if model_config is None:
        _check_base(base_path)
    latest, specific = _read_versions(versions or "latest")

    sys.modules.setdefault("keras", None)  # TensorFlow imports Keras where it is installed; a server has no use for it
    load_tensorflow()
    from tfllm import serving
    from tfllm.serving.loaded import load_text_ops

    load_text_ops()
    if model_config is None:
        find = partial(serving.find_models, base_path, latest, specific)
        _tell_left_out(base_path)
        if not any(_has_versions(config) for config in find()):
            log.warning(
                "%s holds no SavedModel yet, neither 1/saved_model.pb nor NAME/1/saved_model.pb: waiting for one; "
                "Ctrl-C ends.",
                base_path,
            )
    else:
        find = partial(serving.read_config, model_config)
        find()
    settings = serving.Settings(
        host=host,
        rest_port=rest_port,
        grpc_port=grpc_port,
        token=token,
        limits=Limits(max_body_bytes, max_instances, max_text_bytes, max_json_depth, max_queue, timeout),
        batching=serving.Batching(max_batch_size, batch_timeout / 1000, threads),
        poll_seconds=poll,
        engine=engine,
    )
    serving.serve(find, settings, None if trust else _check_ours, partial(_say_ready, host))


def _tell_left_out(base_path: Path) -> None:
    """Say which models are not served because their base path holds versions itself."""
    if not _versions(base_path):
        return
    entries = (entry for entry in sorted(base_path.iterdir()) if not entry.name.startswith(".") and entry.is_dir())
    if others := [entry.name for entry in entries if not entry.name.isdigit() and _versions(entry)]:
        log.warning(
            "%s holds versions itself and is served as one model. Not served: %s, in it. Take the versions out, and "
            "all of those are.",
            base_path,
            ", ".join(others),
        )


def _versions(directory: Path) -> list[int]:
    """Those that may be read: what else is wrong with one is told where the server looks for it."""
    from tfllm.serving.config import versions_in

    try:
        return list(versions_in(directory))
    except OSError:
        return []


def _has_versions(config: "ModelConfig") -> bool:
    try:
        return bool(config.wanted())
    except PermissionError:
        return False  # told when the server looks for models


def read_token(file: Path) -> str:
    """The token that a file holds.

    Raises:
        InputError: when it is not there, or holds nothing that a header can carry and nobody guesses.
    """
    check_exists(file)
    token = file.read_text("utf-8", "replace").strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{file}: a token needs at least 16 printable ASCII characters, without spaces.")
    return token


def _check_alone(given: dict) -> None:
    """Raise InputError for an option beside --emit-docker that says how to serve, and would have no effect."""
    for name, parameter in inspect.signature(serve).parameters.items():
        option = f"--{name.replace('_', '-')}"
        if option not in ("--base-path", "--emit-docker", "--trust") and given[name] != parameter.default:
            raise InputError(
                "--emit-docker writes files for TensorFlow Serving, the latest version of each model in them, and "
                "serves nothing: say in those files how to serve. "
                f"Leave {option} out. Received: {option} {given[name]}."
            )


def _check_config_alone(base_path: Path | None, versions: str | None) -> None:
    """Raise InputError for what would have no effect beside --model-config."""
    for name, value in (("--versions", versions), ("the base path", base_path)):
        if value is not None:
            raise InputError(
                f"--model-config says itself where the models stand and which versions are served. "
                f"Leave {name} out. Received: {value}."
            )


def _check_base(base_path: Path) -> None:
    """Raise InputError for a directory that is itself what should stand in it."""
    if (base_path / "saved_model.pb").exists():
        raise InputError(f"{base_path} is one version of a SavedModel. Give the directory above: {base_path.parent}.")
    if (base_path / manifest.FILE_NAME).exists():
        raise InputError(
            f"{base_path} is no directory of SavedModels. A model is exported first: tfllm export {base_path} "
            f"--out savedmodels/{base_path.name}, and then: tfllm serve savedmodels."
        )


def _check_installed(engine: str) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"`tfllm serve` needs more packages ({', '.join(missing)}): pip install 'tfllm[serving]'.")
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        raise InputError("--engine openvino needs OpenVINO: pip install 'tfllm[openvino]'.")


def _read_token(file: Path | None, host: str) -> str | None:
    if file is None:
        if host not in _LOCAL:
            raise InputError(
                f"Listening beyond this machine needs --token-file, or anybody could ask. Received: --host {host}."
            )
        return None
    return read_token(file)


def _read_versions(choice: str) -> tuple[int, tuple[int, ...]]:
    """How many of the latest versions (0: all), and which ones only."""
    if choice in ("latest", "all"):
        return int(choice == "latest"), ()
    parts = choice.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise InputError(f"--versions must be latest, all, a number, or numbers like 3,5. Received: {choice!r}.")
    return (int(choice), ()) if len(parts) == 1 else (1, tuple(map(int, parts)))


def _check_ours(version: Path) -> None:
    """Raise InputError unless tfllm wrote the version, it is as it was written, and it only computes."""
    from tfllm.export.ops import check_ops

    try:
        manifest.check_files(version, manifest.read_manifest(version, "savedmodel"))
        check_ops(version)
    except InputError as error:
        raise InputError(f"{error} A SavedModel is code; --trust runs it all the same.") from None


def _say_ready(host: str, rest_port: int | None, grpc_port: int | None) -> None:
    """Say where the server listens; a program that starts it reads the ports here."""
    shown = f"[{host}]" if ":" in host else host
    print(f"REST http://{shown}:{rest_port}  gRPC {shown}:{grpc_port}", flush=True)
