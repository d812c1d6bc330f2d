"""The process: what listens, who may ask, how it stops."""

import concurrent.futures
import contextlib
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.serving.waiting import states, until
from tfllm.checks import InputError
from tfllm.cli.predict import predict
from tfllm.serving import Client, ServingError, Settings, serve


def test_sigterm_gives_every_answer_that_has_begun(base_path, start_server, logged):
    server = start_server(base_path, "--trust", "--timeout", "100")
    logged(server, "numbers version 1 is served")

    together, body = threading.Barrier(26), {"inputs": [40_000], "signature_name": "slow"}

    def ask(_):
        with httpx.Client(base_url=server.url, timeout=100) as client:
            client.get("/v1/models/numbers")
            together.wait(60)
            return client.post("/v1/models/numbers:predict", json=body)

    def ask_grpc(_):
        with Client(f"grpc://{server.grpc}", timeout_seconds=100) as client:
            client.metadata("numbers")
            together.wait(60)
            return client.predict("numbers", [40_000], signature_name="slow")

    with concurrent.futures.ThreadPoolExecutor(25) as pool:
        waiting = [pool.submit(ask, number) for number in range(20)]
        waiting_grpc = [pool.submit(ask_grpc, number) for number in range(5)]
        together.wait(60)
        time.sleep(0.5)
        assert not any(future.done() for future in (*waiting, *waiting_grpc))
        server.process.send_signal(signal.SIGTERM)
        answers = [future.result() for future in waiting]
        assert [future.result() for future in waiting_grpc] == [{"n": [40_000], "version": [1]}] * 5
    assert [answer.status_code for answer in answers] == [200] * 20
    assert all(answer.json()["outputs"] == {"n": [40_000], "version": [1]} for answer in answers)
    assert server.process.wait(30) == 0


@pytest.mark.slow
def test_who_leaves_makes_room(base_path, start_server, logged):
    options = ["--threads", "1", "--max-queue", "1", "--max-batch-size", "1"]
    server = start_server(base_path, "--trust", *options)
    logged(server, "numbers version 1 is served")
    slow = json.dumps({"signature_name": "slow", "inputs": [10**6]})
    host, port = server.url.removeprefix("http://").split(":")

    def begin(patience):
        """A request by a client that has not read its answer yet."""
        connection = socket.create_connection((host, int(port)), 30)
        head = f"POST /v1/models/numbers:predict HTTP/1.1\r\nHost: localhost\r\nX-Request-Timeout: {patience}\r\n"
        connection.sendall(f"{head}Content-Length: {len(slow)}\r\n\r\n{slow}".encode())
        return connection

    def status():
        with begin(0.05) as connection:
            return connection.recv(100).split()[1]

    with begin(6) as first:  # runs, with nothing behind it
        until(lambda: status() == b"504")
        with begin(6):  # waits, and nobody else may
            until(lambda: status() == b"429")
        until(lambda: status() == b"504")
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)
    assert server.stop() == 0


def test_who_does_not_send_a_whole_request_is_left(base_path, start_server):
    """Neither at once nor byte by byte; others would find no place, and a token is asked for later."""
    server = start_server(base_path, "--trust", "--timeout", "1")
    host, port = server.url.removeprefix("http://").split(":")
    head = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
    body = "POST /v1/models/numbers:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    answers = {"": b"", "GET /": b"", f"{head}X: ": b"", f"{head}\r\nGET /": b"HTTP/1.1 200", body: b"HTTP/1.1 504"}
    waiting = {}
    for begun in answers:
        connection = socket.create_connection((host, int(port)), 30)
        connection.sendall(begun.encode())
        waiting[connection] = [begun, b""]
    left, end = {}, time.monotonic() + 30
    while waiting and time.monotonic() < end:
        for connection in select.select(waiting, [], [], 0.2)[0]:
            with contextlib.suppress(ConnectionError):
                if part := connection.recv(65536):
                    waiting[connection][1] += part
                    continue
            begun, answer = waiting.pop(connection)
            left[begun] = answer
            connection.close()
        for connection, (begun, _) in waiting.items():
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"a" if begun else b"")
    assert left.keys() == answers.keys()
    for begun, answer in answers.items():
        assert left[begun][:12] == answer
    assert server.stop() == 0


