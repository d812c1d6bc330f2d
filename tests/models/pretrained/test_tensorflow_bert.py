"""The original checkpoints of BERT: their numbers under the names TensorFlow 1 gave them."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from tfllm.checks import InputError
from tfllm.models.pretrained import is_tensorflow_bert, load_tensorflow_bert, open_folder

VALUES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}


def variable_of(name, value):
    """The name and value that TensorFlow 1 had for a tensor of transformers."""
    name = re.sub(r"layer\.(\d+)", r"layer_\1", name)
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    name = name.replace("predictions.bias", "predictions.output_bias").replace("_embeddings.weight", "_embeddings")
    if name.endswith("seq_relationship.weight"):
        return name.replace("weight", "output_weights").replace(".", "/"), value
    if name.endswith(".weight"):
        name, value = name.removesuffix("weight") + "kernel", value.T
    return name.replace(".", "/"), value


def save(folder, variables):
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(value) for value in variables.values()],
    )
    (folder / "bert_config.json").write_text(json.dumps(VALUES), "utf-8")


@pytest.fixture
def theirs(make_theirs, tmp_path):
    """BERT with both heads of pretraining, and the variables it would have had in TensorFlow 1."""
    model = make_theirs("bert", "ForPreTraining", hidden_act="gelu_new")
    model.save_pretrained(tmp_path / "torch")
    variables = dict(
        variable_of(name, value) for name, value in load_file(tmp_path / "torch/model.safetensors").items()
    )
    slots = {f"{name}/adam_{slot}": value for name, value in variables.items() for slot in "mv"}
    return model, {**variables, **slots, "global_step": np.int64(7)}


def test_the_encoder_and_the_masked_lm_head_are_those_of_transformers(theirs, ask_ours, batch, torch, tmp_path):
    model, variables = theirs
    assert "bert/encoder/layer_1/attention/self/query/kernel" in variables
    save(tmp_path, variables)
    assert is_tensorflow_bert(open_folder(tmp_path))
    checkpoint = load_tensorflow_bert(open_folder(tmp_path))
    assert set(checkpoint.left_out.values()) == {
        "a pooler that this head does not read",
        "the head of next-sentence prediction, which no task uses after pretraining",
        "the state of the optimizer that trained it",
    }
    assert {"global_step", "cls.seq_relationship.output_weights"} < set(checkpoint.left_out)
    inputs = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    with torch.no_grad():
        expected = model(**{name: torch.tensor(batch[ours]).long() for name, ours in inputs.items()})
    real = batch["padding_mask"] == 1
    found = ask_ours(checkpoint.model)["logits"]
    np.testing.assert_allclose(found, expected.prediction_logits.numpy()[real], atol=1e-4)


def test_without_the_head_it_is_an_encoder(theirs, tmp_path):
    save(tmp_path, {name: value for name, value in theirs[1].items() if name.startswith("bert/")})
    checkpoint = load_tensorflow_bert(open_folder(tmp_path))
    assert checkpoint.class_name == "BertModel"
    pooler = theirs[1]["bert/pooler/dense/kernel"]
    np.testing.assert_array_equal(checkpoint.model.get_layer("pooled_dense").kernel, pooler)


def _cut(folder):
    file = next(folder.glob("*.data-*"))
    file.write_bytes(file.read_bytes()[:1000])


SPOILED = {
    "no index": (lambda folder: (folder / "bert_model.ckpt.index").unlink(), "must hold one checkpoint"),
    "index of nothing": (lambda folder: (folder / "bert_model.ckpt.index").write_bytes(b"x" * 99), "not a whole"),
    "empty index": (lambda folder: (folder / "bert_model.ckpt.index").write_bytes(b""), "not a whole"),
    "no data": (lambda folder: next(folder.glob("*.data-*")).unlink(), "more than its files can|not a whole"),
    "data cut": (_cut, "more than its files can"),
    "no config": (lambda folder: (folder / "bert_config.json").unlink(), "has no bert_config.json"),
    "other width": (
        lambda folder: (folder / "bert_config.json").write_text(json.dumps({**VALUES, "hidden_size": 64})),
        "has the shape",
    ),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_damaged_one_is_refused(theirs, tmp_path, kind):
    save(tmp_path, {name: value for name, value in theirs[1].items() if "adam" not in name})
    spoil, message = SPOILED[kind]
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        load_tensorflow_bert(open_folder(tmp_path))


def test_a_variable_nobody_knows_is_named(theirs, tmp_path):
    save(tmp_path, {**theirs[1], "bert/extra/kernel": np.zeros((2, 2), "float32")})
    with pytest.raises(InputError, match=r"no place for: bert\.extra\.weight"):
        load_tensorflow_bert(open_folder(tmp_path))
