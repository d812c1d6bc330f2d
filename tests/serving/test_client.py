"""`Client`: the same calls over REST and gRPC give the same answers."""

import contextlib
import json
import subprocess
import sys
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


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_a_server_that_is_not_there_is_unavailable(url):
    with Client(url, timeout_seconds=5) as client, pytest.raises(ServingError, match="does not answer") as error:
        client.status("numbers")
    assert error.value.code == "UNAVAILABLE"


def test_an_url_and_inputs_that_mean_nothing_are_said(server):
    for url in ("localhost:8501", "http://[::1", "http:///v1"):
        with pytest.raises(InputError, match=r"begins with http://.* Received: "):
            Client(url)
    with Client(server.url) as client, pytest.raises(InputError, match="give each by its name: a, b"):
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


def test_rest_needs_no_tensorflow(server):
    program = (
        "import sys; from tfllm.serving import Client\n"
        f"print(Client({server.url!r}).predict('numbers', [1.0]), 'tensorflow' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'y': [3.5]} False False"
