"""`Client`: the same calls over REST and gRPC give the same answers."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from tfllm.checks import InputError
from tfllm.serving import Client, ServingError


@pytest.fixture(scope="module", params=["rest", "grpc"])
def client(request, server):
    with Client(server.url if request.param == "rest" else f"grpc://{server.grpc}") as found:
        yield found


def test_predict(client):
    assert client.predict("numbers", [1.0, 2.0]) == {"y": [3.5, 4.0]}
    assert client.predict("numbers", {"x": [0.2]}, version=1) == {"y": [2.1]}
    assert client.predict("numbers", [1.0], label="old") == {"y": [2.5]}
    assert client.predict("numbers", {"a": [1.5], "b": [2]}, signature_name="two") == {"b": [2], "sum": [3.5]}
    assert client.predict("numbers", ["ÄB"], signature_name="text") == {"lower": ["Äb"], "size": [3]}
    assert client.predict("numbers", [b"\xff"], signature_name="image") == {"image_bytes": [b"\xff"]}
    assert client.predict("numbers", [[1, 2]], signature_name="matrix") == {"double": [[2.0, 4.0]], "sum": [3.0]}
    assert client.predict("numbers", [2**40], signature_name="echo_int64") == {"v": [2**40]}
    assert client.predict("numbers", "Ab", signature_name="scalar_text") == {"lower": "ab"}


def test_classify_and_regress(client):
    expected = [[("small", 0.75), ("large", 0.25)]]
    assert client.classify("numbers", [{"x": 0.25}]) == expected
    assert client.regress("numbers", [{"x": 1.0}, {"x": [3.0]}], version=1) == [2.5, 3.5]
    arrays = {"x": np.array([1.0]), "more": [np.int64(1), np.int64(2)], "many": np.arange(3), "one": np.float32(3)}
    assert client.regress("numbers", [arrays], version=1) == [2.5]


def test_status_and_metadata(client):
    ready = {"state": "AVAILABLE", "error_code": "OK", "error_message": ""}
    assert client.status("numbers") == [{"version": 2, **ready}, {"version": 1, **ready}]
    assert client.status("numbers", label="old") == [{"version": 1, **ready}]
    found = client.metadata("numbers", version=1)
    assert found["version"] == 1
    assert found["signatures"]["matrix"] == {
        "inputs": {"m": {"dtype": "float32", "shape": [-1, 2]}},
        "outputs": {"double": {"dtype": "float32", "shape": [-1, 2]}, "sum": {"dtype": "float32", "shape": [-1]}},
    }


@pytest.mark.parametrize(
    ("ask", "code", "message"),
    [
        (lambda client: client.predict("nothing", [1.0]), "NOT_FOUND", "Servable not found"),
        (lambda client: client.predict("numbers", [1.0], version=7), "NOT_FOUND", "Servable not found"),
        (lambda client: client.predict("numbers", [1.0], label="none"), "INVALID_ARGUMENT", "Unrecognized"),
        (lambda client: client.predict("numbers", [1.0], signature_name="no"), "INVALID_ARGUMENT", "no signature 'no'"),
        (lambda client: client.predict("numbers", [-1.0], signature_name="checked"), "INVALID_ARGUMENT", "negative"),
        (lambda client: client.classify("numbers", []), "INVALID_ARGUMENT", "empty"),
        (lambda client: client.status("nothing"), "NOT_FOUND", "Could not find any versions"),
    ],
)
def test_errors_have_a_code_and_a_message(client, ask, code, message):
    with pytest.raises(ServingError) as error:
        ask(client)
    assert error.value.code == code
    assert message in error.value.message


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda client: client.predict("reviews", "a text"), r"`text`: give a list of strings, .* Received: 'a text'"),
        (lambda client: client.predict("reviews", {"text": b"a"}), "`text`: give a list of strings"),
        (lambda client: client.predict("reviews", {"a", "b"}), "must be string"),
        (lambda client: client.predict("reviews", ["a", object()]), "must be string"),
        (lambda client: client.predict("reviews", None), "`text`: give a list of strings"),
        (lambda client: client.predict("numbers", 5.0), "`x`: give a list of numbers"),
        (lambda client: client.predict("reviews", 5), "`text`: give a list of strings"),
        (lambda client: client.classify("numbers", "a text"), "examples must be a list of dicts"),
        (lambda client: client.classify("numbers", ["a text"]), "examples must be a list of dicts"),
        (lambda client: client.classify("numbers", {"x": 0.5}), "examples must be a list of dicts"),
        (lambda client: client.regress("numbers", [0.5]), "examples must be a list of dicts"),
        (lambda client: client.regress("numbers", [{"x": None}]), "[Ff]eature:? x "),
        (lambda client: client.regress("numbers", [{"x": ["a", 0.5]}]), "feature:? x "),
        (lambda client: client.regress("numbers", [{"x": {"y": 1}}]), "[Ff]eature:? x "),
    ],
)
def test_values_that_mean_nothing_are_said(client, ask, message):
    with pytest.raises(InputError, match=message) as error:
        ask(client)
    assert "defect" not in str(error.value)


def model_metadata(inputs, outputs) -> dict:
    """What TF Serving tells of a model whose inputs are strings: outputs by name, (type, rank)."""

    def tensors(kinds):
        sizes = {name: [{"size": "-1"}] * rank for name, (_, rank) in kinds.items()}
        return {name: {"dtype": kinds[name][0], "tensor_shape": {"dim": sizes[name]}} for name in kinds}

    signature = {"inputs": tensors(dict.fromkeys(inputs, ("DT_STRING", 1))), "outputs": tensors(outputs)}
    found = {"signature_def": {"signature_def": {"serving_default": signature}}}
    return {"model_spec": {"version": "1"}, "metadata": found}


LABELS = {"label": ("DT_STRING", 1), "labels": ("DT_STRING", 2), "score": ("DT_FLOAT", 1), "scores": ("DT_FLOAT", 2)}
LABELLED = {"label": ["a"], "labels": [["a", "b"]], "score": [0.5], "scores": [[0.5, 0.5]]}


@pytest.fixture
def foreign():
    """A server that answers every POST with `body`, every GET with `told`; of this `status` and `type`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(self.server.body)

        def do_GET(self):
            self.answer(self.server.told)

        def answer(self, value):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(self.server.status)
            self.send_header("Content-Type", self.server.type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.type, server.told = 200, "application/json", model_metadata(["text"], LABELS)
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


FOREIGN = [[1], 5, "text", None, {}, {"error": "none"}, {"detail": "Not Found"}, b"<html>", b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("body", FOREIGN, ids=lambda body: f"{body!r:.20}")
@pytest.mark.parametrize(
    ("path", "ask"),
    [
        (":predict", lambda client: client.predict("m", ["a"])),
        (":classify", lambda client: client.classify("m", [{}])),
        (":regress", lambda client: client.regress("m", [{}])),
        ("", lambda client: client.status("m")),
        ("/metadata", lambda client: client.metadata("m")),
        (":stream", lambda client: list(client.stream("m", "a"))),
    ],
)
def test_an_answer_of_another_kind_is_told_with_its_url(foreign, path, ask, body):
    foreign.body = body
    if not path or path == "/metadata":
        foreign.told = body
    with Client(foreign.url) as client, pytest.raises(ServingError) as error:
        ask(client)
    assert error.value.message.startswith(f"{foreign.url}/v1/models/m{path} does not answer as TF Serving does.")
    came = body.decode("utf-8", "replace") if isinstance(body, bytes) else json.dumps(body)
    assert repr(came)[1:-1][:100] in error.value.message and len(error.value.message) < 400


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (lambda client: client.predict("m", ["a"]), {"outputs": {"label": "a"}}),
        (lambda client: client.predict("m", ["a"]), {"outputs": ["a"]}),
        (lambda client: client.classify("m", [{}]), {"results": ["ab"]}),
        (lambda client: client.classify("m", [{}]), {"results": [[["a", "b"]]]}),
        (lambda client: client.regress("m", [{}]), {"results": "12"}),
        (lambda client: client.regress("m", [{}]), {"results": [[1.0]]}),
    ],
)
def test_an_answer_of_another_shape_is_told(foreign, ask, body):
    foreign.body = body
    with (
        Client(foreign.url) as client,
        pytest.raises(ServingError, match="does not answer as TF Serving does") as error,
    ):
        ask(client)
    assert json.dumps(body) in error.value.message


