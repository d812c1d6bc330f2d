"""TF Serving's REST API as an ASGI application, with streams and chat beside it.

In: HTTP requests. Out: the JSON, status codes and error texts of TF Serving.
Source: tensorflow_serving/model_servers/http_rest_api_handler.cc and http_rest_api_util.cc.
"""

import asyncio
import functools
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tfllm.checks import InputError
from tfllm.serving import calls, chat, metrics, status, streaming
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.guard import PAGE_HEADERS, Guard, WithHeaders
from tfllm.serving.json_body import inflate, read_json, too_large
from tfllm.serving.json_examples import read_examples, write_classes, write_values
from tfllm.serving.json_tensors import read_predict, write_predict
from tfllm.serving.service import Service, apart, size_of
from tfllm.serving.spec import ModelSpec

log = logging.getLogger("tfllm")
PAGE = Path(__file__).parent / "page"
_ASK = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict|stream)", re.IGNORECASE
)
_TELL = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE | re.ASCII
)
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
_SKIP_SECONDS = 2.0  # that the rest of a body too large may take


class Answer(NamedTuple):
    """What goes back to a client."""

    body: bytes
    status: int = 200


def build_app(service: Service, token: str | None = None) -> Starlette:
    """The application.

    Args:
        service: what answers.
        token: what a client must show; None: only requests to this machine's own names are answered.
    """
    rest = Rest(service)
    routes = [
        Route(metrics.PATH, rest.monitor, methods=["GET"]),
        Route("/v1/chat/completions", rest.chat, methods=["POST"]),
        *(Route(f"/{v1}/{{path:path}}", rest.answer, methods=_METHODS) for v1 in ("v1", "V1")),
    ]
    if PAGE.is_dir():
        routes.append(Mount("/", WithHeaders(StaticFiles(directory=PAGE, html=True), PAGE_HEADERS)))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    app.add_middleware(Guard, token=token)
    return app


