"""Who may ask: a token, or only who is on this machine; and what browsers may do with the page."""

import hmac
import json
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("tfllm")
LOCAL = ("localhost", "127.0.0.1", "[::1]")
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_OPEN = ("/v1", "/monitoring")  # what is behind the token; the page holds nothing secret


class Guard:
    """Refuses who may not ask; turns a defect into an answer.

    Without a token, a request must name this machine as its host: otherwise a web page could make its name point here
    and read what the server answers.
    """

    def __init__(self, app: ASGIApp, token: str | None):
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._token is None:
            host = headers.get(b"host", b"localhost").decode("latin-1").lower()
            if host.rsplit(":", 1)[0] not in LOCAL and host not in LOCAL:
                await _refuse(send, 403, f"This server answers to {', '.join(LOCAL)} only, not to {host!r}.")
                return
        elif scope["path"].lower().startswith(_OPEN) and not is_token(headers.get(b"authorization"), self._token):
            await _refuse(send, 401, token_error(headers.get(b"authorization")))
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if begun:
                raise
            await _refuse(send, 500, "This is a defect; the server's log has more.")


class WithHeaders:
    """An application whose answers carry these headers, too."""

    def __init__(self, app: ASGIApp, headers: dict[str, str]):
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, with_headers)


def is_token(given: bytes | None, token: str) -> bool:
    """Whether an Authorization header holds the token; takes as long whatever it holds."""
    scheme, _, shown = (given or b"").partition(b" ")
    return hmac.compare_digest(shown, token.encode()) and scheme.lower() == b"bearer"


def token_error(given: bytes | None) -> str:
    """What to do about an Authorization header that does not hold the token."""
    if not given:
        return "Send the token: `Authorization: Bearer TOKEN`; `--token-file` of `tfllm predict`."
    return "This is not the server's token. Send `Authorization: Bearer TOKEN` with what stands in its --token-file."


async def _refuse(send: Send, code: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
