"""HTTP as uvicorn and httptools speak it, with an end to headers: httptools itself keeps any number of them in memory.

In: the bytes of a connection. Out: requests, or 400 before anybody's token was looked at.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # what uvicorn allows where it parses HTTP itself


class Connection(HttpToolsProtocol):
    """A connection whose requests come in time, and whose headers, and trailers behind a body, do not go on for ever.

    Args:
        patience_seconds: until a request must be whole, from the connection's start or its own; 0: for ever.
    """

    _waiting_bytes = 0  # that came since a head or a part of a body was whole
    _was_whole = False

    def __init__(self, *args, patience_seconds: float, **kwargs):
        super().__init__(*args, **kwargs)
        self._patience_seconds = patience_seconds
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Somebody is there."""
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take more of the requests."""
        self._was_whole = False
        super().data_received(data)
        self._waiting_bytes = 0 if self._was_whole else self._waiting_bytes + len(data)
        if self._waiting_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too long.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._expect_request()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._was_whole = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._was_whole = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._was_whole = True
        self._expect_nothing()
        super().on_message_complete()

    def _expect_request(self) -> None:
        self._expect_nothing()
        if self._patience_seconds:
            self._patience = self.loop.call_later(self._patience_seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _give_up(self) -> None:
        """Hang up, unless an answer is on its way, to this request or to one before it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_request()
        else:
            self.transport.close()
