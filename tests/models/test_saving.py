"""Model directories: the same model again, bit for bit, or a clear refusal."""

import keras
import numpy as np
import pytest

from tests.marks import slow
from tests.models.outputs import outputs_of
from tfllm import manifest
from tfllm.checks import InputError
from tfllm.models import add_classifier_head, add_masked_lm_head, load_encoder, load_model, read_recipe, save_model
from tfllm.models.saving import KIND, WEIGHTS
from tfllm.tokenizers import load_tokenizer

KERAS_HUBS = ["pretraining", "classifier_compare"]  # `make test-slow` tries the other heads
KERAS_HUBS += slow("masked_lm", "next_sentence", "classifier_mean", "classifier_cls", "multilabel", "regression")
KERAS_HUBS += slow("regression_in_a_range", "embedding", "embedding_cls")


def assert_equal_outputs(model, again, batch):
    expected, found = outputs_of(model, batch), outputs_of(again, batch)
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.fixture
def classifier(make_encoder):
    return add_classifier_head(make_encoder(), ["好评", "差评"], dropout=0.3, pooling="cls")


@pytest.fixture
def saved(classifier, tmp_path, tiny_tokenizer):
    save_model(classifier, tmp_path / "model", tiny_tokenizer, run={"epochs": 2}, card="# Mine\n")
    return tmp_path / "model"


def test_a_loaded_model_equals_the_saved_one_bit_for_bit(make_encoder, add_head, head_batch, tmp_path, tiny_tokenizer):
    model = add_head(make_encoder(normalize_first=True))
    save_model(model, tmp_path / "model", tiny_tokenizer)
    again = load_model(tmp_path / "model")
    assert_equal_outputs(model, again, head_batch)
    assert read_recipe(again) == read_recipe(model)


def test_an_encoder_alone_is_saved_and_loaded(make_encoder, make_batch, tmp_path, tiny_tokenizer):
    encoder = make_encoder()
    save_model(encoder, tmp_path / "model", tiny_tokenizer)
    assert_equal_outputs(encoder, load_model(tmp_path / "model"), make_batch())
    assert_equal_outputs(encoder, load_encoder(tmp_path / "model"), make_batch())


@pytest.mark.parametrize("head", KERAS_HUBS, indirect=True)
def test_keras_hubs_bert_under_a_head_is_saved_and_loaded(
    make_backbone, make_batch, add_head, head_batch, tmp_path, tiny_tokenizer
):
    backbone = make_backbone()
    model = add_head(backbone)
    save_model(model, tmp_path / "model", tiny_tokenizer)
    assert_equal_outputs(model, load_model(tmp_path / "model"), head_batch)
    batch = make_batch()
    expected = outputs_of(backbone, batch)["sequence_output"]
    found = outputs_of(load_encoder(tmp_path / "model"), batch)["sequence_output"]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["ours", "keras_hub"])
def test_the_encoder_of_a_saved_model_is_loaded_with_another_dropout(
    make_encoder, make_backbone, make_batch, tmp_path, tiny_tokenizer, kind
):
    encoder = make_encoder(dropout=0.1) if kind == "ours" else make_backbone(dropout=0.1)
    embeddings = "embeddings_layer_norm" if kind == "ours" else "embeddings_dropout"
    save_model(add_classifier_head(encoder, ["a", "b"], pooling="cls"), tmp_path / "model", tiny_tokenizer)
    again = load_encoder(tmp_path / "model", dropout=0.4)
    assert again.get_layer(embeddings).rate == 0.4
    assert again.get_layer("transformer_layer_1").dropout == 0.4
    assert load_encoder(tmp_path / "model").get_layer(embeddings).rate == 0.1
    assert_equal_outputs(encoder, again, make_batch())


def test_another_head_is_put_on_a_loaded_encoder(saved, classifier, make_batch, tmp_path, tiny_tokenizer):
    masked_lm = add_masked_lm_head(load_encoder(saved))
    save_model(masked_lm, tmp_path / "masked_lm", tiny_tokenizer)
    assert_equal_outputs(masked_lm, load_model(tmp_path / "masked_lm"), make_batch(masked=True))


def test_a_model_saved_in_float32_is_loaded_under_the_current_policy(saved, classifier, make_batch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        again = load_model(saved)
    finally:
        keras.config.set_dtype_policy("float32")
    assert again.get_layer("transformer_layer_0").compute_dtype == "bfloat16"
    for expected, found in zip(classifier.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_directory_holds_manifest_weights_tokenizer_and_card(saved, classifier, tiny_tokenizer):
    assert {entry.name for entry in saved.iterdir()} == {manifest.FILE_NAME, manifest.CARD, WEIGHTS, "tokenizer"}
    assert (saved / manifest.CARD).read_text("utf-8") == "# Mine\n"
    assert load_tokenizer(saved / "tokenizer").vocabulary == tiny_tokenizer.vocabulary
    arguments = manifest.read_manifest(saved, KIND)["arguments"]
    assert arguments["run"] == {"epochs": 2}
    head = {"labels": ["好评", "差评"], "dropout": 0.3, "pooling": "cls", "pairs": False}
    assert arguments["recipe"]["arguments"] == head
    assert arguments["recipe"]["encoder"]["builder"] == "build_encoder"


def test_flipped_weights_are_refused(saved):
    weights = bytearray((saved / WEIGHTS).read_bytes())
    weights[len(weights) // 2] ^= 1
    (saved / WEIGHTS).write_bytes(weights)
    with pytest.raises(InputError, match="is damaged"):
        load_model(saved)


def test_a_taken_place_is_refused_and_the_model_in_it_stays(saved, classifier, make_batch, tiny_tokenizer):
    with pytest.raises(InputError, match="already exists"):
        save_model(classifier, saved, tiny_tokenizer)
    assert_equal_outputs(classifier, load_model(saved), make_batch())


def test_an_unknown_builder_is_refused(saved):
    content = manifest.read_manifest(saved, "model")
    content["arguments"]["recipe"]["builder"] = "add_tree"
    manifest.write_manifest(saved, content)
    with pytest.raises(InputError, match="no builder 'add_tree'"):
        load_model(saved)


def test_a_directory_that_is_no_model_is_refused(saved):
    with pytest.raises(InputError, match="holds a tokenizer, not a model"):
        load_model(saved / "tokenizer")
    with pytest.raises(InputError, match="no such directory"):
        load_encoder(saved / "nothing")


def test_a_model_that_no_builder_made_is_refused(make_encoder, tmp_path, tiny_tokenizer):
    encoder = make_encoder()
    other = keras.Model(encoder.input, encoder.output["pooled_output"], name="mine")
    with pytest.raises(InputError, match=r"not made by a tfllm builder.*'mine'"):
        save_model(other, tmp_path / "model", tiny_tokenizer)
    assert not (tmp_path / "model").exists()
