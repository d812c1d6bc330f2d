"""Training of an encoder-decoder: killed and gone on with, the weights are those of an uninterrupted one; it learns."""

import keras
import numpy as np
import pytest

from tfllm.data import Seq2SeqBatches
from tfllm.evaluation import seq2seq_loss
from tfllm.generation import TextGenerator
from tfllm.losses import causal_lm_loss
from tfllm.models import add_seq2seq_head, build_encoder_decoder
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.training import Run, fine_tune
from tfllm.training.optimizer import AdamW

TOKENIZER = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"])
SOURCES = [" ".join(random) for random in np.random.default_rng(0).choice(list("abcdef"), (60, 4))]
TARGETS = [text[::-1] for text in SOURCES]
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 48, "dropout": 0.1}


class Killed(Exception):
    pass


class KillAt(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch, logs=None):
        self._left -= 1
        if self._left == 0:
            raise Killed


def train(run=None, callbacks=(), epochs=3, learning_rate=1e-2):
    keras.utils.set_random_seed(1)
    model = add_seq2seq_head(build_encoder_decoder(TOKENIZER.vocabulary_size, **SIZE))
    batches = Seq2SeqBatches(SOURCES, TARGETS, TOKENIZER, sequence_length=16, target_length=16, batch_size=20)
    once = batches.once().cache()
    fine_tune(
        model,
        batches,
        loss=causal_lm_loss(0.1),
        validate=lambda: {"loss": seq2seq_loss(model, once)["loss"]},
        epochs=epochs,
        learning_rate=learning_rate,
        patience=epochs,
        run=run,
        callbacks=callbacks,
    )
    return model


@pytest.fixture(scope="module")
def uninterrupted():
    return train()


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(uninterrupted, tmp_path):
    with pytest.raises(Killed):
        train(Run(tmp_path, save_seconds=0), [KillAt(4)])
    again = train(Run(tmp_path, save_seconds=0))
    for one, other in zip(uninterrupted.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_batch_is_learnt_by_heart_from_the_loss_of_not_knowing():
    keras.utils.set_random_seed(1)
    model = add_seq2seq_head(build_encoder_decoder(TOKENIZER.vocabulary_size, **{**SIZE, "dropout": 0.0}))
    batches = Seq2SeqBatches(SOURCES[:8], TARGETS[:8], TOKENIZER, sequence_length=16, target_length=16, batch_size=8)
    model.compile(AdamW(5e-3), loss=causal_lm_loss())
    assert seq2seq_loss(model, batches.once())["loss"] == pytest.approx(np.log(TOKENIZER.vocabulary_size), abs=0.1)
    model.fit(batches(), steps_per_epoch=100, verbose=0, shuffle=False)
    assert seq2seq_loss(model, batches.once())["loss"] < 0.1
    rows = TextGenerator(model, TOKENIZER).generate(SOURCES[:8], max_new_tokens=8)
    assert [row["text"] for row in rows] == TARGETS[:8]
