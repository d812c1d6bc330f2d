"""The tagger's head: shapes, packed rows, saving and loading, bad arguments."""

import keras
import numpy as np
import pytest

from tfllm import ClassificationLoss, load_model, save_model
from tfllm.checks import InputError
from tfllm.models import add_tagger_head, read_encoder, read_recipe


@pytest.mark.parametrize(("kind", "tags"), [("entities", 5), ("words", 3)])
def test_every_token_gets_a_logit_for_every_tag(make_encoder, make_batch, kind, tags):
    encoder = make_encoder()
    tagger = add_tagger_head(encoder, ["LOC", "PER"], kind=kind)
    logits = tagger.predict(make_batch(), verbose=0)
    assert (logits.shape, logits.dtype) == ((4, 8, tags), np.float32)
    assert read_encoder(tagger) is encoder
    assert read_recipe(tagger)["arguments"] == {"labels": ["LOC", "PER"], "kind": kind, "dropout": 0.1}


def test_the_first_loss_is_that_of_guessing(make_encoder, make_batch):
    tagger = add_tagger_head(make_encoder(), ["LOC", "PER"])
    tagger.compile(loss=ClassificationLoss(reduction="mean_with_sample_weight"))
    batch = make_batch()
    weights = batch["padding_mask"].astype("float32")
    loss = tagger.evaluate(batch, np.ones((4, 8), "int32"), sample_weight=weights, verbose=0)
    assert loss == pytest.approx(np.log(5), abs=0.1)


def test_texts_of_a_packed_row_get_the_logits_they_get_alone(make_encoder, make_batch):
    tagger = add_tagger_head(make_encoder(), ["LOC"])
    alone = make_batch(lengths=(3, 5))
    alone["segment_ids"] *= 0
    ids = alone["token_ids"]
    packed = {
        "token_ids": np.concatenate([ids[0, :3], ids[1, :5]])[None],
        "segment_ids": np.zeros((1, 8), "int32"),
        "padding_mask": np.array([[1, 1, 1, 2, 2, 2, 2, 2]], "int32"),
    }
    one, other = tagger.predict(alone, verbose=0), tagger.predict(packed, verbose=0)[0]
    np.testing.assert_allclose(other[:3], one[0, :3], rtol=0, atol=1e-5)
    np.testing.assert_allclose(other[3:], one[1, :5], rtol=0, atol=1e-5)


def test_a_saved_tagger_is_the_same_again(make_encoder, make_batch, tiny_tokenizer, tmp_path):
    tagger = add_tagger_head(make_encoder(), ["地点", "B-x"], kind="words", dropout=0.3)
    save_model(tagger, tmp_path / "m", tiny_tokenizer)
    again = load_model(tmp_path / "m")
    assert read_recipe(again) == read_recipe(tagger)
    np.testing.assert_array_equal(again.predict(make_batch(), verbose=0), tagger.predict(make_batch(), verbose=0))


def test_logits_are_float32_under_mixed_precision(make_encoder, make_batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        tagger = add_tagger_head(make_encoder(), ["LOC"])
    finally:
        keras.config.set_dtype_policy("float32")
    assert tagger(make_batch()).dtype == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"labels": []}, "labels"), ({"kind": "pos"}, "kind"), ({"dropout": 2}, "dropout")],
)
def test_bad_arguments_are_input_errors(make_encoder, arguments, message):
    with pytest.raises(InputError, match=message):
        add_tagger_head(make_encoder(), **{"labels": ["LOC"], **arguments})
