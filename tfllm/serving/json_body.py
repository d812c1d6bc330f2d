"""The bytes of a request -> a JSON object, by the standard library, after checks that cost little."""

import json
import math
import re
import zlib

import numpy as np

from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.limits import Limits

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# What Python's parser says -> what RapidJSON says, which TF Serving uses.
_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Extra data": "The document root must not be followed by other values.",
    "Expecting ',' delimiter": "Missing a comma or closing bracket after an element.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character at": "Invalid encoding in string.",
}
_SHOWN = 200  # characters of what arrived, in a message


class Repeated(dict):
    """An object that names something twice, with the first value of each name, which RapidJSON finds.

    Attributes:
        name: the first that stands twice.
        last: the last value of each name.
    """

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(reversed(pairs))
        self.last, seen = dict(pairs), set()
        self.name = next(name for name, _ in pairs if name in seen or seen.add(name))


def read_json(body: bytes, limits: Limits, *, distinct: bool = False) -> dict:
    """The object of a request's body.

    Args:
        body, limits: of the request.
        distinct: a name that stands twice in an object is an error; otherwise the object is a `Repeated`.

    Raises:
        ServingError: INVALID_ARGUMENT for anything that is no JSON object in UTF-8, is nested too deep, or holds a
            number no double can hold or half a surrogate pair.
    """
    if limits.body_bytes and len(body) > limits.body_bytes:
        raise too_large(limits)
    if not body:
        raise _parse_error("The document is empty", 0)
    depth = _depth(body, limits.json_depth) if limits.json_depth else 0
    if depth > limits.json_depth:
        raise invalid(f"JSON Parse error: nested {depth} deep; this server allows {limits.json_depth}")
    try:
        text = body.decode("utf-8-sig")
        members = _distinct if distinct else _members
        value = json.loads(text, parse_float=_float, parse_int=_integer, object_pairs_hook=members)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from None
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    except json.JSONDecodeError as error:
        reason = "The document is empty" if not text.strip() else _PARSE_ERRORS.get(error.msg, error.msg)
        raise _parse_error(reason, error.pos) from None
    except RecursionError:
        raise invalid("JSON Parse error: nested too deep") from None
    if not isinstance(value, dict):
        raise invalid(f"JSON Value: {shown(value)} Is not object")
    return value


def inflate(body: bytes, limits: Limits) -> bytes:
    """What a gzipped body holds.

    Raises:
        ServingError: INVALID_ARGUMENT when it is not whole and nothing but gzip; OUT_OF_RANGE when it holds too much.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        inflated = inflater.decompress(body, limits.body_bytes + 1 if limits.body_bytes else 0)
    except zlib.error:
        raise invalid("The body is not gzip, though Content-Encoding says so.") from None
    if limits.body_bytes and len(inflated) > limits.body_bytes:
        raise too_large(limits)
    if not inflater.eof or inflater.unused_data:
        raise invalid("The gzipped body is cut off, or goes on behind its end.")
    return inflated


def shown(value: object) -> str:
    """A JSON value in a message, cut if it is long."""
    text = json.dumps(_beginning(value), ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def too_large(limits: Limits) -> ServingError:
    """A body or message that is too large."""
    return ServingError("OUT_OF_RANGE", f"The request is larger than {limits.body_bytes} bytes (--max-body-bytes).")


def _beginning(value: object, depth: int = 4) -> object:
    """So much of a value as a message can show, so that a large one costs nothing."""
    if isinstance(value, str):
        return value[:_SHOWN]
    if isinstance(value, list | dict) and not depth:
        return "..."
    if isinstance(value, list):
        return [_beginning(one, depth - 1) for one in value[:8]]
    if isinstance(value, dict):
        return {name[:_SHOWN]: _beginning(one, depth - 1) for name, one in list(value.items())[:8]}
    return value


def _members(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(pairs)


def _distinct(pairs: list[tuple[str, object]]) -> dict:
    found = _members(pairs)
    if isinstance(found, Repeated):
        raise invalid(f"An object of the request names {shown(found.name)} twice.")
    return found


def _depth(body: bytes, limit: int) -> int:
    """How deep brackets stand in each other outside strings; 0 where so few cannot pass the limit."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return 0
    brackets = np.frombuffer(_STRING.sub(b"", body).translate(None, _NO_BRACKETS), np.uint8)
    opening = (brackets == ord("[")) | (brackets == ord("{"))
    return int(np.cumsum(np.where(opening, 1, -1)).max(initial=0))


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise invalid("JSON Parse error: Number too big to be stored in double.")
    return value


def _integer(digits: str) -> int | float:
    """An integer of 64 bits; a larger one is a double, as in RapidJSON."""
    if len(digits) <= 18:
        return int(digits)
    if len(digits) > 310:
        raise invalid("JSON Parse error: Number too big to be stored in double.")
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else _float(digits)


def _parse_error(reason: str, offset: int) -> ServingError:
    return invalid(f"JSON Parse error: {reason} at offset: {offset}")
