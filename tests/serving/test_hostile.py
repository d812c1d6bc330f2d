"""Sixty inputs that mean harm, on five entry points: an error that says why, at once; never a crash, never a 5xx."""

import contextlib
import gzip
import json
import socket
from urllib.parse import quote

import grpc
import psutil
import pytest

from tfllm.serving.json_body import read_json
from tfllm.serving.limits import Limits

SIZE = 100_000


def predict(value: str) -> bytes:
    return f'{{"signature_name": "text", "instances": [{value}]}}'.encode("utf-8", "surrogatepass")


HOSTILE = {
    # no JSON
    "empty": b"",
    "space": b" " * SIZE,
    "null bytes": b"\x00" * SIZE,
    "random": bytes(range(256)) * 400,
    "utf-16": '{"instances": ["a"]}'.encode("utf-16"),
    "utf-32": '{"instances": ["a"]}'.encode("utf-32"),
    "gzip": gzip.compress(b'{"instances": [1.0]}'),
    "xml": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "pickle": b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "python": b"{'instances': [__import__('os').system('true')]}",
    "yaml": b"instances: !!python/object/apply:os.system ['true']",
    "form": b"instances=%5B1.0%5D&" * 5000,
    "open string": b'{"instances": ["' + b"a" * SIZE,
    "open string of escapes": b'{"instances": ["' + b'\\"' * (SIZE // 2),
    "quotes": b'"' * SIZE,
    "backslashes": b'{"instances": ["' + b"\\" * SIZE,
    "commas": b"[" + b"," * SIZE,
    "colons": b"{" + b":" * SIZE,
    "two documents": b'{"instances": [1.0]}' * 5000,
    "comment": b'/* */ {"instances": [1.0]} // ' + b"a" * SIZE,
    "trailing null": b'{"instances": [1.0]}\x00',
    # nesting
    "lists": b"[" * SIZE,
    "objects": b'{"a":' * (SIZE // 5),
    "closed lists": b'{"instances": ' + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}",
    "lists in a string": predict('"' + "[" * SIZE + '"'),
    "deep instances": b'{"instances": [' + b"[" * 62 + b"1.0" + b"]" * 62 + b"]}",
    "deep context": b'{"context": ' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b', "examples": [{}]}',
    "wide and deep": b'{"instances": [' + b"[[[[[1.0]]]]]," * 5000 + b"1]}",
    "pairs": b'{"instances": [' + b"[],{}," * 15000 + b"[]]}",
    # numbers
    "long integer": b'{"instances": [' + b"9" * SIZE + b"]}",
    "long negative": b'{"instances": [-' + b"9" * 5000 + b"]}",
    "long fraction": b'{"instances": [0.' + b"1" * SIZE + b"]}",
    "long exponent": b'{"instances": [1e' + b"9" * SIZE + b"]}",
    "small exponent": b'{"instances": [1e-' + b"9" * 1000 + b"]}",
    "huge double": b'{"instances": [1e400]}',
    "2**64": b'{"instances": [18446744073709551616]}',
    "many numbers": b'{"instances": [' + b"1e308," * 15000 + b"1]}",
    "nan": b'{"instances": [[NaN, Infinity], [-Infinity]]}',
    "hexadecimal": b'{"instances": [0x41]}',
    # texts
    "surrogate": predict('"\\ud800"'),
    "turned pair": predict('"\\udc00\\ud800"'),
    "raw surrogate": predict('"\ud800"'),
    "surrogate key": b'{"instances": [{"\\ud800": 1.0}], "examples": [{"\\ud800": 1.0}]}',
    "overlong": predict('"a"').replace(b'"a"', b'"\xc0\xaf"'),
    "latin-1": predict('"a"').replace(b'"a"', b'"\xe9"'),
    "controls": predict('"' + "\x01" * 1000 + '"'),
    "nul escape": predict('"' + "\\u0000" * 10000 + '"'),
    "marks": predict('"' + "a" + "\u0301" * 30000 + '"'),
    "long text": predict('"' + "a" * SIZE + '"'),
    "format": predict('"%s%n{0.__class__}${jndi:ldap://a}"'),
    # shapes and names
    "mixed": b'{"instances": [1.0, "a", null, true, {}, []]}',
    "ragged": b'{"instances": [[1.0], [1.0, 2.0]]}',
    "null": b'{"instances": null, "examples": null, "signature_name": null}',
    "long signature": b'{"instances": [1.0], "examples": [{}], "signature_name": "' + b"a" * SIZE + b'"}',
    "same key": b"{" + b'"instances": [1.0],' * 5000 + b'"instances": 3}',
    "many keys": json.dumps({str(number): number for number in range(8000)}).encode(),
    "many features": json.dumps({"examples": [{str(number): number for number in range(8000)}]}).encode(),
    "many examples": json.dumps({"examples": [{}] * 30000, "instances": [[]] * 30000}).encode(),
    "base64": b'{"instances": [{"b64": "' + b"=" * SIZE + b'"}], "signature_name": "text"}',
    "constructor": b'{"__proto__": {"a": 1}, "instances": [{"__class__": 1}], "examples": [{"__init__": 1}]}',
}
TEXTS = {"lists in a string", "nul escape", "marks", "long text", "format"}
MAY_ANSWER = {*TEXTS, "many numbers", "long fraction", "small exponent", "2**64", "same key"}  # the first counts


@pytest.fixture
def takes_little(server):
    """Checks what the server's process has computed for a body: a second for each 100 KB at most."""
    process = psutil.Process(server.process.pid)
    began = sum(process.cpu_times()[:2])
    yield
    assert sum(process.cpu_times()[:2]) - began < 1.0
    assert process.is_running()


def test_there_are_sixty():
    assert len(HOSTILE) == 60
    assert max(map(len, HOSTILE.values())) < 2.5 * SIZE


@pytest.mark.parametrize("method", ["predict", "classify", "regress"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_answered_with_its_error(rest, takes_little, name, method):
    response = rest.post(f"/v1/models/numbers:{method}", content=HOSTILE[name])
    if response.status_code == 200:
        assert method == "predict" and name in MAY_ANSWER, response.text[:300]
    else:
        assert response.status_code == 400
        assert 0 < len(response.json()["error"]) < 1100


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_path_is_answered_with_its_error(rest, takes_little, name):
    segment = quote(HOSTILE[name][:3000], safe="")
    for path in (f"/v1/models/{segment}/metadata", f"/v1/models/numbers/versions/{segment}/metadata"):
        response = rest.request("GET", path, content=HOSTILE[name])
        assert response.status_code in (400, 404, 414)


def test_a_version_of_many_digits_is_an_error(rest):
    path = f"/v1/models/numbers/versions/{'9' * 5000}"
    for response in (rest.get(path), rest.post(f"{path}:predict", json={"instances": [1.0]})):
        assert response.status_code == 400
        assert "Failed to convert version" in response.json()["error"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /",
        b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
    ],
)
def test_headers_without_end_are_refused(server, head):
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
            for _ in range(400):  # 48 MB, of which the server keeps little
                connection.sendall((b"A: b\r\n" if head.endswith(b"\n") else b"aaaaaa") * 20_000)
            pytest.fail("it took all of it")
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(1000)
    assert answer[:12] in (b"", b"HTTP/1.1 400")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_answered_with_its_error(server, takes_little, name):
    calm = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}
    undecodable = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}  # by gRPC itself, before our code
    body = HOSTILE[name]
    model = b"\x0a\x07numbers\x1a\x04text"
    wrapped = b"\x0a" + bytes([len(model)]) + model + b"\x12" + _sized(b"\x0a\x04text\x12" + _sized(body))
    with grpc.insecure_channel(server.grpc) as channel:
        for message, allowed in ((body, calm | undecodable), (wrapped, calm | undecodable)):
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            with pytest.raises(grpc.RpcError) as error:
                call(message, 30)
            assert error.value.code() in allowed, error.value.details()
            assert "defect" not in error.value.details()


