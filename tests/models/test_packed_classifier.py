"""Packed rows give a classifier the same logits and the same gradients as one text a row."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.models import add_classifier_head, build_encoder, packed_classifier, read_recipe
from tfllm.models.layers import ComparedTexts, SecondTexts
from tfllm.models.saving import rebuild

SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32, "dropout": 0.0}
TEXTS = [[2, 7, 8, 3], [2, 9, 3], [2, 5, 6, 7, 8, 3], [2, 10, 11, 3]]
LABELS = [0, 1, 2, 1]


def rows_of(packing: list[list[int]], length: int = 12):
    """Inputs for rows that hold the texts of these numbers."""
    token_ids, padding_mask = np.zeros((2, len(packing), length), np.int32)
    for row, members in enumerate(packing):
        start = 0
        for number, member in enumerate(members, start=1):
            end = start + len(TEXTS[member])
            token_ids[row, start:end], padding_mask[row, start:end] = TEXTS[member], number
            start = end
    segment_ids = (token_ids > 7).astype("int32")
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


@pytest.fixture(params=["mean", "cls", "compare"])
def classifier(request):
    keras.utils.set_random_seed(0)
    encoder = build_encoder(20, **SIZE)
    return add_classifier_head(encoder, ["a", "b", "c"], dropout=0.0, pooling=request.param, pairs=True)


def test_compared_texts_are_their_means_their_distance_and_their_product():
    hidden = np.arange(12, dtype="float32").reshape(1, 6, 2)
    u, v = hidden[0, :2].mean(axis=0), hidden[0, 2:5].mean(axis=0)
    segment_ids, padding_mask = np.array([[0, 0, 1, 1, 1, 0]]), np.array([[1, 1, 1, 1, 1, 0]])
    found = ComparedTexts()(hidden, segment_ids, padding_mask)
    np.testing.assert_allclose(found, [np.concatenate([u, v, np.abs(u - v), u * v])], rtol=1e-6)


def test_logits_are_those_of_one_text_a_row(classifier):
    alone = classifier(rows_of([[0], [1], [2], [3]]))
    packed = packed_classifier(classifier, texts_per_row=3)(rows_of([[0, 1], [2, 3]]))
    assert packed.shape == (2, 3, 3)
    np.testing.assert_allclose(np.concatenate([packed[0, :2], packed[1, :2]]), alone, atol=1e-6)


def test_a_step_on_packed_rows_is_the_step_on_one_text_a_row(classifier):
    from tfllm.losses import ClassificationLoss

    before, after = classifier.get_weights(), []
    packed = packed_classifier(classifier, texts_per_row=3)
    weights = tf.constant([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    for model, batch in (
        (classifier, (rows_of([[0], [1], [2], [3]]), tf.constant(LABELS))),
        (packed, (rows_of([[0, 1], [2, 3]]), tf.constant([[0, 1, 0], [2, 1, 0]]), weights)),
    ):
        classifier.set_weights(before)
        model.compile(keras.optimizers.SGD(0.5), loss=ClassificationLoss(reduction="mean_with_sample_weight"))
        model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False)
        after.append(classifier.get_weights())
    for a, b in zip(*after, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_separators_tell_two_texts_apart_where_the_segments_do_not():
    token_ids = np.array([[2, 7, 8, 3, 3, 9, 3, 0, 0, 0, 0, 0, 0, 0], [2, 7, 3, 3, 9, 9, 3, 2, 5, 3, 3, 6, 3, 0]])
    assert SecondTexts(3)(token_ids).numpy().tolist() == [
        [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0],
    ]


def test_compared_texts_of_one_segment_need_the_separator():
    encoder = build_encoder(20, **SIZE, num_segments=1)
    with pytest.raises(InputError, match=r"give the id of .* as `separator_id`"):
        add_classifier_head(encoder, ["a", "b"], pooling="compare", pairs=True)
    model = rebuild(
        read_recipe(
            add_classifier_head(encoder, ["a", "b"], dropout=0.0, pooling="compare", pairs=True, separator_id=3)
        )
    )[0]
    ids = np.array([[2, 7, 3, 3, 9, 3], [2, 5, 3, 3, 6, 3]], np.int32)
    alone = model({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": np.ones_like(ids)})
    packed = {"token_ids": ids.reshape(1, -1), "padding_mask": np.repeat([[1, 2]], 6, axis=1).astype("int32")}
    found = packed_classifier(model, texts_per_row=2)({**packed, "segment_ids": ids.reshape(1, -1) * 0})
    np.testing.assert_allclose(found[0], alone, atol=1e-6)
    assert not np.allclose(alone[0], alone[1], atol=1e-3)
