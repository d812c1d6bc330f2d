"""The warm-up file of a SavedModel, replayed before a version answers: the first real request is not the slow one."""

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from tfllm.checks import InputError
from tfllm.serving import calls
from tfllm.serving.errors import ServingError
from tfllm.serving.loaded import LoadedModel

FILE = "assets.extra/tf_serving_warmup_requests"
MAX_REQUESTS = 1000  # TF Serving refuses a longer file


def warm_up(model: LoadedModel) -> int:
    """Run the requests of the model's warm-up file, if it has one; returns how many.

    Raises:
        InputError: when the file is damaged or too long, or a request fails: as in TF Serving, the version is not
            served then.
    """
    file = model.directory / FILE
    if not file.is_file():
        return 0
    try:
        logs = [_log(record.numpy()) for record in tf.data.TFRecordDataset(str(file)).take(MAX_REQUESTS + 1)]
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if len(logs) > MAX_REQUESTS:
        raise InputError(f"{file} holds more than {MAX_REQUESTS} requests.")
    for number, log in enumerate(logs):
        try:
            _replay(model, log)
        except ServingError as error:
            raise InputError(f"{file}: request {number + 1}: {error}") from None
    return len(logs)


def _log(record: bytes) -> prediction_log_pb2.PredictionLog:
    return prediction_log_pb2.PredictionLog.FromString(record)


def _replay(model: LoadedModel, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        call = calls.predict_call(_signature(model, request.model_spec), inputs, list(request.output_filter))
    elif kind == "classify_log":
        request = log.classify_log.request
        call = calls.classify_call(_signature(model, request.model_spec), _examples(request.input))
    elif kind == "regress_log":
        request = log.regress_log.request
        call = calls.regress_call(_signature(model, request.model_spec), _examples(request.input))
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        tasks = [(task.method_name, _signature(model, task.model_spec)) for task in request.tasks]
        call = calls.multi_call(tasks, _examples(request.input))
    else:
        raise ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
    model.run(call.feeds, call.fetches)


def _signature(model: LoadedModel, spec) -> calls.SignatureDef:
    missing = ServingError("FAILED_PRECONDITION", f'Serving signature key "{spec.signature_name}" not found.')
    return calls.find_signature(model.signatures, spec.signature_name, missing)


def _examples(source: input_pb2.Input) -> list[bytes]:
    kind = source.WhichOneof("kind") or "example_list"
    held = getattr(source, kind)
    context = held.context.SerializeToString() if kind == "example_list_with_context" else b""
    return [context + example.SerializeToString() for example in held.examples]
