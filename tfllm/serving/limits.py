"""How much one request may ask for, so that none of them takes the server from the others."""

from typing import NamedTuple


class Limits(NamedTuple):
    """0 turns a limit off.

    Attributes:
        body_bytes: of an HTTP body or a gRPC message.
        instances: rows of a request.
        text_bytes: of each string in it.
        json_depth: how deep lists and objects may stand in each other.
        queue: requests that wait for a batch.
        timeout_seconds: until an answer must be there.
    """

    body_bytes: int = 16 * 2**20
    instances: int = 4096
    text_bytes: int = 2**20
    json_depth: int = 64
    queue: int = 256
    timeout_seconds: float = 30.0


_OFF = {
    "body_bytes": "--max-body-bytes is off: one request can take all memory.",
    "instances": "--max-instances is off: one request can hold a worker for long.",
    "text_bytes": "--max-text-bytes is off: one text can hold a worker for long.",
    "json_depth": "--max-json-depth is off: only Python's own limit holds.",
    "queue": "--max-queue is off: under load requests wait and take memory without bound.",
    "timeout_seconds": "--timeout is off: a client can wait for ever.",
}


def warnings_of(limits: Limits) -> list[str]:
    """One sentence for each limit that is off."""
    return [sentence for name, sentence in _OFF.items() if not getattr(limits, name)]
