"""`Client`: the same calls to TF Serving and to `tfllm serve`, over REST or gRPC.

In: texts and numbers as Python lists. Out: Python lists, strings decoded. REST needs no TensorFlow.
"""

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar
from urllib.parse import quote, urlsplit

from tfllm.checks import InputError
from tfllm.noise import TENSORFLOW, held_back
from tfllm.serving.errors import HTTP_STATUS, ServingError
from tfllm.serving.spec import ModelSpec

_CODES = {status: code for code, status in reversed(HTTP_STATUS.items())}
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
_SHOWN = 200  # characters of an answer that means nothing, in a message
_Read = TypeVar("_Read")


class Client:
    """Asks a server.

    Args:
        url: `http://HOST:8501` or `https://...` for REST, `grpc://HOST:8500` for gRPC.
        token: what `tfllm serve --token-file` asks for.
        timeout_seconds: how long an answer may take.

    Every method raises `ServingError`, with the server's code and message, when the answer is an error or none comes,
    and takes `version` or `label` to ask something else than the latest version.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 30.0):
        try:
            scheme, host = urlsplit(url)[:2]
        except ValueError:  # brackets that do not close, say
            scheme = host = ""
        if scheme not in ("http", "https", "grpc") or not host:
            raise InputError(
                f"A server's URL begins with http://, https:// or grpc://, and a host follows. Received: {url!r}."
            )
        if scheme == "grpc":
            quiet = "tensorflow" not in sys.modules  # which the messages of gRPC import
            with held_back(TENSORFLOW) if quiet else contextlib.nullcontext():
                from tfllm.serving.client_grpc import GrpcTransport

            self._transport: Transport = GrpcTransport(host, token, timeout_seconds)
        else:
            self._transport = RestTransport(url.rstrip("/"), token, timeout_seconds)
        self._known: dict[tuple, dict] = {}

    def predict(
        self,
        model: str,
        inputs: Mapping[str, Sequence] | Sequence,
        *,
        signature_name: str = "",
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, list]:
        """Ask a signature.

        Args:
            model: its name.
            inputs: a list for each input, by its name, all with one entry for each row; or the list alone, when there
                is one input. Strings are str or bytes.
            signature_name: "" asks `serving_default`.

        Returns:
            A list for each output, by its name, with an entry for each row. Strings are str; those of outputs named
            `*_bytes` are bytes.
        """
        spec = ModelSpec(model, version, label, signature_name)
        signature = self._signature(spec)
        if not isinstance(inputs, Mapping):
            names = list(signature["inputs"])
            if len(names) != 1:
                raise InputError(f"Give each input by its name. The signature has: {', '.join(names) or 'none'}.")
            inputs = {names[0]: inputs}
        _check_lists(inputs, signature["inputs"])
        return self._transport.predict(spec, inputs, signature)

    def classify(
        self,
        model: str,
        examples: Sequence[Mapping],
        *,
        signature_name: str = "classify",
        version: int | None = None,
        label: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Classes of examples: for each a list of (class, score).

        Args:
            examples: for each a dict of features: strings, integers, floats, or lists of them.
            signature_name: that of tfllm's classifiers; TensorFlow Serving itself asks `serving_default`.
        """
        _check_examples(examples)
        return self._transport.classify(ModelSpec(model, version, label, signature_name), examples)

    def regress(
        self,
        model: str,
        examples: Sequence[Mapping],
        *,
        signature_name: str = "regress",
        version: int | None = None,
        label: str | None = None,
    ) -> list[float]:
        """Values of examples, which are given as for `classify`."""
        _check_examples(examples)
        return self._transport.regress(ModelSpec(model, version, label, signature_name), examples)

    def status(self, model: str, *, version: int | None = None, label: str | None = None) -> list[dict]:
        """The versions of a model: `version`, `state` ("AVAILABLE", ...), `error_code`, `error_message` of each."""
        return self._transport.status(ModelSpec(model, version, label))

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict:
        """`version`, and `signatures`: name -> {"inputs": {name: {"dtype", "shape"}}, "outputs": ...}."""
        return self._transport.metadata(ModelSpec(model, version, label))

    def stream(self, model: str, text: str, **settings) -> Iterator[str]:
        """What a model writes after a text, piece by piece; REST, and `tfllm serve` only.

        Args:
            settings: of `tfllm.writing.RowSettings`: max_new_tokens, temperature, ...
        """
        if not isinstance(self._transport, RestTransport):
            raise InputError("Texts are streamed over REST: give an http:// URL.")
        return self._transport.stream(ModelSpec(model), {"text": text, **settings})

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _signature(self, spec: ModelSpec) -> dict:
        """Inputs and outputs of a signature: asked once, for dtypes and for the name of a single output."""
        key, name = spec[:3], spec.signature_name or "serving_default"
        if name not in self._known.get(key, {}):
            self._known[key] = self._transport.metadata(spec)["signatures"]
        if name not in self._known[key]:
            raise ServingError(
                "INVALID_ARGUMENT", f"{spec.name} has no signature {name!r}: {', '.join(sorted(self._known[key]))}."
            )
        return self._known[key][name]