@pytest.mark.parametrize("event", ["data: 5", "data: {}", 'data: {"text": 5}', "data: <"])
def test_a_stream_of_another_kind_is_told(foreign, event):
    foreign.type, foreign.body = "text/event-stream", f"{event}\n\n".encode()
    with Client(foreign.url) as client, pytest.raises(ServingError, match=":stream does not answer as TF Serving"):
        list(client.stream("m", "a"))


@pytest.mark.parametrize("error", [5, None, ["no"], {"message": 5}, {}])
def test_an_error_that_is_no_text_is_told_by_its_status(foreign, error):
    foreign.status, foreign.told = 404, {"error": error}
    with Client(foreign.url) as client, pytest.raises(ServingError, match="/v1/models/m answers with HTTP status 404"):
        client.status("m")


@pytest.mark.parametrize(
    "changes",
    [
        {"label": ["a", "b"]},
        {"score": ["high"]},
        {"score": [None]},
        {"scores": [0.5]},
        {"scores": [[0.5, 0.5], [0.5]]},
        {"labels": []},
        {"label": None},
    ],
    ids=str,
)
def test_predict_by_url_tells_of_outputs_that_are_not_those_stated(foreign, changes):
    from tfllm.cli.predict import predict

    outputs = {name: value for name, value in {**LABELLED, **changes}.items() if value is not None}
    foreign.body = {"outputs": outputs}
    with pytest.raises(ServingError) as error:
        predict("m", ["a"], url=foreign.url, as_json=True)
    assert error.value.message.startswith(f"{foreign.url}: m does not answer as its metadata says") or (
        error.value.message.startswith(f"{foreign.url}/v1/models/m:predict does not answer as")
    )
    foreign.body = {"outputs": LABELLED}
    predict("m", ["a"], url=foreign.url, as_json=True)


