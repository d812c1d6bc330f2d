"""Batches made in the background while the model computes."""

import tensorflow as tf

_BATCHES = 4


def made_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with a few batches made ahead; every dataset of this package goes through it.

    tf.data's autotuner stays off: its thread looks at the pipeline after 10 ms, 20 ms, and so on up to a minute, and
    whoever lets go of the dataset waits now and then until it wakes, up to as long again as the training took. Without
    it, a `map` with AUTOTUNE has a thread for each processor.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(_BATCHES).with_options(options)
