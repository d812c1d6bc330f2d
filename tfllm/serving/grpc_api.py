"""TF Serving's gRPC services: PredictionService, ModelService, and gRPC's own health service.

In: the messages of tensorflow-serving-api. Out: its answers, status codes and error texts.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfllm.checks import InputError
from tfllm.serving import calls, status
from tfllm.serving.config import models_of
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.guard import is_token, token_error
from tfllm.serving.json_examples import with_context
from tfllm.serving.json_tensors import check_rows, check_text
from tfllm.serving.limits import Limits
from tfllm.serving.models import Version
from tfllm.serving.service import Service, apart, size_of
from tfllm.serving.spec import ModelSpec

log = logging.getLogger("tfllm")
SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
_LONGEST = 2000  # bytes of a message: each may take three in a header, and clients take 8 KB of headers
_VALUES = {  # where a TensorProto keeps the numbers of a dtype; clients read these fields
    "float32": "float_val",
    "float64": "double_val",
    "int8": "int_val",
    "int16": "int_val",
    "int32": "int_val",
    "uint8": "int_val",
    "uint16": "int_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "int64": "int64_val",
    "bool": "bool_val",
}


def build_server(service: Service, token: str | None = None) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """The gRPC server, without a port, and what tells its health."""
    most = service.limits.body_bytes or -1
    interceptors = [] if token is None else [_Token(token)]
    server = grpc.aio.server(
        interceptors=interceptors,
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # or a second server would take every other call from the first
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(service), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(service), server)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    return server, servicer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress, MultiInference, GetModelMetadata."""

    def __init__(self, service: Service):
        self._service = service

    async def Predict(self, request, context):
        """Run a signature on tensors."""
        return await self._counted("Predict", request.model_spec, context, self._predict, request)

    async def Classify(self, request, context):
        """Classes and scores of examples."""
        return await self._counted("Classify", request.model_spec, context, self._classify, request)

    async def Regress(self, request, context):
        """Values of examples."""
        return await self._counted("Regress", request.model_spec, context, self._regress, request)

    async def MultiInference(self, request, context):
        """Several of these on the same examples."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        return await self._counted("MultiInference", spec, context, self._multi, request)

    async def GetModelMetadata(self, request, context):
        """The signatures of a model."""
        return await _answer(context, self._metadata, request)

    async def _counted(self, api: str, spec, context, method: Callable[..., Awaitable[Message]], request) -> Message:
        began, code = time.monotonic(), "OK"
        try:
            return await method(request, _remaining(context))
        except InputError as error:
            code = error.code if isinstance(error, ServingError) else "INVALID_ARGUMENT"
            await _abort(context, error)
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        except Exception as error:
            code = "INTERNAL"
            log.exception(api)
            await _abort(context, ServingError("INTERNAL", f"This is a defect: {type(error).__name__}."))
        finally:
            name = spec.name if self._service.models.knows(spec.name) else ""
            self._service.metrics.answered(name, api, "GRPC", code, time.monotonic() - began)

    async def _predict(self, request, timeout: float | None) -> predict_pb2.PredictResponse:
        spec = _spec(request)
        with self._service.models.acquire(spec) as version:
            missing = ServingError(
                "FAILED_PRECONDITION", f'Serving signature key "{spec.signature_name or calls.DEFAULT}" not found.'
            )
            signature = calls.find_signature(version.model.signatures, spec.signature_name, missing)
            size = sum(map(_size, request.inputs.values()))
            inputs = await apart(size, _read_inputs, request.inputs, self._service.limits)
            outputs = await self._service.predict(version, signature, inputs, list(request.output_filter), timeout)
            answered = _answered(version, spec)
        return await apart(size_of(*outputs.values()), _predict_response, answered, signature, outputs)

    async def _classify(self, request, timeout: float | None) -> classification_pb2.ClassificationResponse:
        spec, examples = _spec(request), await self._examples(request)
        with self._service.models.acquire(spec) as version:
            classes, scores = await self._service.classify(version, spec.signature_name, examples, timeout)
            result = await apart(size_of(classes, scores), _classifications, classes, scores)
            return classification_pb2.ClassificationResponse(model_spec=_answered(version, spec), result=result)

    async def _regress(self, request, timeout: float | None) -> regression_pb2.RegressionResponse:
        spec, examples = _spec(request), await self._examples(request)
        with self._service.models.acquire(spec) as version:
            found = await self._service.regress(version, spec.signature_name, examples, timeout)
            return regression_pb2.RegressionResponse(model_spec=_answered(version, spec), result=_regressions(found))

    async def _multi(self, request, timeout: float | None) -> inference_pb2.MultiInferenceResponse:
        specs = _check_tasks(request.tasks)
        examples = await self._examples(request)
        tasks = [(task.method_name, task.model_spec.signature_name) for task in request.tasks]
        response = inference_pb2.MultiInferenceResponse()
        with self._service.models.acquire(specs[0]) as version:
            answers = await self._service.multi(version, tasks, examples, timeout)
            for spec, (method, _), found in zip(specs, tasks, answers, strict=True):
                result = response.results.add(model_spec=_answered(version, spec))
                if method == calls.CLASSIFY:
                    classified = await apart(size_of(*found), _classifications, *found)
                    result.classification_result.CopyFrom(classified)
                else:
                    result.regression_result.CopyFrom(_regressions(found))
        return response

    async def _examples(self, request) -> list[bytes]:
        return await apart(request.input.ByteSize(), _examples, request.input, self._service.limits)

    async def _metadata(self, request) -> Message:
        spec = _spec(request)
        with self._service.models.acquire(spec) as version:
            return status.metadata_message(version, list(request.metadata_field))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, service: Service):
        self._service = service

    async def GetModelStatus(self, request, context) -> get_model_status_pb2.GetModelStatusResponse:
        """The states of a model's versions."""
        return await _answer(context, self._status, request)

    async def HandleReloadConfigRequest(self, request, context) -> model_management_pb2.ReloadConfigResponse:
        """Serve other models from now on."""
        return await _answer(context, self._reload, request)

    async def _status(self, request) -> Message:
        return status.status_message(self._service.models.status(_spec(request)))

    async def _reload(self, request) -> Message:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid("The config must have a model_config_list.")
        configs = models_of(request.config, "config")
        await asyncio.to_thread(self._service.models.replace, configs)
        for config in configs:
            states = {version.state for version in self._service.models.status(ModelSpec(config.name))}
            if "AVAILABLE" not in states:
                raise ServingError("UNAVAILABLE", f"{config.name}: no version could be loaded from {config.base_path}")
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response