def test_a_model_that_takes_nothing_is_told(foreign):
    from tfllm.cli.predict import predict

    foreign.told = model_metadata([], LABELS)
    with pytest.raises(InputError, match="serving_default of m takes no inputs"):
        predict("m", ["a"], url=foreign.url)
    with Client(foreign.url) as client, pytest.raises(InputError, match="The signature has: none"):
        client.predict("m", ["a"])


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_a_server_that_is_not_there_is_unavailable(url):
    with Client(url, timeout_seconds=5) as client, pytest.raises(ServingError, match="does not answer") as error:
        client.status("numbers")
    assert error.value.code == "UNAVAILABLE"


def test_an_url_and_inputs_that_mean_nothing_are_said(server):
    for url in ("localhost:8501", "http://[::1", "http:///v1"):
        with pytest.raises(InputError, match=r"begins with http://.* Received: "):
            Client(url)
    with Client(server.url) as client, pytest.raises(InputError, match="The signature has: a, b"):
        client.predict("numbers", [1.0], signature_name="two")


def test_predict_by_url_answers_as_a_savedmodel_does(server, capsys):
    from tfllm.cli.predict import predict

    for url in (server.url, f"grpc://{server.grpc}"):
        predict("reviews", ["a good one", "\udc80 dull"], url=url, as_json=True)
        good, bad = map(json.loads, capsys.readouterr().out.splitlines())
        assert good == {"text": "a good one", "label": "good", "score": 0.75, "scores": {"bad": 0.25, "good": 0.75}}
        assert bad["label"] == "bad"
    with pytest.raises(InputError, match="numbers is no model of tfllm: its serving_default gives y"):
        predict("numbers", ["a"], url=server.url)
    with pytest.raises(InputError, match="Servable not found"):
        predict("nothing", ["a"], url=server.url)


def test_the_first_answer_costs_less_than_eight_seconds(saved_models, start_server):
    """Processor time, which others on the machine do not lengthen; from the start of the process."""
    server = start_server(saved_models / "reviews", "--trust")
    process = psutil.Process(server.process.pid)
    with Client(server.url) as client:
        for _ in range(600):
            with contextlib.suppress(ServingError):  # while it is loading
                assert client.predict("reviews", ["a good one"])["label"] == ["good"]
                break
            time.sleep(0.05)
        else:
            pytest.fail("no answer")
    assert sum(process.cpu_times()[:2]) < 8
    assert server.stop() == 0


def test_grpc_says_nothing_of_the_tensorflow_it_imports(server):
    program = f"from tfllm.serving import Client; print(Client('grpc://{server.grpc}').predict('numbers', [1.0]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("{'y': [3.5]}", "")


def test_rest_needs_no_tensorflow(server):
    program = (
        "import sys; from tfllm.serving import Client\n"
        f"print(Client({server.url!r}).predict('numbers', [1.0]), 'tensorflow' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'y': [3.5]} False False"
