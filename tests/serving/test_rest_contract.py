"""TF Serving's REST API, rule by rule: every row of `rest_contract.py` and what needs more than a row."""

import json
import math

import pytest

from tests.serving.rest_contract import (
    CLASSIFY,
    CLASSIFY_ERRORS,
    PATHS,
    PREDICT,
    PREDICT_ERRORS,
    RAW_ERRORS,
    REGRESS,
    REGRESS_ERRORS,
    b64,
    column,
    row,
)


def name(value) -> str:
    return json.dumps(value, ensure_ascii=True)[:60]


def ask(rest, method, body, model="numbers"):
    content = body if isinstance(body, bytes) else json.dumps(body)
    return rest.post(f"/v1/models/{model}:{method}", content=content)


def same(found, expected) -> bool:
    """Equal, where a NaN equals a NaN, and 1 is not 1.0."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(found[k], expected[k]) for k in found)
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    both_nan = isinstance(found, float) and isinstance(expected, float) and math.isnan(found) and math.isnan(expected)
    return both_nan or (found == expected and type(found) is type(expected))


def check_error(response, status, message):
    assert response.status_code == status, response.text
    found = response.json()
    assert list(found) == ["error"]
    assert message in found["error"]
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("body", "answer"), PREDICT, ids=[name(case[0]) for case in PREDICT])
def test_predict_answers(rest, body, answer):
    response = ask(rest, "predict", body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert same(json.loads(response.content), answer), response.text


@pytest.mark.parametrize(("body", "message"), PREDICT_ERRORS, ids=[name(case[0]) for case in PREDICT_ERRORS])
def test_predict_says_what_does_not_fit(rest, body, message):
    check_error(ask(rest, "predict", body), 400, message)


@pytest.mark.parametrize(("body", "message"), RAW_ERRORS, ids=[repr(case[0][:50]) for case in RAW_ERRORS])
def test_predict_says_what_is_no_json(rest, body, message):
    check_error(ask(rest, "predict", body), 400, message)


def test_of_a_name_that_stands_twice_the_values_count_that_tf_serving_takes(rest):
    for body, method, answer in (
        ('{"inputs": {"x": [2.0], "x": [4.0]}}', "predict", {"outputs": [4.0]}),
        ('{"inputs": [2.0], "inputs": [4.0]}', "predict", {"outputs": [4.0]}),
        ('{"signature_name": "divide", "signature_name": 3, "inputs": [2.0]}', "predict", {"outputs": [0.5]}),
        ('{"signature_name": "regress", "examples": [{"x": 2.0, "x": 4.0}]}', "regress", {"results": [5.0]}),
    ):
        response = rest.post(f"/v1/models/numbers:{method}", content=body)
        assert (response.status_code, response.json()) == (200, answer)
    response = rest.post("/v1/models/numbers:predict", content='{"instances": [{"x": 1.0}, {"x": 2.0, "x": 4.0}]}')
    assert response.status_code == 400
    assert response.json()["error"] == "Failed to process element: 1 of 'instances' list. It names 'x' twice."


def test_a_dtype_json_cannot_give_is_unimplemented(rest):
    check_error(ask(rest, "predict", column([1.0], "echo_float16")), 501, "Conversion of JSON Value: 1.0 to type: half")


def test_a_value_without_a_name_is_that_of_one_input_only(rest):
    response = ask(rest, "predict", row([b64(b"a")], "chat"), model="words")
    check_error(response, 400, "input size does not match signature: 1!=7 len({contents}) != len({contents,max_new_tok")


def test_a_byte_order_mark_is_skipped(rest):
    response = ask(rest, "predict", b'\xef\xbb\xbf{"instances": [1.0]}')
    assert response.json() == {"predictions": [3.5]}


def test_strings_that_are_no_utf8_leave_as_they_came(rest):
    response = ask(rest, "predict", row([b64(b"\xff")], "image_two"))
    assert b'"plain": "\xff"' in response.content


@pytest.mark.parametrize(("body", "results"), CLASSIFY, ids=[name(case[0]) for case in CLASSIFY])
def test_classify_answers(rest, body, results):
    response = ask(rest, "classify", body)
    assert response.status_code == 200, response.text
    assert same(response.json(), {"results": results}), response.text


@pytest.mark.parametrize(("body", "message"), CLASSIFY_ERRORS, ids=[name(case[0]) for case in CLASSIFY_ERRORS])
def test_classify_says_what_does_not_fit(rest, body, message):
    check_error(ask(rest, "classify", body), 400, message)


@pytest.mark.parametrize(("body", "results"), REGRESS, ids=[name(case[0]) for case in REGRESS])
def test_regress_answers(rest, body, results):
    response = ask(rest, "regress", body)
    assert response.status_code == 200, response.text
    assert same(response.json(), {"results": results})


@pytest.mark.parametrize(("body", "message"), REGRESS_ERRORS, ids=[name(case[0]) for case in REGRESS_ERRORS])
def test_regress_says_what_does_not_fit(rest, body, message):
    check_error(ask(rest, "regress", body), 400, message)


@pytest.mark.parametrize(("method", "path", "status", "part"), PATHS, ids=[" ".join(case[:2]) for case in PATHS])
def test_paths(rest, method, path, status, part):
    response = rest.request(method, path, content=b'{"instances": [1.0]}' if method == "POST" else None)
    assert response.status_code == status, response.text
    assert part in response.text
    if status >= 400 and path.lower().startswith("/v1/"):
        assert part in response.json()["error"]


def test_the_status_of_a_model_has_all_its_versions_with_numbers_as_strings(rest):
    ready = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert rest.get("/v1/models/numbers").json() == {
        "model_version_status": [{"version": "2", **ready}, {"version": "1", **ready}]
    }
    assert rest.get("/v1/models/numbers/labels/old").json() == {"model_version_status": [{"version": "1", **ready}]}


def test_metadata_has_the_signatures_with_sizes_as_strings(rest):
    found = rest.get("/v1/models/numbers/versions/1/metadata").json()
    assert found["model_spec"] == {"name": "numbers", "signature_name": "", "version": "1"}
    matrix = found["metadata"]["signature_def"]["signature_def"]["matrix"]
    assert matrix["method_name"] == "tensorflow/serving/predict"
    assert matrix["inputs"]["m"]["dtype"] == "DT_FLOAT"
    assert matrix["inputs"]["m"]["tensor_shape"] == {
        "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}],
        "unknown_rank": False,
    }


def test_metrics_have_the_names_of_tf_serving(rest):
    ask(rest, "predict", row([1.0]))
    ask(rest, "regress", REGRESS[0][0])
    ask(rest, "predict", row([1.0]), model="made-up-name")
    response = rest.get("/monitoring/prometheus/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        ':tensorflow:serving:request_count{model_name="numbers",status="OK"} ',
        ':tensorflow:serving:request_latency_bucket{API="Predict",entrypoint="REST",le="10.0",model_name="numbers"} ',
        ':tensorflow:serving:request_latency_count{API="Regress",entrypoint="REST",model_name="numbers"} ',
        ':tensorflow:serving:runtime_latency_sum{API="Predict",model_name="numbers",runtime="TF1"} ',
        ':tensorflow:serving:runtime_latency_count{API="Regress",model_name="numbers",runtime="TF1"} ',
        ':tensorflow:serving:request_example_count_total{model="numbers"} ',
        ":tensorflow:cc:saved_model:load_attempt_count{",
        "# TYPE :tensorflow:serving:request_count counter",
    ):
        assert line in response.text
    assert "made-up-name" not in response.text
