"""The causal language model: where its loss begins, that it learns, that it is saved; settings to write with."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.outputs import outputs_of
from tfllm.checks import InputError
from tfllm.data.causal import next_token_targets
from tfllm.losses import causal_lm_loss
from tfllm.models import add_causal_lm_head, build_decoder, build_encoder, load_encoder, load_model, save_model
from tfllm.models.causal import set_generation
from tfllm.models.recipe import read_recipe
from tfllm.training.optimizer import AdamW

SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 48, "max_sequence_length": 16}


@pytest.fixture
def model():
    return add_causal_lm_head(build_decoder(50, **SIZE))


@pytest.fixture
def batch():
    ids = np.random.default_rng(0).integers(5, 50, (4, 12)).astype("int32")
    return next_token_targets()({"token_ids": ids, "padding_mask": np.ones_like(ids)})


def test_the_loss_begins_near_that_of_guessing(model, batch):
    model.compile("sgd", loss=causal_lm_loss())
    assert model.evaluate(*batch[:2], sample_weight=batch[2], verbose=0) == pytest.approx(np.log(50), abs=0.1)


def test_it_learns_one_batch_by_heart(model, batch):
    model.compile(AdamW(3e-3), loss=causal_lm_loss())
    data = tf.data.Dataset.from_tensors(batch).repeat()
    losses = model.fit(data, steps_per_epoch=30, epochs=5, verbose=0, shuffle=False).history["loss"]
    assert losses[-1] < 0.3


def test_a_saved_model_is_the_same_again_with_its_settings(model, tokenizer, batch, tmp_path):
    set_generation(model, temperature=0.5, stop=("\n",))
    save_model(model, tmp_path / "model", tokenizer)
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(outputs_of(again, batch[0]), outputs_of(model, batch[0]))
    assert read_recipe(again) == read_recipe(model)
    assert read_recipe(again)["arguments"] == {
        "generation": {"temperature": 0.5, "stop": ["\n"]},
        "fills": False,
    }


def test_the_decoder_of_a_saved_model_can_have_another_dropout(model, tokenizer, tmp_path):
    save_model(model, tmp_path / "model", tokenizer)
    assert load_encoder(tmp_path / "model", dropout=0.2).get_layer("decoder_block_0").dropout == 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"top_p": 0.0}, "`top_p` must be above 0"),
        ({"seed": [1, 2]}, "`seed` must be one value for all texts"),
    ],
)
def test_settings_that_mean_nothing_are_refused(model, settings, message):
    with pytest.raises(InputError, match=message):
        add_causal_lm_head(model._tfllm_encoder(), generation=settings)
    with pytest.raises(InputError, match=message):
        set_generation(model, **settings)


def test_a_model_that_does_not_write_has_no_settings_to_write_with():
    with pytest.raises(InputError, match="Only a model that writes"):
        set_generation(build_encoder(50, **SIZE), temperature=1.0)
