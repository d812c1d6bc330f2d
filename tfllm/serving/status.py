"""Status and metadata of models, as the messages of TF Serving and as its JSON."""

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from tfllm.serving.errors import invalid
from tfllm.serving.models import Version

_UNKNOWN = 2  # the code of a version that failed
_FIELD = "signature_def"


def status_message(versions: list[Version]) -> get_model_status_pb2.GetModelStatusResponse:
    """A GetModelStatusResponse."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        one = response.model_version_status.add()
        one.version = version.number
        one.state = get_model_status_pb2.ModelVersionStatus.State.Value(version.state)
        one.status.error_code = _UNKNOWN if version.error else 0
        one.status.error_message = version.error or ""
    return response


def status_json(versions: list[Version]) -> bytes:
    """The JSON of a status: 64-bit integers are strings, fields of the value 0 are there."""
    message = status_message(versions)
    text = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        indent=1,
        ensure_ascii=False,
        always_print_fields_with_no_presence=True,
    )
    return text.encode("utf-8", "replace")


def metadata_message(version: Version, fields: list[str]) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """A GetModelMetadataResponse.

    Raises:
        ServingError: for fields there are none of.
    """
    if not fields:
        raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != _FIELD:
            raise invalid(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = version.name
    response.model_spec.version.value = version.number
    response.metadata[_FIELD].Pack(_signatures(version))
    return response


def metadata_json(version: Version) -> bytes:
    """The JSON of a version's signatures."""
    response = metadata_message(version, [_FIELD])
    parts = [
        json_format.MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=1
        )
        for message in (response.model_spec, _signatures(version))
    ]
    return '{{\n"model_spec":{},\n"metadata": {{"signature_def": {}}}\n}}\n'.format(*parts).encode()


def _signatures(version: Version) -> get_model_metadata_pb2.SignatureDefMap:
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.model.signatures.items():
        found.signature_def[name].CopyFrom(signature)
    return found
