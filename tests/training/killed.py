"""A training to be killed: reads lines from standard input and does one part of the training for each in a fork.

    python killed.py RECORDS OUT STEPS SAVE_SECONDS

In: "go". Out: the fork's process number, later how it ended. TensorFlow is imported once, before any fork, and started
in the forks only, which saves its start-up with each.
"""

import os
import sys

import keras
import numpy as np

from tfllm import adamw, add_masked_lm_head, build_encoder  # here, that is once and before the forks
from tfllm.data import masked_lm_dataset
from tfllm.tokenizers import load_tokenizer
from tfllm.training import Run, train_masked_lm

BATCH_SIZE = 4


def train(records: str, out: str, steps: int, save_seconds: float) -> None:
    """Train, going on from what stands in OUT; the final weights go to OUT/weights.npz."""
    keras.utils.set_random_seed(5)
    tokenizer = load_tokenizer(records + "/tokenizer")
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.1}
    model = add_masked_lm_head(build_encoder(tokenizer.vocabulary_size, **size))
    train_masked_lm(
        model,
        lambda start: masked_lm_dataset(records, tokenizer, batch_size=BATCH_SIZE, start_batch=start, part="train"),
        adamw(1e-2, total_steps=steps, warmup_steps=10),
        steps=steps,
        run=Run(out + "/run", save_seconds=save_seconds),
    )
    np.savez(out + "/weights.npz", *model.get_weights())


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            train(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
