"""Batches made in the background while the model computes."""

from collections.abc import Callable

import tensorflow as tf

_BATCHES = 4


def mapped(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """`dataset.map` on all processors, in order, of a function of TensorFlow operations without tensors in `if` or
    `while`: AutoGraph, which would translate it and all it calls, takes longer than tracing it does.
    """
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def made_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with a few batches made ahead; every dataset of this package goes through it.

    tf.data's autotuner stays off: its thread looks at the pipeline after 10 ms, 20 ms, and so on up to a minute, and
    whoever lets go of the dataset waits now and then until it wakes, up to as long again as the training took. Without
    it, a `map` with AUTOTUNE has a thread for each processor.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_BATCHES).with_options(options)
