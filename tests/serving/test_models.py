"""Versions come, fail, swap and go while requests go on; what listens, who may ask, how it stops."""

import concurrent.futures
import contextlib
import errno
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import httpx
import pytest

from tfllm.checks import InputError
from tfllm.cli.predict import predict
from tfllm.cli.serve import _check_ours
from tfllm.serving import Client, ModelConfig, ServingError, Settings, find_models, read_config, serve
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Models
from tfllm.serving.server import load
from tfllm.serving.spec import ModelSpec
from tfllm.serving.status import status_json


@pytest.fixture
def base_path(saved_models, tmp_path):
    """A base path of its own with numbers/1."""
    shutil.copytree(saved_models / "numbers" / "1", tmp_path / "numbers" / "1")
    return tmp_path


def states(client, name="numbers") -> dict:
    found = client.get(f"/v1/models/{name}").json()
    return {int(one["version"]): one["state"] for one in found.get("model_version_status", [])}


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def put(source, target):
    """Write a version as an export does: elsewhere, renamed last."""
    beside = target.with_name(f".{target.name}.unfinished")
    shutil.copytree(source, beside)
    beside.rename(target)


def test_versions_come_fail_swap_and_go(base_path, saved_models, start_server, logged):
    server = start_server(base_path, "--trust", "--poll", "0.1")
    logged(server, "numbers version 1 is served")
    second = saved_models / "numbers" / "2"
    with httpx.Client(base_url=server.url, timeout=60) as client:
        ask = lambda: client.post("/v1/models/numbers:predict", json={"instances": [1.0]})  # noqa: E731
        assert ask().json() == {"predictions": [2.5]}

        broken = base_path / "numbers" / "2"  # fails to load: the old one goes on
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"not a graph")
        until(lambda: states(client).get(2) == "END")
        status = client.get("/v1/models/numbers/versions/2").json()["model_version_status"][0]["status"]
        assert status["error_code"] == "UNKNOWN" and "cannot be loaded" in status["error_message"]
        assert states(client)[1] == "AVAILABLE" and ask().json() == {"predictions": [2.5]}
        assert client.post("/v1/models/numbers/versions/2:predict", json={"instances": [1.0]}).status_code == 404

        shutil.rmtree(broken)  # written anew, it is loaded, and the old one leaves
        put(second, base_path / "numbers" / "2")
        until(lambda: states(client) == {1: "END", 2: "AVAILABLE"})
        assert ask().json() == {"predictions": [3.5]}
        assert client.post("/v1/models/numbers/versions/1:predict", json={"instances": [1.0]}).status_code == 404

        (base_path / "more").mkdir()
        put(saved_models / "words" / "3", base_path / "more" / "3")
        until(lambda: states(client, "more") == {3: "AVAILABLE"})
        with Client(server.url) as known:  # a later version may have more outputs
            assert known.predict("more", ["a good one"]) == {"text": ["a good one"]}
            put(saved_models / "reviews" / "1", base_path / "more" / "4")
            until(lambda: states(client, "more") == {3: "END", 4: "AVAILABLE"})
            assert known.predict("more", ["a good one"])["label"] == ["good"]
        shutil.rmtree(base_path / "numbers")  # taken away, it goes
        until(lambda: states(client) == {1: "END", 2: "END"})
        assert ask().status_code == 404
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == ["more"]
    assert server.stop() == 0


def test_a_foreign_savedmodel_needs_trust(base_path):
    models = Models(partial(find_models, base_path), partial(load, check=_check_ours), Metrics(), 0)
    models.look()
    (version,) = models.status(ModelSpec("numbers"))
    assert version.state == "END" and "--trust runs it all the same" in version.error
    with pytest.raises(ServingError, match="not found for request"), models.acquire(ModelSpec("numbers")):
        pass


def test_a_version_that_came_in_pieces_is_loaded_when_it_is_whole(base_path):
    whole, arriving = base_path / "numbers" / "1", base_path / "pieces" / "1"
    arriving.mkdir(parents=True)
    shutil.copy(whole / "saved_model.pb", arriving)
    models = Models(partial(find_models, base_path / "pieces"), load, Metrics(), 0)
    models.look()
    models.look()
    assert [one.state for one in models.status(ModelSpec("pieces"))] == ["END"]
    shutil.copytree(whole / "variables", arriving / "variables")
    models.look()
    assert [one.state for one in models.status(ModelSpec("pieces"))] == ["AVAILABLE"]
    models.stop()


def test_versions_may_have_leading_zeros(base_path):
    """As those of TF Serving's own examples: half_plus_two/00000123."""
    (base_path / "numbers" / "1").rename(base_path / "numbers" / "00000123")
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    models.look()
    with models.acquire(ModelSpec("numbers", 123)) as version:
        assert version.directory == base_path / "numbers" / "00000123"
    models.stop()


