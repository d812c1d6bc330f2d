"""TF Serving's gRPC API, asked by the official stubs of tensorflow-serving-api as they are."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as found:
        yield found


@pytest.fixture(scope="module")
def predictions(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def spec_of(request, name="numbers", signature="", version=None, label=None):
    request.model_spec.name, request.model_spec.signature_name = name, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    return request


def predict_request(inputs, outputs=(), **spec):
    request = spec_of(predict_pb2.PredictRequest(), **spec)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(
            value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        )
    request.output_filter.extend(outputs)
    return request


def floats(*values):
    return np.array(values, np.float32)


def add_examples(request, *values, context=None):
    held = request.input.example_list if context is None else request.input.example_list_with_context
    if context is not None:
        held.context.features.feature["x"].float_list.value.append(context)
    for value in values:
        example = held.examples.add()
        if value is not None:
            example.features.feature["x"].float_list.value.append(value)
    return request


def proto(dtype, sizes, **fields):
    message = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in sizes:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize(
    ("inputs", "spec", "outputs"),
    [
        ({"x": floats(1, 2)}, {}, {"y": [3.5, 4.0]}),
        ({"x": floats(1, 2)}, {"signature": "serving_default"}, {"y": [3.5, 4.0]}),
        ({"x": floats(1)}, {"version": 1}, {"y": [2.5]}),
        ({"x": floats(1)}, {"label": "old"}, {"y": [2.5]}),
        ({"x": floats(1)}, {"label": "new"}, {"y": [3.5]}),
        ({"x": floats()}, {}, {"y": []}),
        ({"x": floats(np.nan)}, {}, {"y": [np.nan]}),
        ({"x": proto(types_pb2.DT_FLOAT, [3], float_val=[1.0])}, {}, {"y": [3.5, 3.5, 3.5]}),  # one value fills
        ({"x": proto(types_pb2.DT_FLOAT, [1], float_val=[1.0])}, {}, {"y": [3.5]}),
        ({"m": floats(1, 2).reshape(1, 2)}, {"signature": "matrix"}, {"double": [[2.0, 4.0]], "sum": [3.0]}),
        ({"a": floats(1.5), "b": np.array([2], np.int32)}, {"signature": "two"}, {"b": [2], "sum": [3.5]}),
        ({"text": [b"AB", b"\xff"]}, {"signature": "image"}, {"image_bytes": [b"AB", b"\xff"]}),
        ({"text": ["Ä"]}, {"signature": "text"}, {"lower": ["Ä".encode()], "size": [2]}),
        ({"s": np.float32(3)}, {"signature": "scalar"}, {"twice": 6.0}),
        ({"v": np.array([2**40], np.int64)}, {"signature": "echo_int64"}, {"v": [2**40]}),
        ({"v": np.array([1.5], np.float16)}, {"signature": "echo_float16"}, {"v": [1.5]}),
        ({"v": np.array([True])}, {"signature": "echo_bool"}, {"v": [True]}),
    ],
)
def test_predict_answers(predictions, inputs, spec, outputs):
    response = predictions.Predict(predict_request(inputs, **spec))
    assert sorted(response.outputs) == sorted(outputs)
    for name, value in outputs.items():
        found = tf.make_ndarray(response.outputs[name])
        np.testing.assert_array_equal(found, np.array(value, found.dtype))
    assert response.model_spec.name == "numbers"
    assert response.model_spec.signature_name == spec.get("signature", "serving_default")
    assert response.model_spec.version.value == (1 if spec.get("version") == 1 or spec.get("label") == "old" else 2)


def test_large_answers_are_whole(predictions):
    request = predict_request({"n": np.full(60, 300, np.int32)}, signature="wide")
    ones = tf.make_ndarray(predictions.Predict(request).outputs["ones"])
    assert ones.shape == (60, 300) and (ones == 1).all()


def test_predict_gives_the_outputs_that_are_wanted_in_the_fields_of_their_type(predictions):
    request = predict_request({"m": floats(1, 2).reshape(1, 2)}, ["sum"], signature="matrix")
    response = predictions.Predict(request)
    assert list(response.outputs) == ["sum"]
    assert list(response.outputs["sum"].float_val) == [3.0]


@pytest.mark.parametrize(
    ("inputs", "spec", "code", "message"),
    [
        (
            {},
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            {"y": floats(1)},
            {},
            "INVALID_ARGUMENT",
            "input tensor alias not found in signature: y. Inputs expected to be in the set {x}.",
        ),
        ({"x": floats(1), "y": floats(1)}, {}, "INVALID_ARGUMENT", "input size does not match signature: 2!=1"),
        ({"x": ["a"]}, {}, "INVALID_ARGUMENT", "input x: the signature has dtype float32, not string"),
        ({"x": np.array([1], np.int32)}, {}, "INVALID_ARGUMENT", "input x: the signature has dtype float32, not int32"),
        ({"x": floats(1).reshape(1, 1)}, {}, "INVALID_ARGUMENT", "input x: the signature has shape [-1], not [1, 1]"),
        ({"x": floats(1)}, {"name": "nothing"}, "NOT_FOUND", "Servable not found for request: Latest(nothing)"),
        ({"x": floats(1)}, {"name": ""}, "NOT_FOUND", "Servable not found for request: Latest()"),
        ({"x": floats(1)}, {"version": 7}, "NOT_FOUND", "Servable not found for request: Specific(numbers, 7)"),
        ({"x": floats(1)}, {"label": "none"}, "INVALID_ARGUMENT", "Unrecognized servable version label: none"),
        (
            {"x": floats(1)},
            {"signature": "nothing"},
            "FAILED_PRECONDITION",
            'Serving signature key "nothing" not found.',
        ),
        ({"x": floats(-1)}, {"signature": "checked"}, "INVALID_ARGUMENT", "x must not be negative"),
        (
            {"x": proto(types_pb2.DT_FLOAT, [2], tensor_content=b"abc")},
            {},
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        ({"x": proto(types_pb2.DT_FLOAT, [-1], float_val=[1.0])}, {}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": proto(types_pb2.DT_FLOAT, [2**20, 2**20], float_val=[1.0])}, {}, "INVALID_ARGUMENT", ""),
        (
            {"x": proto(types_pb2.DT_FLOAT, [4, 2**40], float_val=[1.0])},
            {},
            "INVALID_ARGUMENT",
            "tensor parsing error: x",
        ),
        ({"x": proto(types_pb2.DT_RESOURCE, [1])}, {}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": proto(0, [1], float_val=[1.0])}, {}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        ({"x": proto(999, [1], float_val=[1.0])}, {}, "INVALID_ARGUMENT", "tensor parsing error: x"),
        (
            {"text": proto(types_pb2.DT_STRING, [2], string_val=[b"a", b"b", b"c"])},
            {"signature": "text"},
            "INVALID_ARGUMENT",
            "tensor parsing error: text",
        ),
    ],
)
def test_predict_says_what_does_not_fit(predictions, inputs, spec, code, message):
    with pytest.raises(grpc.RpcError) as error:
        predictions.Predict(predict_request(inputs, **spec))
    assert (error.value.code().name, message in error.value.details()) == (code, True), error.value.details()


def test_predict_says_which_output_there_is_not(predictions):
    for outputs, message in (
        (["z"], "output tensor alias not found in signature: z"),
        (["y", "y"], "duplicate output tensor alias: y"),
    ):
        with pytest.raises(grpc.RpcError, match=message):
            predictions.Predict(predict_request({"x": floats(1)}, outputs))


def test_settings_that_are_no_numbers_are_said(predictions):
    whole = {name: np.array([3], np.int32) for name in ("max_new_tokens", "top_k", "seed")}
    inputs = {"text": np.array([b"a"], object), **whole, "temperature": floats(np.nan), "top_p": floats(1)}
    with pytest.raises(grpc.RpcError, match=r"`temperature` must be a finite number\. Received: nan"):
        predictions.Predict(predict_request(inputs, name="words", signature="generate"))


def test_a_request_without_a_model_is_refused(predictions):
    with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
        predictions.Predict(predict_pb2.PredictRequest())


def test_classify_and_regress_answer(predictions):
    request = add_examples(spec_of(classification_pb2.ClassificationRequest(), signature="classify"), 0.25, 1.0)
    response = predictions.Classify(request)
    found = [[(one.label, one.score) for one in row.classes] for row in response.result.classifications]
    assert found == [[("small", 0.75), ("large", 0.25)], [("small", 0.0), ("large", 1.0)]]
    assert response.model_spec.version.value == 2
    request = add_examples(spec_of(regression_pb2.RegressionRequest(), signature="regress"), None, 3.0, context=1.0)
    assert [one.value for one in predictions.Regress(request).result.regressions] == [3.5, 4.5]


def test_a_small_message_takes_no_more_memory_than_a_large_one(predictions):
    request = add_examples(spec_of(regression_pb2.RegressionRequest(), signature="regress"), *[1.0] * 2000, context=1.0)
    context = request.input.example_list_with_context.context
    context.features.feature["z"].bytes_list.value.append(b"a" * 10**6)
    with pytest.raises(grpc.RpcError, match="The context takes"):
        predictions.Regress(request)
    filled = proto(types_pb2.DT_STRING, [4096], string_val=[b"a" * 10**6])
    with pytest.raises(grpc.RpcError, match="tensor parsing error: text"):
        predictions.Predict(predict_request({"text": filled}, signature="text"))


@pytest.mark.parametrize(
    ("values", "signature", "message"),
    [
        ((), "classify", "Input is empty."),
        ((0.5,), "", "No classification inputs found in SignatureDef"),
        ((0.5,), "nothing", "No signature was found with the name: nothing"),
        ((None,), "classify", "is required but could not be found"),
    ],
)
def test_classify_says_what_does_not_fit(predictions, values, signature, message):
    request = add_examples(spec_of(classification_pb2.ClassificationRequest(), signature=signature), *values)
    with pytest.raises(grpc.RpcError) as error:
        predictions.Classify(request)
    assert error.value.code().name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert message in error.value.details()


def tasks_of(*tasks, name="numbers"):
    request = inference_pb2.MultiInferenceRequest()
    for method, signature in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = name, signature
    return request


def test_multi_inference_answers_several_tasks(predictions):
    request = add_examples(tasks_of((CLASSIFY, "classify"), (REGRESS, "regress")), 1.0)
    classified, regressed = predictions.MultiInference(request).results
    assert [one.label for one in classified.classification_result.classifications[0].classes] == ["small", "large"]
    assert regressed.regression_result.regressions[0].value == 3.5
    assert (classified.model_spec.signature_name, regressed.model_spec.signature_name) == ("classify", "regress")


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([], "INVALID_ARGUMENT", "no tasks"),
        (
            [(CLASSIFY, "classify"), (CLASSIFY, "classify")],
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: classify",
        ),
        ([(CLASSIFY, "nothing")], "INVALID_ARGUMENT", "Requested signature not found in model graph: nothing"),
        ([("tensorflow/serving/predict", "classify")], "UNIMPLEMENTED", "Unsupported signature method_name"),
    ],
)
def test_multi_inference_says_what_does_not_fit(predictions, tasks, code, message):
    with pytest.raises(grpc.RpcError) as error:
        predictions.MultiInference(add_examples(tasks_of(*tasks), 1.0))
    assert (error.value.code().name, message in error.value.details()) == (code, True)


def test_metadata_has_the_signatures(predictions):
    request = spec_of(get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"]), label="old")
    response = predictions.GetModelMetadata(request)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(found)
    assert found.signature_def["matrix"].inputs["m"].dtype == types_pb2.DT_FLOAT
    assert (response.model_spec.name, response.model_spec.version.value) == ("numbers", 1)


@pytest.mark.parametrize(
    ("fields", "message"), [([], "at least one metadata_field"), (["other"], "Metadata field other is not supported")]
)
def test_metadata_says_what_there_is_not(predictions, fields, message):
    with pytest.raises(grpc.RpcError, match=message):
        predictions.GetModelMetadata(spec_of(get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)))


def test_status_has_the_states_of_versions(models):
    request = spec_of(get_model_status_pb2.GetModelStatusRequest())
    found = [
        (one.version, one.state, one.status.error_code) for one in models.GetModelStatus(request).model_version_status
    ]
    assert found == [(2, 30, 0), (1, 30, 0)]
    with pytest.raises(grpc.RpcError, match="Could not find version 7 of model numbers"):
        models.GetModelStatus(spec_of(get_model_status_pb2.GetModelStatusRequest(), version=7))


def test_a_config_that_means_nothing_changes_nothing(models, predictions):
    with pytest.raises(grpc.RpcError, match="model_config_list"):
        models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="no path")
    with pytest.raises(grpc.RpcError, match="every model needs a name and a base_path"):
        models.HandleReloadConfigRequest(request)
    assert predictions.Predict(predict_request({"x": floats(1)})).outputs["y"].float_val == [3.5]


def test_the_health_service_says_serving(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "tensorflow.serving.PredictionService"):
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == 1


def test_a_client_that_knows_only_descriptors_is_answered(channel):
    """As `grpcurl -protoset`: no stubs, messages by their descriptors, JSON in and out."""
    pool = descriptor_pool.DescriptorPool()
    files = [prediction_service_pb2.DESCRIPTOR, model_service_pb2.DESCRIPTOR, get_model_metadata_pb2.DESCRIPTOR]
    _add_files(pool, files, set())
    one = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": "1"}]}, "floatVal": [1.0]}
    spec = {"modelSpec": {"name": "numbers"}}
    inputs = {"exampleList": {"examples": [{"features": {"feature": {"x": {"floatList": {"value": [0.25]}}}}}]}}
    classify = {"modelSpec": {"name": "numbers", "signatureName": "classify"}, "input": inputs}
    found = _ask_by_json(channel, pool, "PredictionService/Predict", {**spec, "inputs": {"x": one}})
    assert found["outputs"]["y"] == {**one, "floatVal": [3.5]}
    found = _ask_by_json(channel, pool, "PredictionService/Classify", classify)
    best, _ = found["result"]["classifications"][0]["classes"]
    assert best == {"label": "small", "score": 0.75}
    found = _ask_by_json(channel, pool, "ModelService/GetModelStatus", spec)
    assert [one["state"] for one in found["model_version_status"]] == ["AVAILABLE", "AVAILABLE"]
    asked = {**spec, "metadataField": ["signature_def"]}
    found = _ask_by_json(channel, pool, "PredictionService/GetModelMetadata", asked)
    assert found["metadata"]["signature_def"]["signatureDef"]["two"]["inputs"]["b"]["dtype"] == "DT_INT32"


def _add_files(pool, files, done) -> None:
    """Files of messages, behind those that they import."""
    for file in files:
        if file.name not in done:
            done.add(file.name)
            _add_files(pool, file.dependencies, done)
            pool.AddSerializedFile(file.serialized_pb)


def _ask_by_json(channel, pool, method, body) -> dict:
    service, _, name = method.partition("/")
    found = pool.FindServiceByName(f"tensorflow.serving.{service}").methods_by_name[name]
    request, response = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
    content = json_format.ParseDict(body, request(), descriptor_pool=pool).SerializeToString()
    answer = response.FromString(channel.unary_unary(f"/tensorflow.serving.{method}")(content))
    return json_format.MessageToDict(answer, descriptor_pool=pool)


def test_a_deadline_is_kept(predictions):
    request = predict_request({"n": np.array([100_000], np.int32)}, signature="slow")
    with pytest.raises(grpc.RpcError) as error:
        predictions.Predict(request, 0.2)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_long_message_fits_into_what_clients_take(models):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "\U0001f600" * 3000
    for _ in range(20):  # beyond 8 KB a client drops some of them by chance
        with pytest.raises(grpc.RpcError) as error:
            models.GetModelStatus(request)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