def read_tensor(name: str, value: tensor_pb2.TensorProto, limits: Limits) -> np.ndarray:
    """The array of a TensorProto; one that claims more than it holds, and more than a message can, is an error."""
    broken = invalid(f"tensor parsing error: {name}")
    sizes = [dimension.size for dimension in value.tensor_shape.dim]
    known = value.dtype in types_pb2.DataType.values() and value.dtype != types_pb2.DT_INVALID
    if value.tensor_shape.unknown_rank or any(size < 0 for size in sizes) or not known:
        raise broken
    if sizes:
        check_rows(sizes[0], limits)
    dtype = tf.dtypes.as_dtype(value.dtype)
    held = len(value.string_val) if dtype == tf.string else None
    each = len(value.string_val[0]) if held == 1 else 1  # one string fills the whole shape
    if math.prod(sizes) * max(dtype.size or 0, each) > max(limits.body_bytes or 2**30, 2**20):
        raise broken
    if held is not None and held != math.prod(sizes) and held != 1:
        raise broken
    for text in value.string_val:
        check_text(text, limits)
    try:
        return np.asarray(tf.make_ndarray(value))
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError):
        raise broken from None


def write_tensor(array: np.ndarray, dtype: int) -> tensor_pb2.TensorProto:
    """A TensorProto whose values stand in the fields of their type, as TF Serving writes them."""
    name = tf.dtypes.as_dtype(dtype).name
    if name == "string":
        field, values = "string_val", array.ravel().tolist()
    elif name in _VALUES:
        field, values = _VALUES[name], array.ravel().tolist()
    else:
        return tf.make_tensor_proto(array, dtype)
    message = tensor_pb2.TensorProto(dtype=dtype)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    getattr(message, field).extend(values)
    return message


