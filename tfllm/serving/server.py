"""The local server: REST and gRPC in one event loop, graphs in threads.

In: where the models are, and limits. Out: a process that answers until SIGTERM, then finishes what it has begun.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvicorn

from tfllm.checks import InputError
from tfllm.serving.batching import Batcher, Batching
from tfllm.serving.config import ModelConfig
from tfllm.serving.connection import Connection
from tfllm.serving.grpc_api import build_server, tell_health
from tfllm.serving.limits import Limits, warnings_of
from tfllm.serving.loaded import LoadedModel
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Models
from tfllm.serving.rest import build_app
from tfllm.serving.service import Service
from tfllm.serving.warm_up import warm_up

log = logging.getLogger("tfllm")
NOTICE = "This server is for trying and testing on one machine. For production use TF Serving: the same directories."
_CONNECTIONS = 1024  # open at a time; more get 503


class Settings(NamedTuple):
    """How a server runs.

    Attributes:
        host: where it listens. Anything but this machine needs a token.
        rest_port, grpc_port: 0 takes a free one; None: not at all.
        token: what clients must show; None: nothing.
        limits, batching: see there.
        poll_seconds: between two looks for new versions; 0: none.
        grace_seconds: how long requests may take to finish after SIGTERM.
        engine: "tensorflow" or "openvino": what computes labels and scores of single texts; TensorFlow does the rest.
    """

    host: str = "127.0.0.1"
    rest_port: int | None = 8501
    grpc_port: int | None = 8500
    token: str | None = None
    limits: Limits = Limits()
    batching: Batching = Batching()
    poll_seconds: float = 1.0
    grace_seconds: float = 30.0
    engine: str = "tensorflow"


def serve(
    find: Callable[[], list[ModelConfig]],
    settings: Settings,
    check: Callable[[Path], None] | None = None,
    ready: Callable[[int | None, int | None], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        find: gives the models to serve; asked again and again.
        settings: how.
        check: raises InputError for a version's directory that must not be run.
        ready: called with the ports of REST and gRPC when both listen.

    Raises:
        InputError: when a port is taken.
    """
    asyncio.run(_serve(find, settings, check, ready))


def load(directory: Path, check: Callable[[Path], None] | None = None, engine: str = "tensorflow") -> LoadedModel:
    """A version that is checked, loaded and warm.

    Raises:
        InputError: when it is not to be served.
    """
    if check is not None:
        check(directory)
    model = _kind_of(engine)(directory)
    try:
        warm_up(model)
    except BaseException:
        model.close()
        raise
    return model


def _kind_of(engine: str) -> type[LoadedModel]:
    if engine == "tensorflow":
        return LoadedModel
    from tfllm.serving.openvino_model import OpenVinoModel

    return OpenVinoModel


async def _serve(find, settings: Settings, check, ready) -> None:
    metrics = Metrics()
    models = Models(find, partial(load, check=check, engine=settings.engine), metrics, settings.poll_seconds)
    batcher = Batcher(settings.batching, settings.limits.queue, metrics)
    service = Service(models, batcher, settings.limits, metrics)
    log.warning(NOTICE)
    for sentence in warnings_of(settings.limits):
        log.warning(sentence)
    with contextlib.ExitStack() as stack:
        rest = None
        if settings.rest_port is not None:
            rest = stack.enter_context(_listen(settings.host, settings.rest_port, "--rest-port"))
        if settings.grpc_port is not None:
            _listen(settings.host, settings.grpc_port, "--grpc-port").close()  # gRPC does not say why it cannot
        grpc_server, servicer = build_server(service, settings.token)
        grpc_port = None if settings.grpc_port is None else _bind(grpc_server, settings.host, settings.grpc_port)
        web = _Web(
            uvicorn.Config(
                build_app(service, settings.token),
                http=partial(Connection, patience_seconds=settings.limits.timeout_seconds),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=int(settings.grace_seconds),
            )
        )
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        await grpc_server.start()
        models.start()
        tasks = [asyncio.create_task(_watch_health(models, servicer))]
        serving = asyncio.create_task(web.serve([rest])) if rest else None
        while serving and not web.started:
            await asyncio.sleep(0.01)
        if ready is not None:
            ready(rest.getsockname()[1] if rest else None, grpc_port)
        await stop.wait()
        log.info("stopping: what has begun is finished first")
        for task in tasks:
            task.cancel()
        await tell_health(servicer, False)
        web.should_exit = True
        await asyncio.gather(grpc_server.stop(settings.grace_seconds), *([serving] if serving else []))
        await asyncio.to_thread(batcher.close)
        await asyncio.to_thread(models.stop)


class _Web(uvicorn.Server):
    """Uvicorn, which leaves signals to us: gRPC stops with it."""

    @contextlib.contextmanager
    def capture_signals(self):
        """Capture none."""
        yield


async def _watch_health(models: Models, servicer) -> None:
    """Serving when what stood there at the start is loaded and something answers."""
    told = None
    while True:
        serving = models.first_look.is_set() and bool(models.served())
        if serving != told:
            await tell_health(servicer, serving)
            told = serving
        await asyncio.sleep(0.1)


def _listen(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_CONNECTIONS)
    except OSError as error:
        reason = error.strerror.partition(" (while attempting")[0]
        raise InputError(f"{host}:{port} cannot be listened on: {reason}. Choose another {option}.") from None
    # Connections inherit it. asyncio sets it only where a socket names its protocol, and without it the body of an
    # answer waits 40 ms until the client has acknowledged the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _bind(server, host: str, port: int) -> int:
    shown = f"[{host}]" if ":" in host else host
    try:
        return server.add_insecure_port(f"{shown}:{port}")
    except RuntimeError:
        raise InputError(f"{host}:{port} cannot be listened on. Choose another --grpc-port.") from None
