"""gRPC for `Client`: the messages of tensorflow-serving-api."""

from collections.abc import Callable, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfllm.checks import InputError
from tfllm.serving.errors import ServingError
from tfllm.serving.json_tensors import short_floats
from tfllm.serving.spec import ModelSpec


class GrpcTransport:
    """One channel."""

    def __init__(self, host: str, token: str | None, timeout_seconds: float):
        self._host, self._timeout = host, timeout_seconds
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(host, options=sizes)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def predict(self, spec: ModelSpec, inputs: Mapping[str, Sequence], signature: dict) -> dict[str, list]:
        """See `Client.predict`."""
        request = predict_pb2.PredictRequest(model_spec=_model_spec(spec))
        for name, value in inputs.items():
            kind = signature["inputs"].get(name)
            if kind is None:
                raise ServingError("INVALID_ARGUMENT", f"No input {name!r}: {', '.join(signature['inputs'])}.")
            request.inputs[name].CopyFrom(_tensor(name, value, kind["dtype"]))
        outputs = self._ask(self._predictions.Predict, request).outputs
        return {name: _from_array(name, tf.make_ndarray(outputs[name])) for name in sorted(outputs)}

    def classify(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[list[tuple[str, float]]]:
        """See `Client.classify`."""
        request = classification_pb2.ClassificationRequest(model_spec=_model_spec(spec), input=_input(examples))
        found = self._ask(self._predictions.Classify, request).result.classifications
        return [list(zip([one.label for one in row.classes], _scores(row.classes), strict=True)) for row in found]

    def regress(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[float]:
        """See `Client.regress`."""
        request = regression_pb2.RegressionRequest(model_spec=_model_spec(spec), input=_input(examples))
        found = self._ask(self._predictions.Regress, request).result.regressions
        return short_floats(np.array([one.value for one in found], np.float32))

    def status(self, spec: ModelSpec) -> list[dict]:
        """See `Client.status`."""
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=_model_spec(spec))
        kinds = get_model_status_pb2.ModelVersionStatus.State
        return [
            {
                "version": one.version,
                "state": kinds.Name(one.state),
                "error_code": grpc_code_name(one.status.error_code),
                "error_message": one.status.error_message,
            }
            for one in self._ask(self._models.GetModelStatus, request).model_version_status
        ]

    def metadata(self, spec: ModelSpec) -> dict:
        """See `Client.metadata`."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=_model_spec(spec))
        request.metadata_field.append("signature_def")
        response = self._ask(self._predictions.GetModelMetadata, request)
        found = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(found)
        return {
            "version": response.model_spec.version.value,
            "signatures": {
                name: {"inputs": _tensors(one.inputs), "outputs": _tensors(one.outputs)}
                for name, one in sorted(found.signature_def.items())
                if not name.startswith("__saved_model")
            },
        }

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _ask(self, method: Callable, request: Message) -> Message:
        try:
            return method(request, self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code().name
            gone = f"{self._host} does not answer: " if code == "UNAVAILABLE" else ""
            raise ServingError(code, gone + error.details()) from None


def grpc_code_name(number: int) -> str:
    """ "OK" for 0, "CANCELLED" for 1, ..."""
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), "UNKNOWN")


def _model_spec(spec: ModelSpec) -> model_pb2.ModelSpec:
    found = model_pb2.ModelSpec(name=spec.name, signature_name=spec.signature_name)
    if spec.version is not None:
        found.version.value = spec.version
    elif spec.label is not None:
        found.version_label = spec.label
    return found


def _tensor(name: str, value: Sequence, dtype: str):
    kind = tf.dtypes.as_dtype(dtype)
    try:
        return tf.make_tensor_proto(value, kind)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be {kind.name}, its rows of one shape: {error}.") from None


def _input(examples: Sequence[Mapping]) -> input_pb2.Input:
    found = input_pb2.Input()
    for features in examples:
        example = found.example_list.examples.add()
        for name, value in features.items():
            feature = example.features.feature[name]
            try:
                _fill(feature, _values(value))
            except (TypeError, ValueError) as error:
                raise InputError(f"The feature {name} must be strings, integers or floats: {error}.") from None
    return found


def _values(value: object) -> list:
    """The values of a feature; NumPy's numbers as those of Python."""
    value = _plain(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else [value]


def _plain(value: object) -> object:
    return value.tolist() if hasattr(value, "tolist") else value


def _fill(feature, values: list) -> None:
    if all(isinstance(one, str | bytes) for one in values):
        feature.bytes_list.value.extend(one.encode() if isinstance(one, str) else one for one in values)
    elif all(isinstance(one, int) for one in values):
        feature.int64_list.value.extend(int(one) for one in values)
    else:
        feature.float_list.value.extend(values)


def _scores(classes: Sequence) -> list[float]:
    return short_floats(np.array([one.score for one in classes], np.float32))


def _from_array(name: str, array: np.ndarray) -> object:
    if array.dtype == object:
        found = array if name.endswith("_bytes") else np.vectorize(_decode, otypes=[object])(array)
        return found.tolist()
    return short_floats(array) if array.dtype == np.float32 else array.tolist()


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _tensors(tensors: Mapping) -> dict[str, dict]:
    return {
        name: {
            "dtype": tf.dtypes.as_dtype(tensors[name].dtype).name,
            "shape": [dimension.size for dimension in tensors[name].tensor_shape.dim],
        }
        for name in sorted(tensors)
    }
