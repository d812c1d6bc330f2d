"""Where a training runs: one device, all devices of this machine, or several machines.

In: a name. Out: a context to build, compile and fit in. The batch size is always that of all replicas together.
"""

import contextlib
import functools
import json
import logging
import os
from collections.abc import Iterator
from types import TracebackType

import keras
import tensorflow as tf

from tfllm import checks
from tfllm.checks import InputError
from tfllm.training import upstream

log = logging.getLogger("tfllm")
STRATEGIES = ("auto", "cpu", "gpu", "mirrored", "multiworker", "tpu")


_OTHERS_GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


class Strategy:
    """A context: models built, compiled and fitted inside run on all of its replicas. See `choose_strategy`.

    Attributes:
        name: one of STRATEGIES, never "auto".
        num_replicas: how many devices share a batch.
        is_chief: False in all but one of several processes: only the chief writes files.
        num_processes: how many there are.
    """

    def __init__(self, name: str, scope: contextlib.AbstractContextManager, num_replicas: int = 1):
        self.name, self.num_replicas, self._scope = name, num_replicas, scope
        self.is_chief, self.num_processes = True, 1
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> "Strategy":
        log.info("strategy: %s%s", self.name, f", {self.num_replicas} replicas" if self.num_replicas > 1 else "")
        self._entered.enter_context(self._scope)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entered.close()
        if self.num_processes > 1 and isinstance(error, _OTHERS_GONE):
            raise InputError(
                "Another process of this training has ended. Start all of them again with the same commands: they go "
                "on from the last checkpoint."
            ) from error

    def check_uneven_batches(self) -> None:
        """Raise InputError if the last, smaller batch of an epoch cannot be divided over the replicas."""
        if self.num_replicas > 1 and keras.backend.backend() != "tensorflow":
            raise InputError(
                f"Fine-tuning ends an epoch with a smaller batch, which JAX cannot divide over {self.num_replicas} "
                "devices. Use KERAS_BACKEND=tensorflow, or one device."
            )

    def wait(self) -> None:
        """Wait until every process is here, so that none ends while another needs it."""
        if self.num_processes > 1:
            _of_all_processes(0)

    def check_batch_size(self, batch_size: int) -> None:
        """Raise InputError unless every replica gets the same number of rows."""
        checks.check_divisible(
            "batch_size",
            batch_size,
            "replicas",
            self.num_replicas,
            "so that every replica gets as many rows; it counts the rows of all replicas together",
        )


def choose_strategy(name: str = "auto") -> Strategy:
    """The strategy `name`; entering it says it in the log. Make it before anything else uses TensorFlow.

    Args:
        name: "auto" takes what there is: several processes if TF_CONFIG names them, else several GPUs, else one device.
            "cpu", "gpu": one device. "mirrored": all GPUs of this machine, or without one its logical CPUs.
            "multiworker": the processes that TF_CONFIG names, with all their GPUs. "tpu": all TPU cores.
            Under KERAS_BACKEND=jax "auto", "mirrored" and "tpu" divide batches over all devices JAX sees.

    Returns:
        A context; build, compile and fit inside.

    Raises:
        InputError: when this machine does not have what `name` needs.

    Example: `with choose_strategy("mirrored"): model = ...; model.compile(...); model.fit(...)`.
    """
    checks.check_one_of("strategy", name, STRATEGIES)
    return _on_jax(name) if keras.backend.backend() == "jax" else _on_tensorflow(name)


def check_same_everywhere(batch: int) -> None:
    """Raise InputError unless all processes of a training go on from the same batch; waits for all of them."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        batches = _of_all_processes(batch)
        if len(set(batches)) > 1:
            raise InputError(
                "The processes of a training must read the same checkpoints: give an --out on a file system that all "
                f"of them share. Received: they would go on from batches {', '.join(map(str, batches))}."
            )


def _of_all_processes(number: int) -> list[int]:
    strategy = _make_multiworker()

    @tf.function(autograph=False)
    def gathered():
        here = strategy.run(lambda: tf.constant([number]))
        return strategy.gather(here, axis=0)

    return gathered().numpy().tolist()


def _on_tensorflow(name: str) -> Strategy:
    if name == "auto":
        gpus = len(tf.config.list_physical_devices("GPU"))
        name = "multiworker" if os.environ.get("TF_CONFIG") else "mirrored" if gpus > 1 else "gpu" if gpus else "cpu"
    makers = {"cpu": _one_device, "gpu": _one_device, "mirrored": _mirrored, "multiworker": _multiworker, "tpu": _tpu}
    return makers[name](name)


def _one_device(name: str) -> Strategy:
    if name == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise InputError("TensorFlow sees no GPU here. Use `--strategy cpu`, or auto.")
    return Strategy(name, tf.device(f"/{name.upper()}:0"))


def _mirrored(name: str) -> Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(
            f"`mirrored` divides batches over several devices of one machine. TensorFlow sees one: {devices[0].name}. "
            "Use auto."
        )
    return _replicated(name, _make_mirrored(tuple(device.name for device in devices)))


@functools.cache  # two of the same process would take each other's sums for their own
def _make_mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


def _multiworker(name: str) -> Strategy:
    task = _check_tf_config()
    try:
        strategy = _make_multiworker()
    except RuntimeError as error:
        raise InputError(f"`multiworker` must be chosen before TensorFlow is used in a process: {error}") from None
    chosen = _replicated(name, strategy)
    chosen.num_processes = len(task["cluster"]["worker"])
    chosen.is_chief = task["task"]["index"] == 0
    return chosen


@functools.cache
def _make_multiworker() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config() -> dict:
    rule = (
        "`multiworker` reads the environment variable TF_CONFIG, the same on every machine but for the index: "
        '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}.'
    )
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        workers, task = config["cluster"]["worker"], config["task"]
        fits = set(config["cluster"]) == {"worker"} and task["type"] == "worker" and 0 <= task["index"] < len(workers)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise InputError(f"{rule} Received: {text!r}.")
    return config


def _tpu(name: str) -> Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect("")
    except (ValueError, RuntimeError, tf.errors.OpError):
        raise InputError(
            "This TensorFlow has no TPU. Set KERAS_BACKEND=jax (and install JAX for TPUs: "
            'pip install "tfllm[tpu]") to train there; the model is then exported with TensorFlow as ever.'
        ) from None
    return _replicated(name, tf.distribute.TPUStrategy(resolver))


def _replicated(name: str, strategy: tf.distribute.Strategy) -> Strategy:
    return Strategy(name, _scope(strategy), strategy.num_replicas_in_sync)


@contextlib.contextmanager
def _scope(strategy: tf.distribute.Strategy) -> Iterator[None]:
    with upstream.repaired(), strategy.scope():
        yield


def _on_jax(name: str) -> Strategy:
    kinds = {"cpu": "cpu", "gpu": "gpu", "tpu": "tpu"}
    if name == "multiworker":
        raise InputError(
            "`multiworker` is TensorFlow's. With JAX call `keras.distribution.initialize()` in every process, "
            "then choose auto."
        )
    try:
        devices = keras.distribution.list_devices(kinds.get(name))
    except RuntimeError:
        devices = []
    if not devices:
        raise InputError(f"JAX sees no {name.upper()} here. It sees: {', '.join(keras.distribution.list_devices())}.")
    if len(devices) == 1:
        return Strategy(devices[0].split(":")[0], contextlib.nullcontext())
    distribution = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    return Strategy(devices[0].split(":")[0], distribution.scope(), len(devices))
