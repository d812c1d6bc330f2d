"""The tagger's head: shapes, packed rows, saving and loading, bad arguments."""

import itertools

import keras
import numpy as np
import pytest

from tfllm import load_model, save_model
from tfllm.checks import InputError
from tfllm.losses import TaggingLoss
from tfllm.models import add_tagger_head, read_encoder, read_recipe
from tfllm.models.tagging import _PACE, TagChain


@pytest.mark.parametrize(("kind", "tags"), [("entities", 5), ("words", 3)])
def test_every_token_gets_the_probability_of_every_tag_after_every_tag(make_encoder, make_batch, kind, tags):
    encoder = make_encoder()
    tagger = add_tagger_head(encoder, ["LOC", "PER"], kind=kind)
    outputs = tagger.predict(make_batch(), verbose=0)
    assert (outputs.shape, outputs.dtype, tagger.output.shape) == (
        (4, 8, tags, tags),
        np.float32,
        (None, None, tags, tags),
    )
    np.testing.assert_allclose(np.exp(outputs).sum(axis=-1), 1, rtol=1e-5)
    assert read_encoder(tagger) is encoder
    assert read_recipe(tagger)["arguments"] == {
        "labels": ["LOC", "PER"],
        "kind": kind,
        "dropout": 0.1,
        "chain": True,
        "whole_words": False,
    }


def test_very_many_tags_are_told_one_by_one(make_encoder, make_batch):
    tagger = add_tagger_head(make_encoder(), [f"type {number}" for number in range(20)])
    assert tagger.predict(make_batch(), verbose=0).shape == (4, 8, 41)


@pytest.fixture
def chain():
    """A chain of 3 tags with random numbers for pairs and first tags."""
    chain, random = TagChain(dtype="float32"), np.random.default_rng(1)
    chain(np.zeros((1, 3, 3), "float32"), np.ones((1, 3), "int32"))
    chain.set_weights([random.normal(0, 0.05, weight.shape) for weight in chain.weights])
    return chain


def test_the_probabilities_of_a_chain_are_those_of_all_its_sequences(chain):
    """Every sequence scored by itself, and divided by the sum over all."""
    logits = np.random.default_rng(2).normal(0, 2, (1, 6, 3)).astype("float32")
    found = np.asarray(chain(logits, np.ones((1, 6), "int32")))[0]
    first, pairs = (_PACE * weight for weight in chain.get_weights())
    paths = list(itertools.product(range(3), repeat=4))  # of the four tokens between [CLS] and [SEP]
    scores = np.array([
        first[path[0]] + sum(logits[0, 1 + at, tag] for at, tag in enumerate(path))
        + sum(pairs[a, b] for a, b in itertools.pairwise(path)) for path in paths
    ])  # fmt: skip
    expected = scores - np.log(np.exp(scores).sum())
    for before in range(3):
        told = [
            sum(found[1 + at, a, b] for at, (a, b) in enumerate(itertools.pairwise([before, *path]))) for path in paths
        ]
        np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-4)
    tags = np.array([[0, 2, 1, 0, 2, 0]], "int32")
    loss = TaggingLoss(reduction="mean_with_sample_weight")
    weights = np.array([[0, 1, 1, 1, 1, 0]], "float32")
    assert float(loss(tags, found[None], weights)) == pytest.approx(-expected[paths.index((2, 1, 0, 2))] / 4, rel=1e-4)


def test_texts_of_a_row_and_padding_do_not_matter_to_a_chain(chain):
    logits = np.random.default_rng(3).normal(0, 2, (1, 12, 3)).astype("float32")
    mask = np.array([[1, 1, 1, 1, 2, 2, 3, 3, 3, 0, 0, 0]], "int32")
    together = np.asarray(chain(logits, mask))[0]
    for start, end in ((0, 4), (6, 9)):
        alone = np.asarray(chain(logits[:, start:end], np.ones((1, end - start), "int32")))[0]
        np.testing.assert_allclose(together[start + 1 : end - 1], alone[1:-1], rtol=1e-5, atol=1e-6)
    assert np.isfinite(together).all()


def test_the_first_loss_is_that_of_guessing(make_encoder, make_batch):
    tagger = add_tagger_head(make_encoder(), ["LOC", "PER"])
    tagger.compile(loss=TaggingLoss(reduction="mean_with_sample_weight"))
    batch = make_batch()
    weights = batch["padding_mask"].astype("float32")
    loss = tagger.evaluate(batch, np.ones((4, 8), "int32"), sample_weight=weights, verbose=0)
    assert loss == pytest.approx(np.log(5), abs=0.1)


def test_texts_of_a_packed_row_get_what_they_get_alone(make_encoder, make_batch):
    tagger = add_tagger_head(make_encoder(), ["LOC"])
    alone = make_batch(lengths=(4, 5))
    alone["segment_ids"] *= 0
    ids = alone["token_ids"]
    packed = {
        "token_ids": np.concatenate([ids[0, :4], ids[1, :5]])[None],
        "segment_ids": np.zeros((1, 9), "int32"),
        "padding_mask": np.array([[1, 1, 1, 1, 2, 2, 2, 2, 2]], "int32"),
    }
    one, other = tagger.predict(alone, verbose=0), tagger.predict(packed, verbose=0)[0]
    np.testing.assert_allclose(other[1:3], one[0, 1:3], rtol=0, atol=1e-5)
    np.testing.assert_allclose(other[5:8], one[1, 1:4], rtol=0, atol=1e-5)


def test_a_saved_tagger_is_the_same_again(make_encoder, make_batch, tiny_tokenizer, tmp_path):
    tagger = add_tagger_head(make_encoder(), ["地点", "B-x"], kind="words", dropout=0.3)
    save_model(tagger, tmp_path / "m", tiny_tokenizer)
    again = load_model(tmp_path / "m")
    assert read_recipe(again) == read_recipe(tagger)
    np.testing.assert_array_equal(again.predict(make_batch(), verbose=0), tagger.predict(make_batch(), verbose=0))


def test_outputs_are_float32_under_mixed_precision(make_encoder, make_batch):
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