def _sized(content: bytes) -> bytes:
    """A field's content behind its length, as protobuf writes it."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return length + bytes([size]) + content


@pytest.mark.parametrize(
    ("limits", "body", "message"),
    [
        ({"max-body-bytes": 1000}, {"instances": [1.0] * 1000}, "The request is larger than 1000 bytes"),
        ({"max-instances": 2}, {"instances": [1.0] * 3}, "3 instances; this server takes 2 a request"),
        ({"max-instances": 2}, {"inputs": [1.0] * 3}, "3 instances; this server takes 2 a request"),
        ({"max-text-bytes": 5}, {"instances": ["你好"], "signature_name": "text"}, "A text of 6 bytes"),
        ({"max-json-depth": 2}, {"instances": [[1.0]]}, "nested 3 deep; this server allows 2"),
    ],
)
def test_each_limit_is_said(limited, limits, body, message):
    response = limited.post("/v1/models/numbers:predict", json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.fixture(scope="module")
def limited(saved_models, start_server, logged):
    """A client of a server that takes little."""
    import httpx

    options = "--max-body-bytes 1000 --max-instances 2 --max-text-bytes 5 --max-json-depth 2 --max-queue 0 --timeout 0"
    server = start_server(saved_models / "numbers", "--trust", *options.split())
    logged(server, "numbers version 2 is served")
    log = "".join(server.log)
    assert "--max-queue is off" in log and "--timeout is off" in log and "--max-instances is off" not in log
    assert "For production use TF Serving" in log
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    assert server.stop() == 0


def test_deep_nesting_is_found_outside_strings_only():
    limits = Limits(json_depth=3)
    assert read_json(b'{"a": ["[[[[[[", "\\"[[[[["], "b": [[1]]}', limits) == {"a": ["[[[[[[", '"[[[[['], "b": [[1]]}
    with pytest.raises(ValueError, match="nested 4 deep"):
        read_json(b'{"a": [[[1]]]}', limits)
