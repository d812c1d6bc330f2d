"""The encoder: shapes, what a token may see, precision, and parity with KerasHub's BERT."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models.outputs import outputs_of
from tfllm.checks import InputError

KINDS = {
    "post_norm": {},
    "pre_norm": {"normalize_first": True},
    "shared": {"embedding_dim": 8, "share_layers": True},
    "relative": {"relative_buckets": 8},
    "bigrams": {"bigram_buckets": 50},
    "plain": {"num_segments": 0, "pooler_activation": None, "activation": "gelu", "layer_norm_epsilon": 1e-5},
}


def stretch(batch, extra):
    """The same rows with `extra` columns of padding."""
    return {name: np.pad(value, [(0, 0), (0, extra)]) for name, value in batch.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_have_the_promised_shapes_and_dtypes(make_encoder, make_batch, kind):
    encoder = make_encoder(**KINDS[kind])
    assert {name: (spec.shape, spec.dtype) for name, spec in encoder.input.items()} == dict.fromkeys(
        ("token_ids", "segment_ids", "padding_mask"), ((None, None), "int32")
    )
    outputs = encoder.predict(make_batch(), verbose=0)
    assert {name: (value.shape, value.dtype.name) for name, value in outputs.items()} == {
        "sequence_output": ((4, 8, 32), "float32"),
        "pooled_output": ((4, 32), "float32"),
    }
    assert encoder.output["sequence_output"].shape == (None, None, 32)


@pytest.mark.parametrize(
    "name",
    [
        "vocabulary_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "max_sequence_length",
        "embedding_dim",
    ],
)
def test_a_size_that_is_not_positive_is_refused_by_name(make_encoder, name):
    with pytest.raises(InputError, match=rf"`{name}` must be at least 1\. Received: 0"):
        make_encoder(**{name: 0})


def test_a_width_that_the_heads_cannot_share_is_refused(make_encoder):
    with pytest.raises(InputError, match=r"`hidden_dim` must be divisible by `num_heads` so that.*num_heads=3"):
        make_encoder(num_heads=3)


def test_a_dropout_above_one_is_refused(make_encoder):
    with pytest.raises(InputError, match="`dropout` must be between 0 and 1"):
        make_encoder(dropout=1.5)


def test_rows_longer_than_the_model_are_refused(make_encoder, make_batch):
    encoder = make_encoder()
    encoder(make_batch(lengths=(16,), width=16))
    with pytest.raises(InputError, match=r"rows of 17 tokens, max_sequence_length=16"):
        encoder(make_batch(lengths=(17,), width=17))


@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_no_text(make_encoder, make_batch, kind):
    encoder, batch = make_encoder(**KINDS[kind]), make_batch()
    real = batch["padding_mask"] == 1
    narrow, wide = outputs_of(encoder, batch), outputs_of(encoder, stretch(batch, 7))
    np.testing.assert_allclose(wide["sequence_output"][:, :8][real], narrow["sequence_output"][real], atol=1e-5)
    np.testing.assert_allclose(wide["pooled_output"], narrow["pooled_output"], atol=1e-5)


def test_what_stands_in_the_padding_changes_no_text(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch()
    real = batch["padding_mask"] == 1
    other = {**batch, "token_ids": np.where(real, batch["token_ids"], 33)}
    found, expected = (outputs_of(encoder, rows)["sequence_output"][real] for rows in (other, batch))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_packed_into_one_row_give_the_outputs_they_give_alone(make_encoder, make_batch, kind):
    encoder, apart = make_encoder(**KINDS[kind]), make_batch(lengths=(8, 5))
    packed = {
        "token_ids": np.concatenate([apart["token_ids"][0], apart["token_ids"][1]])[None],
        "segment_ids": np.concatenate([apart["segment_ids"][0], apart["segment_ids"][1]])[None],
        "padding_mask": np.array([[1] * 8 + [2] * 5 + [0] * 3], "int32"),
    }
    together, alone = outputs_of(encoder, packed)["sequence_output"], outputs_of(encoder, apart)["sequence_output"]
    np.testing.assert_allclose(together[0, :8], alone[0], atol=1e-5)
    np.testing.assert_allclose(together[0, 8:13], alone[1, :5], atol=1e-5)


def test_the_order_of_the_batch_does_not_matter(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch()
    turned = outputs_of(encoder, {name: value[::-1] for name, value in batch.items()})
    for name, value in outputs_of(encoder, batch).items():
        np.testing.assert_allclose(turned[name][::-1], value, atol=1e-5)


def test_tokens_segments_and_positions_all_count(make_encoder, make_batch):
    encoder, batch = make_encoder(), make_batch(lengths=(8,))
    before = outputs_of(encoder, batch)["sequence_output"][0, 0]  # where attention must carry the change
    changes = {
        "token": {**batch, "token_ids": batch["token_ids"] + (np.arange(8) == 5).astype("int32")},
        "segment": {**batch, "segment_ids": np.zeros_like(batch["segment_ids"])},
        "position": {**batch, "token_ids": batch["token_ids"][:, [0, 1, 2, 3, 4, 6, 5, 7]]},
    }
    for name, changed in changes.items():
        assert np.abs(outputs_of(encoder, changed)["sequence_output"][0, 0] - before).max() > 1e-5, name


def test_dropout_acts_in_training_only(make_encoder, make_batch):
    encoder, batch = make_encoder(dropout=0.5), make_batch()
    outputs = [keras.ops.convert_to_numpy(encoder(batch, training=True)["sequence_output"]) for _ in range(2)]
    assert np.abs(outputs[0] - outputs[1]).max() > 0.1
    np.testing.assert_array_equal(
        outputs_of(encoder, batch)["sequence_output"], outputs_of(encoder, batch)["sequence_output"]
    )


def test_prenorm_ends_with_a_normalisation(make_encoder, make_batch):
    outputs = outputs_of(make_encoder(normalize_first=True), make_batch())["sequence_output"]
    np.testing.assert_allclose(outputs.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(-1), 1, atol=1e-3)


def test_shared_layers_are_one_layer_that_trains(make_encoder, make_batch):
    encoder, batch = make_encoder(share_layers=True), make_batch()
    assert [layer.name for layer in encoder.layers if layer.name.startswith("transformer")] == ["transformer_layer_0"]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(batch, training=True)["pooled_output"] ** 2)
    gradients = tape.gradient(loss, encoder.trainable_variables)
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


def test_a_model_of_one_segment_gives_every_token_its_embedding_whatever_the_ids(make_encoder, make_batch):
    encoder, batch = make_encoder(num_segments=1), make_batch()
    other = {**batch, "segment_ids": np.full_like(batch["segment_ids"], 7)}
    found, expected = (outputs_of(encoder, rows)["pooled_output"] for rows in (other, batch))
    np.testing.assert_array_equal(found, expected)
    before = outputs_of(encoder, batch)["sequence_output"]
    encoder.get_layer("segment_embedding").set_weights([np.linspace(-1, 1, 32)[None]])
    assert np.abs(outputs_of(encoder, batch)["sequence_output"] - before).max() > 0.1


def test_buckets_of_distances_are_refused_where_they_cannot_be(make_encoder):
    with pytest.raises(InputError, match=r"`relative_buckets` must be divisible by `2` for before and after"):
        make_encoder(relative_buckets=7)
    with pytest.raises(InputError, match="`relative_buckets` needs an encoder that normalises afterwards"):
        make_encoder(relative_buckets=8, normalize_first=True)


def test_an_unknown_activation_is_refused(make_encoder):
    with pytest.raises(InputError, match=r"`activation` must be one of gelu_tanh, gelu, relu.*did you mean 'gelu'"):
        make_encoder(activation="gelo")
    with pytest.raises(InputError, match="`pooler_activation` must be one of"):
        make_encoder(pooler_activation="sigmoid")


@pytest.mark.parametrize("direction", ["from_keras_hub", "to_keras_hub"])
def test_keras_hubs_bert_with_the_same_weights_gives_the_same_outputs(
    make_encoder, make_backbone, make_batch, direction
):
    ours, theirs, batch = make_encoder(), make_backbone(), make_batch()
    source, target = (theirs, ours) if direction == "from_keras_hub" else (ours, theirs)
    weighted = [layer for layer in source.layers if layer.weights]
    assert len(weighted) == len([layer for layer in target.layers if layer.weights]) == 7
    for layer in weighted:
        target.get_layer(layer.name).set_weights(layer.get_weights())
    real = batch["padding_mask"] == 1  # padding sees other padding here, and real tokens there: nobody reads it
    expected, found = outputs_of(theirs, batch), outputs_of(ours, batch)
    np.testing.assert_allclose(found["sequence_output"][real], expected["sequence_output"][real], atol=1e-5)
    np.testing.assert_allclose(found["pooled_output"], expected["pooled_output"], atol=1e-5)
