"""What a server answers, whichever way it is asked: Predict, Classify, Regress, MultiInference.

In: a version, a signature's name, arrays or tf.Examples. Out: arrays.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfllm.serving import calls
from tfllm.serving.batching import Batcher
from tfllm.serving.calls import Call
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.limits import Limits
from tfllm.serving.metrics import Metrics
from tfllm.serving.models import Models, Version
from tfllm.writing import RowSettings

_LARGE = 64 * 1024  # bytes that are not read or written in the event loop's own thread


class Service:
    """One server's models, queue, limits and counts.

    Attributes:
        models, batcher, limits, metrics: its parts.
    """

    def __init__(self, models: Models, batcher: Batcher, limits: Limits, metrics: Metrics):
        self.models, self.batcher, self.limits, self.metrics = models, batcher, limits, metrics

    async def predict(
        self,
        version: Version,
        signature: calls.SignatureDef,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] = (),
        timeout_seconds: float | None = None,
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, by name; all, or those that are wanted."""
        call = calls.predict_call(signature, inputs, outputs)
        _check_settings(signature, inputs)
        return calls.predict_outputs(signature, outputs, await self._run(version, call, timeout_seconds))

    async def classify(
        self, version: Version, signature_name: str, examples: Sequence[bytes], timeout_seconds: float | None = None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Classes and scores, (B, C), of serialized tf.Examples; one of them may be None."""
        signature = _example_signature(version, signature_name)
        found = await self._run(version, calls.classify_call(signature, examples), timeout_seconds)
        self.metrics.counted(version.name, len(examples))
        return calls.classify_outputs(signature, len(examples), found)

    async def regress(
        self, version: Version, signature_name: str, examples: Sequence[bytes], timeout_seconds: float | None = None
    ) -> np.ndarray:
        """Values, float32 (B,), of serialized tf.Examples."""
        signature = _example_signature(version, signature_name)
        found = await self._run(version, calls.regress_call(signature, examples), timeout_seconds)
        self.metrics.counted(version.name, len(examples))
        return calls.regress_outputs(signature, len(examples), found)

    async def multi(
        self,
        version: Version,
        tasks: Sequence[tuple[str, str]],
        examples: Sequence[bytes],
        timeout_seconds: float | None = None,
    ) -> list:
        """What `classify` or `regress` gives, for each task: (method name, signature name), in one run."""
        signatures = []
        for method, name in tasks:
            missing = invalid(f"Requested signature not found in model graph: {name or calls.DEFAULT}")
            signatures.append((method, calls.find_signature(version.model.signatures, name, missing)))
        found = await self._run(version, calls.multi_call(signatures, examples), timeout_seconds)
        self.metrics.counted(version.name, len(examples))
        return [
            (calls.classify_outputs if method == calls.CLASSIFY else calls.regress_outputs)(
                signature, len(examples), found
            )
            for method, signature in signatures
        ]

    async def _run(self, version: Version, call: Call, timeout_seconds: float | None) -> dict[str, np.ndarray]:
        """Wait for a run, at most as long as the client and the server do."""
        own = self.limits.timeout_seconds or float("inf")
        seconds = own if timeout_seconds is None else min(own, timeout_seconds)
        future = self.batcher.submit(version, call, time.monotonic() + seconds)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds if seconds < float("inf") else None)
        except TimeoutError:
            raise ServingError("DEADLINE_EXCEEDED", "Timed out waiting for the answer.") from None


async def apart(size: int, function: Callable, *arguments):
    """Call a function; in a thread when it has many bytes to read or write, so that other requests go on."""
    if size < _LARGE:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


def size_of(*arrays: np.ndarray | None) -> int:
    """The bytes of arrays, those of strings counted as 8 each; None has none."""
    return sum(array.nbytes for array in arrays if array is not None)


def _check_settings(signature: calls.SignatureDef, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise ServingError for settings to write with that are no numbers, which a graph would take for some."""
    if set(RowSettings._fields) <= set(signature.inputs):
        for name in ("temperature", "top_p"):
            values = inputs.get(name, np.zeros(1))
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                received = values[~np.isfinite(values)][0]
                raise invalid(f"`{name}` must be a finite number. Received: {received}.")


def _example_signature(version: Version, name: str) -> calls.SignatureDef:
    missing = invalid(f"No signature was found with the name: {name or calls.DEFAULT}")
    return calls.find_signature(version.model.signatures, name, missing)
