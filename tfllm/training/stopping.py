"""At which batch a training stops that was asked to: at once, or in several processes at one that none has reached.

A process that left while the others wait for its gradients would take their last batches with it. TensorFlow's
coordination service, which the processes of `MultiWorkerMirroredStrategy` share, carries the number of the batch.
"""

import contextlib
import itertools
import math
import threading

import tensorflow as tf
from tensorflow.python.eager import context

_SECONDS = 1.0  # until all processes know
_trainings = itertools.count()  # the same in all processes, which run the same program


class Stop:
    """When one training stops.

    Attributes:
        batch: how many batches it will have seen then; None while nobody has asked.
    """

    def __init__(self):
        self.batch: int | None = None
        self._key = None
        if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
            self._key = f"tfllm/stop/{next(_trainings)}"
            threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, batch: int, batch_seconds: float) -> None:
        """Stop after `batch` batches, or in several processes about a second later; asked again it changes nothing."""
        if self._key is None:
            self.batch = batch
        elif self.batch is None:
            ahead = max(2, math.ceil(_SECONDS / batch_seconds))  # another process may be one batch further
            with contextlib.suppress(tf.errors.AlreadyExistsError):  # another process has asked
                context.context().set_config_key_value(self._key, str(batch + ahead))

    def _listen(self) -> None:
        with contextlib.suppress(tf.errors.OpError):  # the processes end
            self.batch = int(context.context().get_config_key_value(self._key))