def test_the_server_imports_no_keras(base_path):
    program = (
        "import sys, tfllm.cli\n"
        f"sys.argv = ['tfllm', 'serve', {str(base_path)!r}, '--trust', '--rest-port', '0', '--grpc-port', '0']\n"
        "try: tfllm.cli.main()\n"
        "finally: print(*(name for name, module in sys.modules.items() if module))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with httpx.Client(base_url=process.stdout.readline().split()[1]) as client:
        until(lambda: states(client) == {1: "AVAILABLE"})
    process.send_signal(signal.SIGTERM)
    imported = set(process.communicate(timeout=60)[0].split())
    assert {"tensorflow", "grpc", "uvicorn"} <= imported
    assert not [name for name in imported if name.split(".")[0] in ("keras", "keras_hub", "keras_nlp", "tf_keras")]


def test_a_token_is_asked_for(base_path, saved_models, start_server, logged, tmp_path, capsys):
    shutil.copytree(saved_models / "reviews", base_path / "reviews")
    token = "a-token-of-32-characters-0123456"
    (tmp_path / "token").write_text(token + "\n")
    server = start_server(base_path, "--trust", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    logged(server, "numbers version 1 is served", "reviews version 1 is served")
    url = server.url.replace("0.0.0.0", "127.0.0.1") + "/v1/models/numbers"
    assert httpx.get(url).status_code == 401
    wrong = httpx.get(url, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401 and "This is not the server's token" in wrong.json()["error"]
    assert httpx.get(url, headers={"Authorization": f"bearer {token}"}).status_code == 200
    assert httpx.get(url.replace("/v1", "/V1")).status_code == 401
    assert httpx.get(url.split("/v1")[0] + "/monitoring/prometheus/metrics").status_code == 401
    right = {"Authorization": f"Bearer {token}"}
    assert httpx.get(url, headers={**right, "Host": "example.com"}).status_code == 200

    with Client(server.url.replace("0.0.0.0", "127.0.0.1"), token=token) as client:
        assert client.predict("numbers", [1.0]) == {"y": [2.5]}
    grpc = "grpc://" + server.grpc.replace("0.0.0.0", "127.0.0.1")
    with Client(grpc, token=token) as client:
        assert client.predict("numbers", [1.0]) == {"y": [2.5]}
    with Client(grpc) as client, pytest.raises(ServingError, match="Send the token") as error:
        client.status("numbers")
    assert error.value.code == "UNAUTHENTICATED"
    for url in (server.url.replace("0.0.0.0", "127.0.0.1"), grpc):
        predict("reviews", ["a good one"], url=url, token_file=tmp_path / "token", as_json=True)
        assert json.loads(capsys.readouterr().out)["label"] == "good"
        with pytest.raises(ServingError, match="Send the token"):
            predict("reviews", ["a good one"], url=url)
    with pytest.raises(InputError, match="give --url, too"):
        predict("reviews", ["a good one"], token_file=tmp_path / "token")
    assert server.stop() == 0


def test_without_a_token_only_this_machines_names_are_answered(rest):
    assert rest.get("/v1/models/numbers", headers={"Host": "evil.example"}).status_code == 403
    assert rest.get("/v1/models/numbers", headers={"Host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize("option", ["--rest-port", "--grpc-port"])
def test_a_port_that_is_taken_is_said_before_any_model_is_looked_for(server, option):
    rest_port, grpc_port = (int(one.rpartition(":")[2]) for one in (server.url, server.grpc))
    ports = (rest_port, 0) if option == "--rest-port" else (0, grpc_port)
    message = f"127.0.0.1:{max(ports)} cannot be listened on: {os.strerror(errno.EADDRINUSE)}. Choose another {option}."
    with pytest.raises(InputError) as error:
        serve(lambda: pytest.fail("looked for models"), Settings("127.0.0.1", *ports))
    assert str(error.value) == message


def test_two_servers_never_share_a_port(server):
    for address in (server.url, server.grpc):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_what_tensorflow_says_when_it_starts_is_held_back(server):
    noise = re.compile(r"absl::InitializeLog|cuda|rebuild TensorFlow|[IWE]\d{4} \d\d:")
    assert not [line for line in server.log if noise.search(line)]