class Rest:
    """The endpoints."""

    def __init__(self, service: Service):
        self._service = service

    async def monitor(self, request: Request) -> Response:
        """The counts, for Prometheus."""
        return Response(self._service.metrics.page(), media_type="text/plain")

    async def chat(self, request: Request) -> Response:
        """An answer to a conversation, as OpenAI's API gives it."""
        asked = {}

        async def run() -> Response:
            timeout, body = _timeout(request), await self._body(request)
            asked.update(await apart(len(body), read_distinct, body, self._service.limits))
            return await _while_there(request, chat.complete(self._service, asked, timeout))

        return await self._counted(lambda: asked.get("model"), "Chat", run(), chat.error_response)

    async def answer(self, request: Request) -> Response:
        """Anything under /v1."""
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1").split("?")[0]
        if request.method == "POST" and (found := _ASK.fullmatch(path)):
            return await self._ask(request, *found.groups())
        try:
            if request.method in ("GET", "HEAD") and (found := _TELL.fullmatch(path)):
                return _json(self._tell(*found.groups()))
            raise invalid(f"Malformed request: {request.method} {path}")
        except InputError as error:
            return _error(error)

    async def _ask(self, request: Request, name: str, version: str, label: str, method: str) -> Response:
        """Predict, classify, regress or stream."""
        answer: dict[str, Callable[..., Awaitable[Response]]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "stream": self._stream,
        }
        name = unquote(name)

        async def run() -> Response:
            spec, timeout = _spec(name, version, label), _timeout(request)
            body = await self._body(request)
            return await _while_there(request, answer[method.lower()](spec, body, timeout))

        return await self._counted(lambda: name, method.capitalize(), run(), _error)

    async def _counted(
        self,
        find_name: Callable[[], object],
        api: str,
        answer: Awaitable[Response],
        error_response: Callable[[InputError], Response],
    ) -> Response:
        """An answer, or the error in its place; counted.

        Args:
            find_name: gives the model's name, as far as it is known at the end.
            api: what is counted: "Predict", ...
            answer: what gives the answer.
            error_response: an error as this client reads it.
        """
        began, code = time.monotonic(), "OK"
        try:
            return await answer
        except ClientDisconnect:
            code = "CANCELLED"
            return Response(status_code=499)
        except InputError as error:
            code = error.code if isinstance(error, ServingError) else "INVALID_ARGUMENT"
            return error_response(error)
        except RecursionError:  # only where --max-json-depth is off
            code = "INVALID_ARGUMENT"
            return error_response(invalid("JSON Parse error: nested too deep"))
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception:
            code = "INTERNAL"
            raise
        finally:
            name = find_name()
            known = isinstance(name, str) and self._service.models.knows(name)  # one somebody made up takes no memory
            self._service.metrics.answered(name if known else "", api, "REST", code, time.monotonic() - began)

    async def _predict(self, spec: ModelSpec, body: bytes, timeout: float | None) -> Response:
        limits = self._service.limits
        asked = await apart(len(body), read_json, body, limits)
        name = _signature_name(asked)
        with self._service.models.acquire(spec) as version:
            missing = invalid(f'Serving signature name: "{name or calls.DEFAULT}" not found in signature def')
            signature = calls.find_signature(version.model.signatures, name, missing)
            if not signature.inputs:
                raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
            inputs, form = await apart(len(body), read_predict, asked, signature.inputs, limits)
            outputs = await self._service.predict(version, signature, inputs, (), timeout)
        return _json(await apart(size_of(*outputs.values()), write_predict, outputs, form))

    async def _classify(self, spec: ModelSpec, body: bytes, timeout: float | None) -> Response:
        name, examples = await apart(len(body), self._read_examples, body)
        with self._service.models.acquire(spec) as version:
            classes, scores = await self._service.classify(version, name, examples, timeout)
        return _json(await apart(size_of(classes, scores), write_classes, classes, scores))

    async def _regress(self, spec: ModelSpec, body: bytes, timeout: float | None) -> Response:
        name, examples = await apart(len(body), self._read_examples, body)
        with self._service.models.acquire(spec) as version:
            return _json(write_values(await self._service.regress(version, name, examples, timeout)))

    async def _stream(self, spec: ModelSpec, body: bytes, timeout: float | None) -> Response:
        asked = await apart(len(body), read_distinct, body, self._service.limits)
        events = streaming.generate_events(self._service, spec, _signature_name(asked), asked.get("inputs"), timeout)
        first = await anext(events)  # an error before the first piece is an ordinary answer
        return StreamingResponse(streaming.after(first, events), media_type="text/event-stream", headers=NO_BUFFER)

    def _tell(self, name: str | None, version: str, label: str, what: str) -> bytes:
        """Status or metadata of a model; without a name the list of all, as OpenAI's API has it."""
        models = self._service.models
        if not name:
            if version or label or what:
                raise invalid("Missing model name in request.")
            return chat.list_models(models)
        spec = _spec(unquote(name), version, label)
        if what:
            with models.acquire(spec) as found:
                return status.metadata_json(found)
        return status.status_json(models.status(spec))

    def _read_examples(self, body: bytes) -> tuple[str, list[bytes]]:
        asked = read_json(body, self._service.limits)
        return _signature_name(asked), read_examples(asked, self._service.limits)

    async def _body(self, request: Request) -> bytes:
        """The whole body, unpacked, unless it is too large or does not come."""
        limits, encoding = self._service.limits, request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise invalid(f"Send the body as it is, or as gzip. Received: Content-Encoding: {encoding[:50]}.")
        parts, size, most = [], 0, limits.body_bytes or float("inf")
        try:
            async with asyncio.timeout(limits.timeout_seconds or None) as patience:
                async for part in request.stream():
                    if size <= most < size + len(part):  # a client that still sends may never see its answer: take it
                        patience.reschedule(asyncio.get_running_loop().time() + _SKIP_SECONDS)
                    size += len(part)
                    if size <= most:
                        parts.append(part)
        except TimeoutError:
            if size <= most:
                raise ServingError("DEADLINE_EXCEEDED", "The body did not come in time.") from None
        if size > most:
            raise too_large(limits)
        body = b"".join(parts)
        return await asyncio.to_thread(inflate, body, limits) if encoding == "gzip" else body


read_distinct = functools.partial(read_json, distinct=True)
NO_BUFFER = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # proxies must not hold a stream back


async def _while_there(request: Request, answer: Coroutine) -> Response:
    """An answer, which is given up when its client leaves: it makes room for others."""
    task, gone = asyncio.create_task(answer), asyncio.create_task(request.receive())  # behind a body comes the end only
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def _spec(name: str, version: str | None, label: str | None) -> ModelSpec:
    if version and (len(version) > 19 or int(version) >= 2**63):
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return ModelSpec(name, int(version) if version else None, unquote(label) if label else None)


def _signature_name(body: dict) -> str:
    name = body.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid("JSON Value: not formatted correctly. 'signature_name' key must be a string value.")
    return name


def _timeout(request: Request) -> float | None:
    """How long a client will wait, if it says so in seconds: the header X-Request-Timeout."""
    given = request.headers.get("x-request-timeout")
    try:
        seconds = None if given is None else float(given)
    except ValueError:
        seconds = -1.0
    if seconds is not None and not 0 < seconds < 1e6:
        raise invalid(f"X-Request-Timeout must be seconds above 0. Received: {given!r}.")
    return seconds


def _json(body: bytes, code: int = 200, headers: dict | None = None) -> Response:
    return Response(body, code, headers, media_type="application/json")


def _error(error: InputError) -> Response:
    code = error.http_status if isinstance(error, ServingError) else 400
    body = json.dumps({"error": str(error)}, ensure_ascii=False, indent=4).encode("utf-8", "replace")
    return _json(body, code, {"Retry-After": "1"} if code in (429, 503) else None)
