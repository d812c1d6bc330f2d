"""One version of a SavedModel in memory, run as TF Serving runs it: a Session, not `tf.saved_model.load`.

In: arrays by input name. Out: arrays by output name.
"""

import contextlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from tfllm.checks import InputError
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.runs import kind_of

DEFAULT = "serving_default"
_INTERNAL = "__saved_model_init_op"  # every SavedModel has it beside its signatures
_CODES = {  # of tf.errors; what is not here is INTERNAL
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
}


def load_text_ops() -> None:
    """Register the tensorflow-text ops from their libraries: importing the package would import Keras."""
    package = importlib.util.find_spec("tensorflow_text").submodule_search_locations[0]
    for library in sorted(Path(package, "python", "ops").glob("_*.so")):
        tf.load_op_library(str(library))


class LoadedModel:
    """A SavedModel ready to run.

    Args:
        directory: the version's.

    Attributes:
        signatures: SignatureDef by name.
        facts: what tfllm wrote beside the graph (assets.extra/tfllm.json); {} if another program made it.

    Raises:
        InputError: when it cannot be loaded.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.facts = _read_facts(directory)
        kind = kind_of(self.facts)
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=kind.config)
        try:
            with self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(directory))
        except (tf.errors.OpError, ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
            self._session.close()
            raise InputError(f"{directory} cannot be loaded: {_first_line(error)}") from None
        self.signatures = {name: one for name, one in meta_graph.signature_def.items() if name != _INTERNAL}
        self._runs = kind(self._session)

    def find(self, signature_name: str) -> meta_graph_pb2.SignatureDef | None:
        """A signature; "" is the default one."""
        return self.signatures.get(signature_name or DEFAULT)

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Iterable[str],
        timeout_seconds: float | None = None,
        rows: int | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute tensors, by their names in the graph.

        Args:
            feeds: arrays by the names of tensors.
            fetches: names of tensors.
            timeout_seconds: until the run is given up; None: never.
            rows: that all feeds have, where each row's answer is its own and parts may be computed at the same time.

        Raises:
            ServingError: with the code and message of what went wrong in the graph.
        """
        fetches = tuple(fetches)
        try:
            found = self._runs.run(feeds, fetches, timeout_seconds, rows)
        except ServingError:  # a ValueError, too
            raise
        except tf.errors.OpError as error:
            raise ServingError(_CODES.get(error.error_code, "INTERNAL"), _first_line(error)) from None
        except UnicodeDecodeError as error:  # of a message that holds what was fed
            raise invalid(error.object.decode("utf-8", "replace")) from None
        except (ValueError, TypeError) as error:
            raise invalid(str(error)) from None
        # A session gives a single string as bytes.
        arrays = (np.array(one, object) if isinstance(one, bytes) else one for one in found)
        return dict(zip(fetches, arrays, strict=True))

    def close(self) -> None:
        """End the session; the memory goes to the next version that is loaded, some of it not to the system."""
        self._session.close()


def _read_facts(directory: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads((directory / "assets.extra" / "tfllm.json").read_text("utf-8"))
        if isinstance(facts, dict):
            return facts
    return {}


def _first_line(error: Exception) -> str:
    """What an op said, without Python's heading and the graph's stack trace around it."""
    message = getattr(error, "message", None) or str(error)
    if not isinstance(error, tf.errors.OpError):
        return message
    return message.removeprefix("Graph execution error:").strip().split("\n", 1)[0]
