"""However texts stand in a batch, the update is the same; a whole step compiles, and is traced once for all widths."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import adamw, add_classifier_head, add_masked_lm_head, build_encoder, classification_dataset
from tfllm.checks import InputError
from tfllm.losses import ClassificationLoss, masked_lm_loss
from tfllm.models import recompute_activations

SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.0}
VOCABULARY = 20
LENGTHS = (5, 3, 8, 4)


def updated(batch: tuple, optimizer=None, **options) -> tuple[list[np.ndarray], dict]:
    """The weights after one step from the same weights, and what it reported."""
    keras.utils.set_random_seed(1)
    model = add_masked_lm_head(build_encoder(VOCABULARY, **SIZE))
    model.compile(optimizer or keras.optimizers.SGD(1.0), loss=masked_lm_loss(), **options)
    reported = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False).history
    return model.get_weights(), reported


def batch_of(rows: list[list[np.ndarray]], width: int) -> tuple:
    """Each row holds texts one after the other; the second and the last token of each text are to be predicted."""
    inputs = {name: np.zeros((len(rows), width), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
    slots = 2 * max(len(row) for row in rows)
    positions, mask_ids = np.zeros((2, len(rows), slots), "int32")
    weights = np.zeros((len(rows), slots), "float32")
    for number, row in enumerate(rows):
        start = 0
        for text, ids in enumerate(row):
            end = start + len(ids)
            inputs["token_ids"][number, start:end] = ids
            inputs["padding_mask"][number, start:end] = text + 1
            for slot, place in enumerate((start + 1, end - 1), 2 * text):
                positions[number, slot], weights[number, slot] = place, 1
                mask_ids[number, slot] = 5 + (ids[0] + slot - 2 * text) % 10
            start = end
    return {**inputs, "mask_positions": positions}, mask_ids, weights


def texts() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(5, VOCABULARY, length) for length in LENGTHS]


def assert_same(left: tuple, right: tuple) -> None:
    for a, b in zip(left[0], right[0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)
    for name, values in left[1].items():
        np.testing.assert_allclose(values, right[1][name], atol=1e-6)


def test_packed_texts_update_as_texts_in_rows_of_their_own():
    a, b, c, d = texts()
    assert_same(updated(batch_of([[a, b], [c], [d]], 8)), updated(batch_of([[a], [b], [c], [d]], 8)))


def test_rows_padded_to_their_longest_update_as_rows_padded_further():
    rows = [[text] for text in texts()]
    assert_same(updated(batch_of(rows, 8)), updated(batch_of(rows, 13)))


def test_the_whole_step_compiles_with_clipping_and_schedule_and_gives_the_same_update():
    """Static shapes and no string operation: what a TPU needs."""
    batch = batch_of([[text] for text in texts()], 8)
    plain, compiled = (
        updated(batch, adamw(1e-2, total_steps=10, warmup_steps=2, clip_norm=0.1), jit_compile=jit)
        for jit in (False, True)
    )
    assert_same(plain, compiled)


def test_recomputed_activations_give_the_same_update_with_dropout():
    batch, weights = batch_of([[text] for text in texts()], 8), []
    for recomputes in (False, True):
        keras.utils.set_random_seed(1)
        model = add_masked_lm_head(build_encoder(VOCABULARY, **{**SIZE, "dropout": 0.3}))
        if recomputes:
            recompute_activations(model)
        model.compile(keras.optimizers.SGD(1.0), loss=masked_lm_loss())
        model.fit(tf.data.Dataset.from_tensors(batch).repeat(2), verbose=0, shuffle=False)
        weights.append(model.get_weights())
    for plain, recomputed in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, recomputed)


def test_only_layers_of_tfllm_can_be_recomputed():
    with pytest.raises(InputError, match="has none"):
        recompute_activations(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="other"))


def test_a_step_is_traced_once_for_all_widths_of_an_epoch(tiny_tokenizer):
    lines = ["a " * (1 + number % 28) for number in range(48)]
    data = classification_dataset(
        lines, ["a", "b"] * 24, tiny_tokenizer, label_names=["a", "b"], sequence_length=32, batch_size=8
    )
    widths = {int(inputs["token_ids"].shape[1]) for inputs, _ in data}
    model = add_classifier_head(build_encoder(tiny_tokenizer.vocabulary_size, **SIZE), ["a", "b"])
    model.compile(adamw(1e-3, total_steps=10), loss=ClassificationLoss())
    traced = []
    step = model.train_step
    model.train_step = lambda *batch: traced.append(batch) or step(*batch)
    after_batches = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: after_batches.append(len(traced)))
    model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[count])
    assert len(widths) > 2
    assert after_batches[0] > 0
    assert after_batches == after_batches[:1] * len(after_batches)
