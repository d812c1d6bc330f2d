"""A text as it is written: pieces of what a signature `generate` or `chat` gives, over server-sent events.

A SavedModel keeps nothing between two requests, so it cannot go on where it stopped. But what it writes within k tokens
is the beginning of what it writes within 2k: random numbers follow from the seed and the token's place. So it is
asked for 4 tokens, then 8, 16, ..., which costs at most twice the whole. That holds unless the prompt is cut, and how
much is cut depends on the number of new tokens: then the text comes in one piece.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import numpy as np

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.serving.calls import SignatureDef
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.json_tensors import check_text
from tfllm.serving.models import Version
from tfllm.serving.service import Service
from tfllm.serving.spec import ModelSpec
from tfllm.writing import RowSettings, Rules, read_settings

_FIRST = 4  # tokens before the first piece
_MARKERS = 16  # tokens that a message may have beside its role and content
_SYSTEM = 128  # tokens of what a chat format may say before the first message
_REPLACEMENT = "\ufffd"  # at the end of a text: a character that is not whole yet
_LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}  # for many clients; JSON escapes the others
_LARGEST = float(np.finfo(np.float32).max)
_DTYPES = RowSettings(np.int32, np.float32, np.int32, np.float32, np.int32)


class Piece(NamedTuple):
    """More of a text.

    Attributes:
        text: what comes after the pieces before.
        written: the outputs of the model for the text so far; its whole text, too.
        is_last: whether the text ends here.
    """

    text: str
    written: dict
    is_last: bool


async def write_pieces(
    service: Service,
    version: Version,
    signature: SignatureDef,
    texts: Mapping[str, np.ndarray],
    settings: RowSettings,
    stops: tuple[str, ...] = (),
    *,
    at_once: bool = False,
    deadline: float | None = None,
) -> AsyncIterator[Piece]:
    """One text, piece by piece.

    Args:
        version: held by the caller.
        signature: takes `texts` and settings, gives `text`.
        texts: string arrays of one row by input name.
        settings: one value of each.
        stops: strings that end the text, beside those of the model.
        at_once: one piece only.
        deadline: when the whole text must be there, if the client says so; see `deadline_in`.
    """
    rules = stored_settings(version)[1]
    tokens = settings.max_new_tokens
    pieces = not at_once and rules.num_beams == 1 and await _keeps_prompt(service, version, texts, tokens, deadline)
    inputs = {
        **texts,
        **{
            name: np.array([value], dtype)
            for name, value, dtype in zip(RowSettings._fields, settings, _DTYPES, strict=True)
            if name in signature.inputs
        },
    }
    asked = min(_FIRST, tokens) if pieces else tokens
    shown = ""
    while True:
        inputs["max_new_tokens"] = np.array([asked], np.int32)
        outputs = await service.predict(version, signature, inputs, (), remaining(deadline))
        written = {name: _plain(array[0]) for name, array in outputs.items()}
        whole, stopped = _until(written["text"], stops)
        if stopped:
            written["finish_reason"] = "stop"
        written["text"] = whole
        is_last = stopped or asked >= tokens or not _was_cut_short(written, asked)
        fast = whole if is_last else _without_end(whole, (*rules.stop, *stops))
        if is_last or (len(fast) > len(shown) and fast.startswith(shown)):
            yield Piece(fast[len(shown) :], written, is_last)
            shown = fast
        if is_last:
            return
        asked = min(asked * 2, tokens)


async def generate_events(
    service: Service, spec: ModelSpec, signature_name: str, asked: object, timeout_seconds: float | None = None
) -> AsyncIterator[bytes]:
    """The events of a `:stream` request: `data: {"text": piece}`, the last with what else the model gave.

    Args:
        asked: the `inputs` of the body: `text`, and settings by the names of `tfllm.writing.RowSettings`.
        timeout_seconds: when the whole text must be there, if the client says so.
    """
    deadline = deadline_in(timeout_seconds)
    if not isinstance(asked, dict) or not isinstance(asked.get("text"), str):
        raise invalid("Give `inputs`: an object with `text`, a string, and settings: max_new_tokens, temperature, ...")
    text = asked["text"].encode()
    check_text(text, service.limits)
    with service.models.acquire(spec) as version:
        name = signature_name or "generate"
        signature = version.model.find(name)
        if signature is None or set(signature.inputs) != {"text", *RowSettings._fields}:
            raise invalid(f'The model does not write text: it has no signature "{name}" of tfllm.')
        given = {name: value for name, value in asked.items() if name != "text"}
        settings = row_settings(version, given)
        texts = {"text": np.array([text], object)}
        async for piece in write_pieces(service, version, signature, texts, settings, deadline=deadline):
            event = {"text": piece.text}
            if piece.is_last:
                written = piece.written
                event |= {"done": True, **{name: written[name] for name in written if name != "text"}}
                event["whole"] = written["text"]
            yield event_of(event)
        yield event_of("[DONE]")


def row_settings(version: Version, given: dict) -> RowSettings:
    """The settings of a request; what it does not say is as the model was saved with.

    Raises:
        ServingError: for settings that mean nothing.
    """
    for name, value in given.items():
        if name not in RowSettings._fields:
            raise invalid(f"`{name}` is no setting of a request: {', '.join(RowSettings._fields)}.")
        whole = name not in ("temperature", "top_p")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise invalid(
                f"`{name}` must be {'a whole number' if whole else 'a number'}. Received: {str(value)[:50]!r}."
            )
        if not whole and value > _LARGEST:
            raise invalid(f"`{name}` must be at most {_LARGEST:g}. Received: {str(value)[:50]!r}.")
    try:
        return read_settings(given, _stored(version))[0]
    except ServingError:
        raise
    except (InputError, OverflowError) as error:
        raise invalid(str(error)) from None


def stored_settings(version: Version) -> tuple[RowSettings, Rules]:
    """What a model was saved with."""
    return read_settings({}, _stored(version))


def event_of(value: dict | str) -> bytes:
    """A server-sent event."""
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {data.translate(_LINE_ENDS)}\n\n".encode("utf-8", "replace")


async def after(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The first event and those behind it; an error among them is an event, for the status is long sent."""
    yield first
    try:
        async for event in events:
            yield event
    except InputError as error:
        yield b"event: error\n" + event_of({"error": str(error)})


