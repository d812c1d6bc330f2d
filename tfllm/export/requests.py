"""Requests to a SavedModel with the answers expected of it, and the warm-up file TF Serving replays at start.

In and out: `Request`s. On disk: a TFRecord of `PredictionLog` messages, answers included, so that whoever has the
SavedModel can repeat its requests and compare (TF Serving itself ignores the answers).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from tfllm.checks import InputError

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"  # where TF Serving looks for it
MAX_REQUESTS = 1000  # TF Serving refuses a longer warm-up file


class Request(NamedTuple):
    """One call of a signature. Inputs and outputs are serialized `TensorProto`s by name."""

    signature: str
    inputs: dict[str, bytes]
    outputs: dict[str, bytes]


def make_request(signature: str, inputs: dict[str, tf.Tensor], outputs: dict[str, tf.Tensor]) -> Request:
    """A `Request` from tensors."""
    return Request(
        signature,
        {name: tf.io.serialize_tensor(tensor).numpy() for name, tensor in inputs.items()},
        {name: tf.io.serialize_tensor(tensor).numpy() for name, tensor in outputs.items()},
    )


def write_warm_up(savedmodel: Path, model_name: str, requests: Iterable[Request]) -> None:
    """Write the warm-up file of a SavedModel."""
    file = savedmodel / WARM_UP_FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            model_spec = {"name": model_name, "signature_name": request.signature}
            log = _PredictionLog(
                predict_log={
                    "request": {"model_spec": model_spec, "inputs": _entries(request.inputs)},
                    "response": {"model_spec": model_spec, "outputs": _entries(request.outputs)},
                }
            )
            writer.write(log.SerializeToString())


def read_warm_up(savedmodel: Path) -> list[Request]:
    """The requests of a SavedModel's warm-up file.

    Raises:
        InputError: when it is missing or damaged, or longer than TF Serving accepts.
    """
    file = savedmodel / WARM_UP_FILE
    try:
        logs = [_PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if len(logs) > MAX_REQUESTS:
        raise InputError(f"{file} holds {len(logs)} requests; TF Serving accepts {MAX_REQUESTS}.")
    return [
        Request(
            log.predict_log.request.model_spec.signature_name,
            {entry.key: entry.value for entry in log.predict_log.request.inputs},
            {entry.key: entry.value for entry in log.predict_log.response.outputs},
        )
        for log in logs
    ]


def _entries(tensors: dict[str, bytes]) -> list[dict]:
    return [{"key": name, "value": tensor} for name, tensor in sorted(tensors.items())]


# The part of TF Serving's messages that a warm-up file needs, with their field numbers; "*" marks a repeated field.
# A map is on the wire a repeated message of key and value, and a message has the wire type of bytes: `value` is the
# serialized TensorProto itself. Source: tensorflow_serving/apis/prediction_log.proto, predict.proto, model.proto.
_MESSAGES = {
    "ModelSpec": {"name": (1, "string"), "signature_name": (3, "string")},
    "Entry": {"key": (1, "string"), "value": (2, "bytes")},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Entry*")},
    "PredictResponse": {"outputs": (1, "Entry*"), "model_spec": (2, "ModelSpec")},
    "PredictLog": {"request": (1, "PredictRequest"), "response": (2, "PredictResponse")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}


def _message_class(name: str) -> type[Message]:
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="warm_up.proto", package="tfllm", syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            label = field_type.LABEL_REPEATED if kind.endswith("*") else field_type.LABEL_OPTIONAL
            added = described.field.add(name=field, number=number, label=label)
            kind = kind.removesuffix("*")
            if kind in _MESSAGES:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".tfllm.{kind}"
            else:
                added.type = {"string": field_type.TYPE_STRING, "bytes": field_type.TYPE_BYTES}[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfllm.{name}"))


_PredictionLog = _message_class("PredictionLog")