def _size(value: tensor_pb2.TensorProto) -> int:
    """About how many bytes a tensor claims to hold."""
    return 4 * math.prod(max(dimension.size, 0) for dimension in value.tensor_shape.dim)


def _read_inputs(inputs: Mapping[str, tensor_pb2.TensorProto], limits: Limits) -> dict[str, np.ndarray]:
    return {name: read_tensor(name, value, limits) for name, value in inputs.items()}


def _predict_response(
    spec: model_pb2.ModelSpec, signature: calls.SignatureDef, outputs: Mapping[str, np.ndarray]
) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse(model_spec=spec)
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(write_tensor(array, signature.outputs[name].dtype))
    return response


class _Token(grpc.aio.ServerInterceptor):
    """Refuses calls without the token."""

    def __init__(self, token: str):
        self._token = token

    async def intercept_service(self, continuation, details):
        """Let a call with the token through."""
        given = dict(details.invocation_metadata).get("authorization", "")
        given = given.encode() if isinstance(given, str) else given
        if is_token(given, self._token):
            return await continuation(details)

        async def refuse(request, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, token_error(given))

        return grpc.unary_unary_rpc_method_handler(refuse)


async def _answer(context, method: Callable[..., Awaitable[Message]], request) -> Message:
    try:
        return await method(request)
    except InputError as error:
        await _abort(context, error)


async def _abort(context, error: InputError) -> None:
    code = error.code if isinstance(error, ServingError) else "INVALID_ARGUMENT"
    message = str(error).encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    await context.abort(grpc.StatusCode[code], message)


def _remaining(context) -> float | None:
    seconds = context.time_remaining()
    return None if seconds is None or seconds > 1e8 else max(seconds, 0.0)


def _spec(request) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return _model_spec(request.model_spec)


def _model_spec(spec: model_pb2.ModelSpec) -> ModelSpec:
    choice = spec.WhichOneof("version_choice")
    return ModelSpec(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
        spec.signature_name,
    )


def _answered(version: Version, spec: ModelSpec) -> model_pb2.ModelSpec:
    found = model_pb2.ModelSpec(name=version.name, signature_name=spec.signature_name or calls.DEFAULT)
    found.version.value = version.number
    return found


def _check_tasks(tasks: Sequence) -> list[ModelSpec]:
    if not tasks:
        raise invalid("Inference request contains no tasks.")
    names = [task.model_spec.signature_name or calls.DEFAULT for task in tasks]
    for place, task in enumerate(tasks):
        if not task.model_spec.name:
            raise invalid("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if names[place] in names[:place]:
            raise invalid(f"Duplicate evaluation of signature: {names[place]}")
    return [_model_spec(task.model_spec) for task in tasks]


def _examples(source: input_pb2.Input, limits: Limits) -> list[bytes]:
    kind = source.WhichOneof("kind")
    if kind is None:
        raise invalid("Input is empty.")
    held = getattr(source, kind)
    if not held.examples:
        raise invalid("Input is empty.")
    check_rows(len(held.examples), limits)
    context = held.context.SerializeToString() if kind == "example_list_with_context" else b""
    return with_context(context, [example.SerializeToString() for example in held.examples], limits)


def _classifications(classes: np.ndarray | None, scores: np.ndarray | None) -> classification_pb2.ClassificationResult:
    result = classification_pb2.ClassificationResult()
    for row in range(len(classes if classes is not None else scores)):
        added = result.classifications.add()
        for place in range((classes if classes is not None else scores).shape[1]):
            one = added.classes.add()
            if classes is not None:
                one.label = classes[row, place].decode("utf-8", "replace")
            if scores is not None:
                one.score = scores[row, place]
    return result


def _regressions(values: np.ndarray) -> regression_pb2.RegressionResult:
    result = regression_pb2.RegressionResult()
    for value in values.tolist():
        result.regressions.add(value=value)
    return result


async def tell_health(servicer: health.aio.HealthServicer, serving: bool) -> None:
    """Let the health service say whether the models answer."""
    kinds = health_pb2.HealthCheckResponse
    for name in SERVICES:
        await servicer.set(name, kinds.SERVING if serving else kinds.NOT_SERVING)
