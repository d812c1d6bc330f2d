"""Learning to predict the next token: one update however texts stand, and a killed run that goes on exactly."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import adamw, add_causal_lm_head, build_decoder, causal_lm_dataset, train_causal_lm
from tfllm.checks import InputError
from tfllm.data.causal import next_token_targets
from tfllm.data.samples import sample_path
from tfllm.losses import causal_lm_loss
from tfllm.training import Run

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 32}


def updated(rows: list[list[list[int]]], width: int, **options) -> list[np.ndarray]:
    """The weights after a step on rows of texts, from the same weights."""
    ids, mask = np.zeros((2, len(rows), width), "int32")
    for number, texts in enumerate(rows):
        flat = [token for text in texts for token in text]
        ids[number, : len(flat)] = flat
        mask[number, : len(flat)] = [place for place, text in enumerate(texts, 1) for _ in text]
    keras.utils.set_random_seed(1)
    model = add_causal_lm_head(build_decoder(20, **SIZE))
    model.micro_batches = options.pop("micro_batches", 1)
    model.compile(keras.optimizers.SGD(1.0), loss=causal_lm_loss(), **options)
    batch = next_token_targets()({"token_ids": ids, "padding_mask": mask})
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
    return model.get_weights()


A, B, C, D = [2, 7, 8, 9, 3], [2, 10, 3], [2, 5, 6, 7, 8, 9, 3], [2, 11, 12, 3]


@pytest.mark.parametrize(
    ("rows", "width", "options"),
    [
        ([[A, B], [C], [D]], 8, {}),
        ([[D, A], [C, B]], 16, {}),
        ([[A], [B], [C], [D]], 8, {"micro_batches": 2}),
        ([[A], [B], [C], [D]], 8, {"jit_compile": True}),
    ],
)
def test_packed_padded_divided_or_compiled_the_update_is_the_same(rows, width, options):
    expected = updated([[A], [B], [C], [D]], 7)
    for weight, other in zip(updated(rows, width, **options), expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-6)


def test_the_loss_by_hand():
    logits = tf.constant([[[0.0, 0.0, 0.0, 0.0], [0.0, np.log(3.0), 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]])
    loss = causal_lm_loss()(tf.constant([[2, 1, 3]]), logits, sample_weight=tf.constant([[1.0, 1.0, 0.0]]))
    assert float(loss) == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-6)


def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tiny_tokenizer, tmp_path):
    def batches(start):
        corpus = sample_path("text_en.txt")
        return causal_lm_dataset(corpus, tiny_tokenizer, sequence_length=32, batch_size=4, seed=5, start_batch=start)

    class Killed(Exception):
        pass

    def train(run=None, kill_at=None):
        keras.utils.set_random_seed(1)
        model = add_causal_lm_head(build_decoder(tiny_tokenizer.vocabulary_size, **SIZE, dropout=0.1))

        def kill(batch, logs):
            if batch == kill_at:
                raise Killed

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=kill)
        train_causal_lm(model, batches, adamw(1e-3, total_steps=8), steps=8, run=run, callbacks=[callback])
        return model.get_weights()

    run = Run(tmp_path / "run", save_seconds=0)
    with pytest.raises(Killed):
        train(run, kill_at=4)
    for resumed, whole in zip(train(run), train(), strict=True):
        np.testing.assert_array_equal(resumed, whole)


def test_a_loss_that_is_no_number_stops_the_training(tiny_tokenizer):
    model = add_causal_lm_head(build_decoder(tiny_tokenizer.vocabulary_size, **SIZE))
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    dataset = causal_lm_dataset(sample_path("text_en.txt"), tiny_tokenizer, sequence_length=32, batch_size=4)
    with pytest.raises(InputError, match="Training has diverged"):
        train_causal_lm(model, dataset, adamw(1e-3, total_steps=2), steps=2)
