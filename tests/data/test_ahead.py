"""Nobody waits for a thread of tf.data when a training ends."""

from pathlib import Path

import tensorflow as tf

import tfllm
from tfllm.data.ahead import made_ahead


def test_the_autotuner_whose_thread_would_be_waited_for_is_off():
    dataset = made_ahead(tf.data.Dataset.range(3).map(lambda number: number * 2, num_parallel_calls=tf.data.AUTOTUNE))
    assert dataset.options().autotune.enabled is False
    assert [int(number) for number in dataset] == [0, 2, 4]


def test_every_dataset_of_the_package_is_made_ahead_here():
    files = {file.name for file in Path(tfllm.__file__).parent.rglob("*.py") if ".prefetch(" in file.read_text("utf-8")}
    assert files == {"ahead.py"}
