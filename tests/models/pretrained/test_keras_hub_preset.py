"""KerasHub's backbones as encoders of ours: the same numbers."""

import keras_hub
import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.models.pretrained import load_keras_hub

SIZE = {
    "vocabulary_size": 60,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 24,
}
ELECTRA = {**SIZE, "vocab_size": 60, "embedding_dim": 16}
del ELECTRA["vocabulary_size"]
BACKBONES = {
    "BertBackbone": SIZE,
    "RobertaBackbone": SIZE,
    "XLMRobertaBackbone": SIZE,
    "DistilBertBackbone": SIZE,
    "ElectraBackbone": ELECTRA,
    "AlbertBackbone": {**SIZE, "embedding_dim": 16},
}


def make(name, **arguments):
    backbone = getattr(keras_hub.models, name)(**{**BACKBONES[name], **arguments})
    random = np.random.default_rng(3)
    backbone.set_weights([random.normal(0, 0.25, weight.shape) for weight in backbone.get_weights()])
    return backbone


@pytest.mark.parametrize("name", BACKBONES)
def test_outputs_are_those_of_keras_hub(batch, tmp_path, name):
    theirs = make(name)
    theirs.save_to_preset(str(tmp_path))
    checkpoint = load_keras_hub(str(tmp_path))
    found = checkpoint.model.predict(batch, verbose=0)
    expected = theirs.predict({key: batch[key] for key in theirs.input}, verbose=0)
    real = batch["padding_mask"] == 1
    if not isinstance(expected, dict):
        expected = {"sequence_output": expected}
    np.testing.assert_allclose(found["sequence_output"][real], expected["sequence_output"][real], atol=1e-4)
    if name in ("BertBackbone", "AlbertBackbone"):
        np.testing.assert_allclose(found["pooled_output"], expected["pooled_output"], atol=1e-4)
    assert bool(checkpoint.left_out) == (name == "ElectraBackbone")


def test_what_tfllm_cannot_be_is_refused(tmp_path):
    make("AlbertBackbone", num_groups=2).save_to_preset(str(tmp_path / "albert"))
    with pytest.raises(InputError, match="`num_groups` and `num_inner_repetitions` must be 1"):
        load_keras_hub(str(tmp_path / "albert"))
    keras_hub.models.GPT2Backbone(**SIZE).save_to_preset(str(tmp_path / "gpt2"))
    with pytest.raises(InputError, match=r"takes over BertBackbone, .*\. Received: GPT2Backbone"):
        load_keras_hub(str(tmp_path / "gpt2"))


def test_what_keras_hub_cannot_load_is_an_error_of_a_line(tmp_path):
    with pytest.raises(InputError, match="KerasHub cannot load") as error:
        load_keras_hub(str(tmp_path / "nothing"))
    assert "\n" not in str(error.value)
