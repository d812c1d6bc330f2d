"""What surrounds a request's JSON: its packing, its size, its method."""

import asyncio
import gzip
import json
import socket
import threading
import time
import zlib
from functools import partial

import pytest

from tfllm.serving.json_body import inflate
from tfllm.serving.limits import Limits
from tfllm.serving.service import Service, apart

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


def test_no_answer_waits_until_its_beginning_is_acknowledged(rest):
    """40 ms, when a connection is used again: of two short packets the second waits, unless the server says no."""

    def ask() -> float:
        began = time.perf_counter()
        assert rest.post(PREDICT, content=BODY).status_code == 200
        return time.perf_counter() - began

    for _ in range(20):  # the first packets of a connection are acknowledged at once
        ask()
    assert min(ask() for _ in range(20)) < 0.03


def test_head_asks_whether_something_is_there(rest):
    for path, status in (("/v1/models", 200), ("/v1/models/numbers", 200), ("/v1/models/nothing", 404)):
        response = rest.head(path)
        assert response.status_code == status and response.content == b""
    assert rest.head(PREDICT).status_code == 400


def test_what_takes_long_to_read_is_read_in_a_thread():
    here = threading.get_ident()
    assert asyncio.run(apart(100, threading.get_ident)) == here
    assert asyncio.run(apart(2**20, threading.get_ident)) != here


def test_many_examples_are_read_and_answered_in_a_thread(saved_models, monkeypatch):
    from tensorflow_serving.apis import classification_pb2

    from tfllm.serving import Batching, find_models, grpc_api, rest
    from tfllm.serving.batching import Batcher
    from tfllm.serving.metrics import Metrics
    from tfllm.serving.models import Models
    from tfllm.serving.server import load
    from tfllm.serving.spec import ModelSpec

    here, threads = threading.get_ident(), {}

    def watch(module, name):
        whole = getattr(module, name)

        def watched(*arguments):
            threads[name] = threading.get_ident()
            return whole(*arguments)

        monkeypatch.setattr(module, name, watched)

    metrics = Metrics()
    models = Models(partial(find_models, saved_models / "numbers"), load, metrics, 0)
    models.look()
    batcher = Batcher(Batching(num_threads=1), 0, metrics)
    service = Service(models, batcher, Limits(), metrics)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "numbers", "classify"
    for _ in range(4096):
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(0.25)
    for module, name in ((grpc_api, "_examples"), (grpc_api, "_classifications"), (rest, "write_classes")):
        watch(module, name)
    answer = asyncio.run(grpc_api.PredictionService(service)._classify(request, None))
    assert [one.score for one in answer.result.classifications[-1].classes] == [0.75, 0.25]
    body = json.dumps({"signature_name": "classify", "examples": [{"x": 0.25}] * 4096}).encode()
    answer = asyncio.run(rest.Rest(service)._classify(ModelSpec("numbers"), body, None))
    assert json.loads(answer.body)["results"][-1] == [["small", 0.75], ["large", 0.25]]
    batcher.close()
    models.stop()
    assert len(threads) == 3 and here not in threads.values()
