"""OpenAI's chat API, for models with a signature `chat`: strings `roles` and `contents` (B, N), filled up with "".

In: `messages` and settings. Out: a `chat.completion`, or its chunks as server-sent events.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from starlette.responses import Response, StreamingResponse

from tfllm.checks import InputError
from tfllm.messages import message_fault
from tfllm.serving import streaming
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.json_tensors import check_rows, check_text
from tfllm.serving.loaded import LoadedModel
from tfllm.serving.models import Models, Version
from tfllm.serving.service import Service
from tfllm.serving.spec import ModelSpec
from tfllm.writing import RowSettings

_SETTINGS = {  # of a request -> ours
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
}
_IGNORED = {"model", "messages", "stream", "stop", "user", "metadata", "store", "stream_options"}
_PLAIN = {  # what changes nothing, though it is given
    "n": (1,),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none",),
    "tools": ([],),
}


def list_models(models: Models) -> bytes:
    """The JSON of all models that answer: OpenAI's list, with what else a client wants to know of each.

    `task`, `inputs` and `labels` are what tfllm wrote beside the graph; `signatures` names inputs and outputs.
    """
    best: dict[str, Version] = {}
    for version in models.served():
        if version.name not in best or best[version.name].number < version.number:
            best[version.name] = version
    models_of = {name: best[name].model for name in sorted(best)}  # read once: a version may leave meanwhile
    served = [_describe(best[name], model) for name, model in models_of.items() if model]
    return json.dumps({"object": "list", "data": served}, ensure_ascii=False, indent=1).encode("utf-8", "replace")


async def complete(service: Service, body: dict, timeout_seconds: float | None = None) -> Response:
    """The answer to a conversation, whole or streamed.

    Args:
        body: of the request.
        timeout_seconds: when all of it must be there, if the client says so.

    Raises:
        InputError: when the request means nothing, or the model does not chat.
    """
    chunks = _chunks(service, body, streaming.deadline_in(timeout_seconds))
    begun = await anext(chunks)
    if body.get("stream"):
        return StreamingResponse(
            _events(_head(body, "chat.completion.chunk"), begun, chunks, _wants_usage(body)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache"},
        )
    text, written = begun.text, begun.written
    answer = {
        **_head(body, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": written.get("finish_reason", "stop"),
            }
        ],
    }
    return _response({**answer, **_usage(written)})


def error_response(error: InputError) -> Response:
    """An error as OpenAI's clients read it."""
    code = error.http_status if isinstance(error, ServingError) else 400
    kinds = {400: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error"}
    found = {"message": str(error), "type": kinds.get(code, "server_error"), "param": None, "code": None}
    headers = {"Retry-After": "1"} if code in (429, 503) else None
    return _response({"error": found}, code, headers)


async def _chunks(service: Service, body: dict, deadline: float | None) -> AsyncIterator[streaming.Piece]:
    name, stream = body.get("model"), body.get("stream")
    if not isinstance(name, str):
        raise invalid("`model` must be the name of a model; GET /v1/models lists them.")
    if not isinstance(stream, bool | None):
        raise invalid("`stream` must be true or false.")
    texts, stops = _read_messages(service, body.get("messages")), _read_stops(body.get("stop"))
    settings = _read_settings(body)
    with service.models.acquire(ModelSpec(name)) as version:
        signature = version.model.find("chat")
        if signature is None:
            raise invalid(f"The model {name!r} does not chat: it has no signature `chat`.")
        rows = streaming.row_settings(version, settings)
        asked = await _count_tokens(service, version, texts["contents"][0], deadline)
        async for piece in streaming.write_pieces(
            service, version, signature, texts, rows, stops, at_once=not stream, deadline=deadline
        ):
            piece.written["prompt_tokens"] = asked
            yield piece


async def _count_tokens(service: Service, version: Version, contents: np.ndarray, deadline: float | None) -> int:
    """The tokens of the messages' texts, of each at most those the model reads, without what the chat format puts
    around them; 0 where they cannot be told."""
    signature = version.model.find("tokenize")
    if signature is None:
        return 0
    asked = {"text": np.append(contents, b"")}  # an empty text has the tokens that every text has
    found = await service.predict(version, signature, asked, ("num_tokens",), streaming.remaining(deadline))
    counts = found["num_tokens"]
    return int((counts[:-1] - counts[-1]).sum())


def _usage(written: dict) -> dict:
    """`usage` of an answer, where the model says how much it wrote."""
    if "num_tokens" not in written:
        return {}
    asked, new = written["prompt_tokens"], written["num_tokens"]
    return {"usage": {"prompt_tokens": asked, "completion_tokens": new, "total_tokens": asked + new}}


def _wants_usage(body: dict) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


async def _events(
    head: dict, begun: streaming.Piece, chunks: AsyncIterator[streaming.Piece], with_usage: bool
) -> AsyncIterator[bytes]:
    def event(delta: dict, reason: str | None = None) -> bytes:
        return streaming.event_of({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield event({"role": "assistant", "content": ""})
    piece = begun
    try:
        while True:
            if piece.text:
                yield event({"content": piece.text})
            if piece.is_last:
                yield event({}, piece.written.get("finish_reason", "stop"))
                if with_usage:
                    yield streaming.event_of({**head, "choices": [], **_usage(piece.written)})
                break
            piece = await anext(chunks)
    except InputError as error:
        yield streaming.event_of({"error": {"message": str(error), "type": "server_error"}})
    yield streaming.event_of("[DONE]")


def _read_messages(service: Service, messages: object) -> dict[str, np.ndarray]:
    """Roles and contents, string (1, N)."""
    if not isinstance(messages, list) or not messages:
        raise invalid("`messages` must be a list of messages, at least one.")
    check_rows(len(messages), service.limits)
    plain = [_with_text(message, place) for place, message in enumerate(messages)]
    if fault := message_fault(plain):
        raise invalid(f"`messages`: {fault}.")
    for message in plain:
        check_text(message["content"].encode(), service.limits)
    return {
        name: np.array([[message[key].encode() for message in plain]], object)
        for name, key in (("roles", "role"), ("contents", "content"))
    }


def _with_text(message: object, place: int) -> object:
    """A message whose content, if it is a list of parts, is their text."""
    if isinstance(message, dict) and isinstance(message.get("content"), list):
        return {**message, "content": "".join(_read_part(part, place) for part in message["content"])}
    return message


def _read_part(part: object, place: int) -> str:
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise invalid(f"`messages[{place}].content`: only parts of type `text` are supported.")
    return part["text"]


def _read_stops(stop: object) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 16 or not all(isinstance(one, str) and one for one in stops):
        raise invalid("`stop` must be a string or a list of up to 16.")
    return tuple(stops)


def _read_settings(body: dict) -> dict:
    for name, value in body.items():
        if value is None or name in _IGNORED or name in _SETTINGS:
            continue
        if value not in _PLAIN.get(name, ()):
            raise invalid(f"`{name}` is not supported by this server.")
    return {ours: body[name] for name, ours in _SETTINGS.items() if body.get(name) is not None}


def _head(body: dict, kind: str) -> dict:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
    }


def _describe(version: Version, model: LoadedModel) -> dict:
    facts = model.facts
    signatures = {
        name: {"inputs": sorted(one.inputs), "outputs": sorted(one.outputs)}
        for name, one in sorted(model.signatures.items())
    }
    writes = "generate" in signatures and set(signatures["generate"]["inputs"]) == {"text", *RowSettings._fields}
    return {
        "id": version.name,
        "object": "model",
        "created": _modified(version.directory),
        "owned_by": "tfllm",
        "version": version.number,
        "task": facts.get("task"),
        "inputs": facts.get("inputs"),
        "labels": facts.get("labels"),
        "streams": writes,
        "chats": "chat" in signatures,
        "signatures": signatures,
    }


def _modified(directory: Path) -> int:
    """In seconds since 1970; 0 when the directory has gone or may not be read, while its model is still served."""
    try:
        return int(directory.stat().st_mtime)
    except OSError:
        return 0


def _response(value: dict, code: int = 200, headers: dict | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, code, headers, media_type="application/json")
