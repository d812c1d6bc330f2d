"""A model at a server, TF Serving's or `tfllm serve`, with the interface of `tfllm.export.Predictor`."""

import json
from collections.abc import Sequence

import numpy as np

from tfllm.checks import InputError
from tfllm.serving.errors import ServingError

_BATCH_SIZE = 32
_ORDER = ("question", "context", "text", "text_pair", "choices")  # in which people are asked; a server keeps none


class RemotePredictor:
    """Asks a server.

    Args:
        url: `http://HOST:8501` or `grpc://HOST:8500`.
        name: of the model there.
        token: what the server asks for; None: nothing.

    Attributes:
        task, inputs: as of `Predictor`; the task is told by the outputs.
    """

    def __init__(self, url: str, name: str, token: str | None = None):
        from tfllm.serving import Client

        self._url, self._name, self._token = url, name, token
        with Client(url, token=token) as client:
            signatures = client.metadata(name)["signatures"]
        if "serving_default" not in signatures:
            raise InputError(f"{name} has no signature serving_default: {', '.join(signatures)}.")
        signature = signatures["serving_default"]
        if not signature["inputs"]:
            raise InputError(f"serving_default of {name} takes no inputs.")
        self.task = _task_of(name, set(signature["outputs"]))
        self._outputs = signature["outputs"]
        self._ranks = {one: len(kind["shape"]) for one, kind in signature["inputs"].items()}
        self.inputs = sorted(self._ranks, key=lambda one: _ORDER.index(one) if one in _ORDER else len(_ORDER))

    def predict(self, **columns: Sequence) -> list[dict]:
        """A dict for each row; see `Predictor.predict`."""
        from tfllm.inference.tasks import to_rows
        from tfllm.serving import Client

        columns = {name: _lists(columns[name]) if self._ranks[name] == 2 else list(columns[name]) for name in columns}
        rows = []
        with Client(self._url, token=self._token) as client:
            for start in range(0, len(columns[self.inputs[0]]), _BATCH_SIZE):
                batch = {name: columns[name][start : start + _BATCH_SIZE] for name in self.inputs}
                outputs = client.predict(self._name, {name: _filled(column) for name, column in batch.items()})
                try:
                    rows += to_rows(self.task, batch, self._arrays(outputs, len(batch[self.inputs[0]])))
                except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                    shown = f"{json.dumps(outputs, ensure_ascii=False, default=str):.200}"
                    raise ServingError(
                        "UNKNOWN",
                        f"{self._url}: {self._name} does not answer as its metadata says, with a row of "
                        f"{', '.join(self._outputs)} for each row asked. Received: {shown}",
                    ) from None
        return rows

    def _arrays(self, outputs: dict[str, list], rows: int) -> dict[str, np.ndarray]:
        """The outputs as a SavedModel would have given them; ValueError where they are of another kind."""
        arrays = {name: _array(column) for name, column in outputs.items()}
        for name, kind in self._outputs.items():
            array = arrays[name]
            strings = array.dtype == object
            fits = array.ndim == len(kind["shape"]) and strings == (kind["dtype"] == "string")
            if len(array) != rows or (array.size and not fits):  # an empty list has neither type nor rank
                raise ValueError(name)
        return arrays


def _task_of(name: str, outputs: set[str]) -> str:
    """The task whose outputs a model has, the one that has most of them."""
    from tfllm.inference.tasks import TASKS, module_of

    fitting = [task for task in dict.fromkeys(TASKS.values()) if outputs >= set(module_of(task).OUTPUTS)]
    if not fitting:
        raise InputError(f"{name} is no model of tfllm: its serving_default gives {', '.join(sorted(outputs))}.")
    return max(fitting, key=lambda task: len(module_of(task).OUTPUTS))


def _lists(column: Sequence) -> list[list[str]]:
    """A list of strings for each row; a text is read as JSON."""
    lists = []
    for value in column:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
            raise InputError(f"Give a list of strings for each row, in a text written as JSON. Received: {value!r}.")
        lists.append(found)
    return lists


def _filled(column: list) -> list:
    """Lists of one length, the shorter ones filled up with ""; half a surrogate pair becomes "?"."""
    if column and isinstance(column[0], list):
        longest = max(map(len, column))
        return [_filled(row) + [""] * (longest - len(row)) for row in column]
    return [text.encode("utf-8", "replace").decode() for text in column]


def _array(column: list) -> np.ndarray:
    """The array a SavedModel would have given."""
    array = np.array(column)
    if array.dtype.kind == "U":
        return np.vectorize(str.encode, otypes=[object])(array) if array.size else array.astype(object)
    return array
