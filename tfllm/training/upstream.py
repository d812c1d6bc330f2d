"""What Keras's own trainer cannot do with several replicas on TensorFlow, repaired while a strategy is in use.

Each repair replaces one function of Keras 3.15 and is undone afterwards. `tests/training/test_upstream.py` shows for
each that Keras still needs it: when such a test fails, the repair can go.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer

from tfllm.checks import InputError

_stock_next = keras.random.SeedGenerator.next
_stock_reduce = trainer.reduce_per_replica
_REPLICA_STEP = 0x3C6EF372  # between the seeds of two replicas


@contextlib.contextmanager
def repaired() -> Iterator[None]:
    """Use the repairs inside the block."""
    with (
        mock.patch.object(trainer.TensorFlowTrainer, "_maybe_symbolic_build", build_from_shapes),
        mock.patch.object(trainer, "reduce_per_replica", reduce_per_replica),
        mock.patch.object(keras.random.SeedGenerator, "next", next_of_replica),
    ):
        yield


def build_from_shapes(model: keras.Model, iterator=None, data_batch=None) -> None:
    """Build model, metrics and optimizer from the shapes of a batch.

    Keras takes a first batch and the mean of all replicas' rows. There is no such mean of bool rows, of replicas with
    unequal numbers of rows, nor of dicts in several processes (keras#20585); and data that are shuffled anew every time
    they are read would come in another order than on one device.
    """
    strategy = model._distribute_strategy
    if strategy is None:
        return
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(optimizer, "_distribution_strategy", strategy) is not strategy:
        raise InputError("The optimizer was made outside of the strategy. Make it inside, as the model.")
    if iterator is not None:
        data_batch = tf.nest.map_structure(
            lambda spec: getattr(spec, "_value_specs", [spec])[0],  # of one replica
            iterator._distributed_dataset.element_spec,
        )
    with strategy.scope():
        model._symbolic_build(data_batch=data_batch)


def reduce_per_replica(values, strategy: tf.distribute.Strategy, reduction: str):
    """The mean of what the replicas of several processes report.

    Keras takes the mean over the first axis, which a number has not (keras#20585).
    """
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and reduction != "concat":
        return tf.nest.map_structure(lambda value: strategy.reduce("MEAN", value, axis=None), values)
    return _stock_reduce(values, strategy, reduction)


def next_of_replica(generator: keras.random.SeedGenerator, ordered: bool = True):
    """Another seed on every replica, so that they do not all drop the same activations; on the first, Keras's."""
    seed = _stock_next(generator, ordered)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    number = tf.cast(replica.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([number * _REPLICA_STEP, tf.zeros_like(number)])
