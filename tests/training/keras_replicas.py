"""What Keras alone does on several replicas where `tfllm.training.upstream` repairs it: a program for the tests.

`python keras_replicas.py upstream` prints JSON of what happens on two logical CPUs, `worker` in one of two processes.
"""

import contextlib
import json
import sys

import numpy as np
from replicas import apart, divide_processor, fitted, masked_lm, masked_rows, same, stock_strategy


def upstream() -> dict:
    """What Keras alone does on two replicas where `tfllm.training.upstream` repairs it."""
    import keras
    import tensorflow as tf

    divide_processor()

    def stock(strategy):
        """Keras's own step."""
        with strategy:
            model = masked_lm()
            plain = keras.Model(model.input, model.output)
            return model, *fitted(plain, keras.optimizers.SGD(1.0), masked_rows())

    results = {"stock": apart(stock(contextlib.nullcontext()), stock(stock_strategy().scope()))}
    with stock_strategy().scope():
        dropping = keras.Sequential([keras.layers.Dropout(0.5)])
        results["dropped"] = same(tf.distribute.get_strategy(), dropping, np.ones((4, 8)))
    for scenario in (defects, first_batch):
        results[scenario.__name__] = scenario()
    return results


def defects() -> dict:
    """The type of the error with which Keras ends at rows it cannot divide."""
    found = {}
    batches = {"bool": (np.ones((4, 2), bool), np.ones(4)), "uneven": (np.ones((3, 2)), np.ones(3))}
    for name, batch in batches.items():
        with stock_strategy().scope():
            found[name] = failure(batch)
    return found


def failure(batch: tuple) -> str | None:
    """The type of the error with which a plain model of Keras ends at a batch; None if it is trained."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    try:
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    except Exception as error:
        return type(error).__name__


def first_batch() -> dict:
    """How often a data set of one epoch is begun."""
    import keras
    import tensorflow as tf

    from tfllm.training import choose_strategy

    found = {}
    for name, strategy in (("keras", stock_strategy().scope()), ("repaired", choose_strategy("mirrored"))):
        begun = []

        def rows(begun=begun):
            begun.append(1)
            yield np.ones((4, 2)), np.ones(4)

        spec = (tf.TensorSpec((4, 2)), tf.TensorSpec((4,)))
        with strategy:
            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            model.fit(
                tf.data.Dataset.from_generator(rows, output_signature=spec), verbose=0, shuffle=False, steps_per_epoch=1
            )
        found[name] = len(begun)
    return found


def worker() -> dict:
    """What Keras does in one of two processes: without repairs, and with the first of two."""
    from unittest import mock

    import tensorflow as tf
    from keras.src.backend.tensorflow import trainer

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    from tfllm.training import upstream

    batch = (np.ones((4, 2)), np.ones(4))
    with strategy.scope():
        found = {"build": failure(batch)}
        with mock.patch.object(trainer.TensorFlowTrainer, "_maybe_symbolic_build", upstream.build_from_shapes):
            found["reduce"] = failure(batch)
        with upstream.repaired():
            found["repaired"] = failure(batch)
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
