"""HTTP as uvicorn and httptools speak it, with an end to headers: httptools itself keeps any number of them in memory.

In: the bytes of a connection. Out: requests, or 400 before anybody's token was looked at.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # what uvicorn allows where it parses HTTP itself


class Connection(HttpToolsProtocol):
    """A connection whose request line, headers, and trailers behind a body, must not go on for ever."""

    _waiting_bytes = 0  # that came since a head or a part of a body was whole
    _was_whole = False

    def data_received(self, data: bytes) -> None:
        """Take more of the requests."""
        self._was_whole = False
        super().data_received(data)
        self._waiting_bytes = 0 if self._was_whole else self._waiting_bytes + len(data)
        if self._waiting_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too long.")

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
        super().on_message_complete()