def deadline_in(timeout_seconds: float | None) -> float | None:
    """When so many seconds have passed, as `time.monotonic` tells it; None: never."""
    return None if timeout_seconds is None else time.monotonic() + timeout_seconds


def remaining(deadline: float | None) -> float | None:
    """The seconds until then."""
    return None if deadline is None else max(deadline - time.monotonic(), 0.0)


async def _keeps_prompt(
    service: Service, version: Version, texts: Mapping[str, np.ndarray], tokens: int, deadline: float | None
) -> bool:
    """Whether a prompt is used whole, so that the text's beginning does not depend on `tokens`."""
    length, signature = version.model.facts.get("sequence_length"), version.model.find("tokenize")
    if not isinstance(length, int) or signature is None:
        return False
    parts = np.concatenate([array.ravel() for array in texts.values()])
    found = await service.predict(version, signature, {"text": parts}, ("num_tokens",), remaining(deadline))
    counts = found["num_tokens"]
    room = min(max(length - tokens, length // 2), length - 1)
    beside = 0 if "text" in texts else _SYSTEM + _MARKERS * len(parts)
    return bool((counts < length).all() and counts.sum() + beside <= room)


def _stored(version: Version) -> dict:
    try:
        return manifest.read_manifest(version.directory, "savedmodel")["arguments"]["model"]["arguments"]["generation"]
    except (InputError, KeyError, TypeError):
        return {}


def _was_cut_short(written: dict, asked: int) -> bool:
    """Whether a text would go on if it might."""
    return written.get("finish_reason") != "stop" and written.get("num_tokens", asked) >= asked


def _until(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """A text up to the first of `stops`, and whether there is one."""
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _without_end(text: str, stops: tuple[str, ...]) -> str:
    """The part of an unfinished text that will not change: no half a character, no beginning of a stop string."""
    text = text.rstrip(_REPLACEMENT)
    most = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(most, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return text[:-length]
    return text


def _plain(value: object) -> object:
    """A Python value of one element of an array."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