class Transport(Protocol):
    """How a client reaches its server."""

    def predict(self, spec: ModelSpec, inputs: Mapping[str, Sequence], signature: dict) -> dict[str, list]: ...

    def classify(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[list[tuple[str, float]]]: ...

    def regress(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[float]: ...

    def status(self, spec: ModelSpec) -> list[dict]: ...

    def metadata(self, spec: ModelSpec) -> dict: ...

    def close(self) -> None: ...


class RestTransport:
    """REST, by httpx."""

    def __init__(self, url: str, token: str | None, timeout_seconds: float):
        try:
            import httpx
        except ImportError:
            raise InputError("Asking a server needs httpx: pip install 'tfllm[serving]'.") from None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url, self._http = url, httpx.Client(headers=headers, timeout=timeout_seconds)
        self._failed = httpx.HTTPError, httpx.InvalidURL

    def predict(self, spec: ModelSpec, inputs: Mapping[str, Sequence], signature: dict) -> dict[str, list]:
        """See `Client.predict`."""
        body = {"inputs": {name: _to_json(value) for name, value in inputs.items()}}

        def read(answer: dict) -> dict[str, list]:
            columns = _columns(answer["outputs"], list(signature["outputs"]))
            for name, tensor in signature["outputs"].items():
                if tensor["shape"] and name in columns:
                    _check_list(columns[name])
            return {name: _from_json(name, column) for name, column in columns.items()}

        return self._ask(spec, "predict", body, read)

    def classify(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[list[tuple[str, float]]]:
        """See `Client.classify`."""

        def read(answer: dict) -> list[list[tuple[str, float]]]:
            rows = [_check_list(row) for row in _check_list(answer["results"])]
            return [[(name, float(score)) for name, score in row] for row in rows]

        return self._ask(spec, "classify", {"examples": _to_json(list(examples))}, read)

    def regress(self, spec: ModelSpec, examples: Sequence[Mapping]) -> list[float]:
        """See `Client.regress`."""

        def read(answer: dict) -> list[float]:
            return [float(value) for value in _check_list(answer["results"])]

        return self._ask(spec, "regress", {"examples": _to_json(list(examples))}, read)

    def status(self, spec: ModelSpec) -> list[dict]:
        """See `Client.status`."""

        def read(answer: dict) -> list[dict]:
            found = answer["model_version_status"]
            return [{"version": int(one["version"]), "state": one["state"], **one["status"]} for one in found]

        return self._request("GET", _path(spec), read)

    def metadata(self, spec: ModelSpec) -> dict:
        """See `Client.metadata`."""

        def read(answer: dict) -> dict:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                "version": int(answer["model_spec"]["version"]),
                "signatures": {
                    name: {side: _tensors(signatures[name].get(side, {})) for side in ("inputs", "outputs")}
                    for name in sorted(signatures)
                    if not name.startswith("__saved_model")
                },
            }

        return self._request("GET", f"{_path(spec)}/metadata", read)

    def stream(self, spec: ModelSpec, inputs: dict) -> Iterator[str]:
        """See `Client.stream`."""
        content, path = _content({"inputs": _to_json(inputs)}), f"{_path(spec)}:stream"
        try:
            with self._http.stream("POST", self._url + path, content=content) as response:
                if response.status_code != 200:
                    response.read()
                    _raise(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self._foreign(path, response.read())
                for line in response.iter_lines():
                    event = line.removeprefix("data: ")
                    if line.startswith("data: ") and event != "[DONE]":
                        text, error = self._read(path, event, _read_event)
                        if error:
                            raise ServingError("UNKNOWN", error)
                        if text:
                            yield text
        except self._failed as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _ask(self, spec: ModelSpec, method: str, body: dict, read: Callable[[dict], _Read]) -> _Read:
        if spec.signature_name:
            body["signature_name"] = spec.signature_name
        return self._request("POST", f"{_path(spec)}:{method}", read, _content(body))

    def _request(self, method: str, path: str, read: Callable[[dict], _Read], content: str | None = None) -> _Read:
        try:
            response = self._http.request(method, self._url + path, content=content)
        except self._failed as error:
            raise self._unreachable(error) from None
        if response.status_code != 200:
            _raise(response)
        return self._read(path, response.content, lambda content: read(json.loads(content)))

    def _read(self, path: str, content: bytes | str, read: Callable[[bytes | str], _Read]) -> _Read:
        """What `read` finds in an answer; ServingError where it is another than TF Serving's."""
        try:
            return read(content)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
            raise self._foreign(path, content) from None

    def _foreign(self, path: str, content: bytes | str) -> ServingError:
        shown = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        return ServingError("UNKNOWN", f"{self._url}{path} does not answer as TF Serving does. Received: {shown!r}.")

    def _unreachable(self, error: Exception) -> ServingError:
        code = "DEADLINE_EXCEEDED" if "timed out" in str(error) else "UNAVAILABLE"
        return ServingError(code, f"{self._url} does not answer: {str(error) or type(error).__name__}.")


def _check_lists(inputs: Mapping, tensors: Mapping[str, dict]) -> None:
    """Raise InputError where an input has rows and its value none: a string for a list of strings, say."""
    for name, value in inputs.items():
        tensor = tensors.get(name, {})
        if tensor.get("shape") and (isinstance(value, str | bytes) or not hasattr(value, "__len__")):
            kind = "strings" if tensor["dtype"] == "string" else "numbers"
            raise InputError(f"`{name}`: give a list of {kind}, one for each row. Received: {value!r:.100}.")


def _check_examples(examples: Sequence[Mapping]) -> None:
    if not isinstance(examples, Sequence) or not all(isinstance(one, Mapping) for one in examples):
        raise InputError(
            f"The examples must be a list of dicts of features, such as [{{'text': 'Sturdy.'}}]. "
            f"Received: {examples!r:.100}."
        )


def _raise(response) -> None:
    try:
        message = json.loads(response.content)["error"]
        message = message["message"] if isinstance(message, dict) else message
    except (ValueError, KeyError, TypeError):
        message = None
    if not isinstance(message, str):
        message = f"{response.url} answers with HTTP status {response.status_code}."
    raise ServingError(_CODES.get(response.status_code, "UNKNOWN"), message)


def _read_event(event: str) -> tuple[str, str]:
    """The text and the error of an event; one of them is ""."""
    value = json.loads(event)
    return ("", str(value["error"])) if "error" in value else (value["text"] + "", "")


def _check_list(value: object) -> list:
    """A list as it is; TypeError for all else that could be gone through."""
    if not isinstance(value, list):
        raise TypeError
    return value


def _path(spec: ModelSpec) -> str:
    path = f"/v1/models/{quote(spec.name, safe='')}"
    if spec.version is not None:
        return f"{path}/versions/{spec.version}"
    return path if spec.label is None else f"{path}/labels/{quote(spec.label, safe='')}"


def _content(body: dict) -> str:
    """A body as JSON. Half a character and NaN pass, for the server to judge."""
    try:
        return json.dumps(body)
    except (TypeError, ValueError) as error:
        raise InputError(f"Values must be strings, numbers, or lists of them: {error}.") from None


def _to_json(value: object) -> object:
    """JSON values: bytes as base64, arrays as lists."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: _to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(one) for one in value]
    return _to_json(value.tolist()) if hasattr(value, "tolist") else value


def _columns(found: object, names: list[str]) -> dict:
    """Outputs by name; one comes without its name, unless a later version than the one whose `names` are has more."""
    is_bytes = isinstance(found, dict) and found.keys() == {"b64"} and names[0].endswith("_bytes")
    return {names[0]: found} if len(names) == 1 and (is_bytes or not isinstance(found, dict)) else found


def _from_json(name: str, value: object) -> object:
    if not name.endswith("_bytes"):
        return value
    if isinstance(value, list):
        return [_from_json(name, one) for one in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _tensors(tensors: dict) -> dict[str, dict]:
    return {
        name: {
            "dtype": _DTYPES.get(tensors[name]["dtype"], tensors[name]["dtype"].removeprefix("DT_").lower()),
            "shape": [int(dimension["size"]) for dimension in tensors[name].get("tensor_shape", {}).get("dim", ())],
        }
        for name in sorted(tensors)
    }
