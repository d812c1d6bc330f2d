"""What surrounds a request's JSON: its packing, its size, its method."""

import asyncio
import gzip
import json
import socket
import threading
import zlib

import pytest

from tfllm.serving.json_body import inflate
from tfllm.serving.limits import Limits
from tfllm.serving.service import apart

BODY = json.dumps({"instances": [1.0]}).encode()
PREDICT = "/v1/models/numbers:predict"


def post_packed(rest, content, encoding="gzip"):
    return rest.post(PREDICT, content=content, headers={"Content-Encoding": encoding})


def test_a_gzipped_body_is_unpacked(rest):
    for encoding in ("gzip", "GZIP"):
        assert post_packed(rest, gzip.compress(BODY), encoding).json() == {"predictions": [3.5]}
    assert post_packed(rest, BODY, "identity").json() == {"predictions": [3.5]}


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (BODY, "gzip", "not gzip"),
        (zlib.compress(BODY), "gzip", "not gzip"),
        (b"", "gzip", "cut off"),
        (gzip.compress(BODY, mtime=0)[:-1], "gzip", "cut off"),
        (gzip.compress(BODY, mtime=0) + b"x", "gzip", "goes on behind its end"),
        (gzip.compress(BODY, mtime=0)[:-8] + bytes(8), "gzip", "not gzip"),
        (gzip.compress(bytes(2**24 + 1), mtime=0), "gzip", "larger than 16777216 bytes"),
        (BODY, "br", "Received: Content-Encoding: br"),
    ],
)
def test_a_packed_body_that_cannot_be_unpacked_is_an_error(rest, content, encoding, message):
    response = post_packed(rest, content, encoding)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_without_a_limit_everything_is_unpacked():
    assert inflate(gzip.compress(bytes(2**22)), Limits(body_bytes=0)) == bytes(2**22)


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_who_sends_too_much_gets_an_answer_though_the_connection_ends(server, version):
    host, port = server.url.removeprefix("http://").split(":")
    size = 2**25  # more than all buffers on the way hold
    head = f"POST {PREDICT} {version}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(head.encode() + bytes(size))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400") and b"larger than 16777216 bytes" in answer


def test_head_asks_whether_something_is_there(rest):
    for path, status in (("/v1/models", 200), ("/v1/models/numbers", 200), ("/v1/models/nothing", 404)):
        response = rest.head(path)
        assert response.status_code == status and response.content == b""
    assert rest.head(PREDICT).status_code == 400


def test_what_takes_long_to_read_is_read_in_a_thread():
    here = threading.get_ident()
    assert asyncio.run(apart(100, threading.get_ident)) == here
    assert asyncio.run(apart(2**20, threading.get_ident)) != here