def test_a_disk_that_does_not_answer_unloads_nothing(base_path, caplog):
    models = Models(lambda: [ModelConfig("numbers", base_path / "numbers")], load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    with no_more_files():
        until(lambda: "what is served stays as it is" in caplog.text)
    assert [one.state for one in models.status(ModelSpec("numbers"))] == ["AVAILABLE"]
    models.stop()


@pytest.mark.parametrize("form", ["config", "base path"])
def test_a_base_path_that_vanishes_unloads_nothing_until_it_is_back(base_path, caplog, form):
    """As in TF Serving, whose poll of the file system fails as a whole; an empty one unloads."""
    numbers = base_path / "numbers"
    by_config = form == "config"
    find = (lambda: [ModelConfig("numbers", numbers)]) if by_config else partial(find_models, numbers)
    models = Models(find, load, Metrics(), 0.05)
    state = lambda: models.status(ModelSpec("numbers"))[0].state  # noqa: E731
    models.start()
    assert models.first_look.wait(30)
    numbers.rename(base_path / "elsewhere")
    until(lambda: f"{numbers}" in caplog.text)
    time.sleep(0.3)
    assert caplog.text.count("is not there") == 1, "told once, not at every look"
    assert "what is served stays as it is" in caplog.text
    assert state() == "AVAILABLE"
    with models.acquire(ModelSpec("numbers")):
        pass
    (base_path / "elsewhere").rename(numbers)
    put(numbers / "1", numbers / "2")
    until(lambda: {one.number: one.state for one in models.status(ModelSpec("numbers"))} == {1: "END", 2: "AVAILABLE"})
    for number in ("1", "2"):
        (numbers / number).rename(base_path / number)
    until(lambda: state() == "END")
    models.stop()


def test_a_base_path_that_is_not_there_yet_is_waited_for(base_path, caplog):
    models = Models(lambda: [ModelConfig("later", base_path / "later")], load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    assert f"{base_path / 'later'}, the base path of later, is not there" in caplog.text
    with pytest.raises(InputError, match="the base path of other, is not there"):
        models.replace([ModelConfig("other", base_path / "other")])
    (base_path / "numbers").rename(base_path / "later")
    until(lambda: [one.state for one in models.served()] == ["AVAILABLE"])
    assert not models.knows("other")
    models.stop()


def test_a_directory_without_a_version_is_told_once(base_path, saved_models, caplog):
    """As TF Serving warns of it, but not at every look."""
    for name in ("empty", "notes/drafts", "unnumbered/new", ".hidden"):
        (base_path / name).mkdir(parents=True)
    shutil.copy(saved_models / "numbers" / "1" / "saved_model.pb", base_path / "unnumbered" / "new")
    (base_path / "a file").touch()
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    for _ in range(3):
        models.look()
    told = [record.getMessage() for record in caplog.records if "has no version to serve" in record.getMessage()]
    assert [message.partition(" ")[0] for message in told] == ["empty", "notes", "unnumbered"]
    assert f"{base_path / 'empty'} should hold 1/saved_model.pb, or one with a higher number." in told[0]
    assert [one.name for one in models.served()] == ["numbers"]
    put(saved_models / "numbers" / "2", base_path / "empty" / "7")
    models.look()
    shutil.rmtree(base_path / "empty" / "7")
    models.look()
    assert caplog.text.count("empty has no version to serve") == 2
    models.stop()


def test_a_version_that_is_asked_for_and_not_there_is_told(base_path, caplog):
    models = Models(partial(find_models, base_path, 1, (3, 5)), load, Metrics(), 0)
    models.look()
    assert "numbers has no version to serve" in caplog.text
    assert "should hold 3/saved_model.pb or 5/saved_model.pb." in caplog.text


@contextlib.contextmanager
def no_more_files():
    """Nothing can be opened, as when too many connections are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_path_that_is_no_text_is_told_with_escapes(base_path):
    named = base_path / os.fsdecode(b"caf\xe9")
    named.mkdir()
    (base_path / "numbers").rename(named / "numbers")
    metrics = Metrics()
    models = Models(partial(find_models, named), load, metrics, 0)
    models.look()
    (found,) = json.loads(status_json(models.status(ModelSpec("numbers"))))["model_version_status"]
    assert found["state"] == "END" and r"caf\udce9/numbers/1 cannot be loaded" in found["status"]["error_message"]
    assert rb"caf\\udce9/numbers/1" in metrics.page()


def test_a_version_that_a_long_request_holds_keeps_no_other_waiting(base_path, saved_models):
    models = Models(partial(find_models, base_path), load, Metrics(), 0)
    models.look()
    with models.acquire(ModelSpec("numbers")) as first:
        put(saved_models / "numbers" / "2", base_path / "numbers" / "2")
        models.look()
        put(saved_models / "numbers" / "1", base_path / "numbers" / "3")
        models.look()
        found = {version.number: version.state for version in models.status(ModelSpec("numbers"))}
        assert found == {1: "UNLOADING", 2: "END", 3: "AVAILABLE"}
        signature = first.model.signatures["serving_default"]
        feeds = {signature.inputs["x"].name: [1.0]}
        assert first.model.run(feeds, [signature.outputs["y"].name])
        shutil.rmtree(base_path / "numbers" / "3")
        shutil.rmtree(base_path / "numbers" / "2")
        models.look()  # the one that is leaving is wanted again
        assert {version.number: version.state for version in models.status(ModelSpec("numbers"))}[1] == "AVAILABLE"
    models.stop()
    assert {version.state for version in models.status(ModelSpec("numbers"))} == {"END"}


def test_a_config_that_breaks_meanwhile_is_said_and_changes_nothing(base_path, caplog):
    config = base_path / "models.config"
    config.write_text(f'model_config_list {{ config {{ name: "a" base_path: "{base_path}/numbers" }} }}')
    models = Models(partial(read_config, config), load, Metrics(), 0.05)
    models.start()
    assert models.first_look.wait(30)
    config.write_text("models:")
    until(lambda: "not a ModelServerConfig" in caplog.text)
    config.unlink()
    until(lambda: "No such file" in caplog.text)
    assert "Traceback" not in caplog.text
    assert [one.state for one in models.status(ModelSpec("a"))] == ["AVAILABLE"]
    models.stop()


def test_what_is_still_loading_is_unavailable_and_not_unknown(base_path):
    begun, goes_on = threading.Event(), threading.Event()

    def load_slowly(directory):
        begun.set()
        assert goes_on.wait(30)
        raise InputError("in the end it fails")

    models = Models(partial(find_models, base_path), load_slowly, Metrics(), 0)
    models.start()
    assert begun.wait(30)
    for number in (None, 1):
        with pytest.raises(ServingError) as error, models.acquire(ModelSpec("numbers", number)):
            pass
        assert (error.value.code, error.value.http_status) == ("UNAVAILABLE", 503)
    assert models.status(ModelSpec("numbers"))[0].state == "LOADING"
    goes_on.set()
    assert models.first_look.wait(30)
    with pytest.raises(ServingError) as error, models.acquire(ModelSpec("numbers")):
        pass
    assert error.value.http_status == 404
    models.stop()


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
    assert httpx.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "needs --token-file"),
        (["--token-file", "/dev/null"], "a token needs at least 16"),
        (["--versions", "newest"], "--versions must be latest, all, a number"),
        (["--rest-port", "70000"], "less than or equal to 65535"),
        (["--max-batch-size", "0"], "`max-batch-size` must be at least 1"),
    ],
)
def test_options_that_mean_nothing_are_said(saved_models, options, message):
    command = [sys.executable, "-m", "tfllm", "serve", str(saved_models), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models:", "not a ModelServerConfig"),
        ('model_config_list { config { name: "a" } }', "every model needs a name and a base_path"),
        ('model_config_list { config { name: "a" base_path: "/" } config { name: "a" base_path: "/" } }', "twice"),
        (
            'model_config_list { config { name: "a" base_path: "/" model_version_policy { specific {} } } }',
            "`specific` needs versions",
        ),
    ],
)
def test_a_config_that_means_nothing_is_said(tmp_path, text, message):
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(InputError, match=message):
        read_config(tmp_path / "models.config")


def test_versions_are_those_of_the_policy(tmp_path):
    for number in (1, 2, 10, 11):
        (tmp_path / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "a" / str(number) / "saved_model.pb").touch()
    for name in ("3", "x", "-1", "٣", "9" * 30):  # unfinished, or no version
        (tmp_path / "a" / name).mkdir()
    policies = {"latest { num_versions: 2 }": {10, 11}, "all {}": {1, 2, 10, 11}, "specific { versions: [2, 5] }": {2}}
    for policy, expected in policies.items():
        one = f'name: "a" base_path: "{tmp_path}/a" model_version_policy {{ {policy} }}'
        (tmp_path / "models.config").write_text(f"model_config_list {{ config {{ {one} }} }}")
        assert set(read_config(tmp_path / "models.config")[0].wanted()) == expected
    assert [(model.name, set(model.wanted())) for model in find_models(tmp_path)] == [("a", {11})]
    assert [(model.name, set(model.wanted())) for model in find_models(tmp_path / "a", 0)] == [("a", {1, 2, 10, 11})]
    with pytest.raises(InputError, match="nothing is not there"):
        find_models(tmp_path / "nothing")
