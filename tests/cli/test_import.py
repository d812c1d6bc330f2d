"""`tfllm import`: checkpoints of every source become model directories; hostile ones end with exit code 2."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
import typer
from typer.testing import CliRunner

import tfllm
from tfllm import cli, models
from tfllm.checks import InputError
from tfllm.cli.export import export
from tfllm.cli.import_ import import_checkpoint
from tfllm.inference.signatures import build_signatures
from tfllm.manifest import read_manifest

TEXTS = ["a good warm cup", "", "Über 12 naïve 中文 words"]


def run(command, *arguments):
    """Call a command as Typer does; returns what it printed."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.output


def scores(directory, length):
    model, tokenizer = models.load_model(directory), tfllm.load_tokenizer(directory)
    return build_signatures(model, tokenizer, length)["serving_default"].function(text=tf.constant(TEXTS))


@pytest.fixture(scope="module")
def classifier(tiny_tokenizer, tmp_path_factory):
    """A model directory: a classifier by the first token."""
    keras.utils.set_random_seed(0)
    encoder = models.build_encoder(
        tiny_tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
    )
    directory = tmp_path_factory.mktemp("models") / "reviews"
    model = models.add_classifier_head(encoder, ["bad", "good"], pooling="cls")
    models.save_model(model, directory, tiny_tokenizer, run={"sequence_length": 12})
    return directory


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    """The same for transformers."""
    out = tmp_path_factory.mktemp("huggingface") / "reviews"
    assert "for transformers" in run(export, classifier, "--out", out, "--format", "huggingface")
    return out


def test_a_model_that_went_out_comes_in_again(classifier, exported, tmp_path):
    run(import_checkpoint, exported, "--out", tmp_path / "again")
    before, after = scores(classifier, 12), scores(tmp_path / "again", 12)
    np.testing.assert_allclose(after["scores"], before["scores"], atol=1e-6)
    np.testing.assert_array_equal(after["labels"], before["labels"])
    run_of = read_manifest(tmp_path / "again", "model")["arguments"]["run"]
    assert run_of["class_name"] == "BertForSequenceClassification"
    assert (run_of["sequence_length"], run_of["left_out"]) == (12, {})


def test_the_command_says_what_it_left_out(exported, tmp_path):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(exported, tmp_path / "in")
    tensors = load_file(tmp_path / "in" / "model.safetensors")
    tensors["bert.embeddings.position_ids"] = np.arange(24)[None]
    save_file(tensors, tmp_path / "in" / "model.safetensors")
    found = import_checkpoint(str(tmp_path / "in"), tmp_path / "out")
    assert found["left_out"] == {"bert.embeddings.position_ids": "the numbers 0, 1, 2 and so on"}
    assert "position_ids" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_minilm_gives_golden_ids_and_vectors_from_strings(published, shared_models, tmp_path):
    import_checkpoint(str(published("all_minilm_l6_v2")), tmp_path / "minilm")
    model, tokenizer = models.load_model(tmp_path / "minilm"), tfllm.load_tokenizer(tmp_path / "minilm")
    examples = json.loads((shared_models / "golden_all_minilm_l6_v2.json").read_text("utf-8"))["examples"]
    texts = [example["text"] for example in examples]
    ids = tokenizer.wrap(tokenizer.tokenize(texts), 256).to_list()
    assert ids == [example["input_ids"] for example in examples]
    vectors = build_signatures(model, tokenizer, 256)["serving_default"].function(text=tf.constant(texts))["embedding"]
    expected = [example["sentence_embedding_first8"] for example in examples]
    np.testing.assert_allclose(vectors[:, :8], expected, atol=1e-4)
    assert read_manifest(tmp_path / "minilm", "model")["arguments"]["run"]["sequence_length"] == 256


def test_bert_tiny_gives_golden_ids_from_strings(published, shared_models, tmp_path):
    import_checkpoint(str(published("bert_tiny_splade")), tmp_path / "bert")
    tokenizer = tfllm.load_tokenizer(tmp_path / "bert")
    examples = json.loads((shared_models / "golden_bert_tiny_splade.json").read_text("utf-8"))["examples"]
    for example in examples[:4]:
        ids = tokenizer.wrap(tokenizer.tokenize(example["text"]), 256).to_list()[0]
        assert ids == example["input_ids"]


def test_a_keras_hub_preset_comes_with_its_tokenizer(tiny_tokenizer, tmp_path):
    backbone = keras_hub.models.BertBackbone(tiny_tokenizer.vocabulary_size, 1, 2, 16, 32, max_sequence_length=24)
    backbone.save_to_preset(str(tmp_path / "preset"))
    theirs = keras_hub.models.BertTokenizer(vocabulary=tiny_tokenizer.vocabulary, lowercase=True)
    theirs.save_to_preset(str(tmp_path / "preset"))
    import_checkpoint(f"keras-hub:{tmp_path / 'preset'}", tmp_path / "out")
    assert tfllm.load_tokenizer(tmp_path / "out").vocabulary == tiny_tokenizer.vocabulary
    ids = np.array([[2, 7, 9, 3]], "int32")
    batch = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    found, expected = models.load_model(tmp_path / "out")(batch), backbone(batch)
    np.testing.assert_allclose(found["pooled_output"], expected["pooled_output"], atol=1e-5)


@pytest.mark.parametrize("lowercase", [True, False])
def test_an_original_bert_comes_with_its_vocabulary(tiny_tokenizer, tmp_path, lowercase):
    encoder = models.build_encoder(
        tiny_tokenizer.vocabulary_size + (not lowercase),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=24,
    )
    variables = dict(map(_variable, models.pretrained.describe(encoder, 0).tensors.items()))
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "bert_model.ckpt"),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=list(map(tf.constant, variables.values())),
    )
    values = {**models.pretrained.describe(encoder, 0).config, "hidden_act": "gelu"}
    (tmp_path / "bert_config.json").write_text(json.dumps(values), "utf-8")
    tokens = [*tiny_tokenizer.vocabulary, *([] if lowercase else ["A"])]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    import_checkpoint(str(tmp_path), tmp_path / "out")
    assert tfllm.load_tokenizer(tmp_path / "out").lowercase == lowercase
    again = models.load_model(tmp_path / "out")
    for weight, before in zip(again.weights, encoder.weights, strict=True):
        np.testing.assert_array_equal(weight, before)


def _variable(item):
    """The name and value that TensorFlow 1 had for a tensor."""
    name, value = item
    name = re.sub(r"layer\.(\d+)", r"layer_\1", f"bert.{name}")
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    name = name.replace("_embeddings.weight", "_embeddings")
    if name.endswith(".weight"):
        name, value = name.removesuffix("weight") + "kernel", value.T
    return name.replace(".", "/"), value


def test_a_tokenizer_of_another_model_is_refused(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "in")
    file = tmp_path / "in" / "tokenizer.json"
    document = json.loads(file.read_text("utf-8"))
    vocabulary = document["model"]["vocab"]
    document["model"]["vocab"] = {**vocabulary, "more": len(vocabulary)}
    file.write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match="they do not belong together"):
        import_checkpoint(str(tmp_path / "in"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_a_source_does_not_read_are_refused(exported, tmp_path):
    with pytest.raises(InputError, match="--tokenizer is that of a"):
        import_checkpoint(str(exported), tmp_path / "out", tokenizer_file=tmp_path / "tokenizer.bin")
    with pytest.raises(InputError, match="--trust is for a directory"):
        import_checkpoint(__file__, tmp_path / "out", trust=True)
    assert list(tmp_path.iterdir()) == []


def _hostile():
    file = Path(__file__).resolve().parents[1] / "models" / "pretrained" / "hostile.py"
    specification = importlib.util.spec_from_file_location("hostile", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.HOSTILE


def test_every_hostile_directory_ends_with_exit_code_2_and_a_line_or_two(exported, tmp_path, monkeypatch, capsys):
    bare = models.build_encoder(
        60, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=48, max_sequence_length=24, activation="gelu"
    )
    description = models.pretrained.describe(bare, 0)
    whole = tmp_path / "whole"
    whole.mkdir()
    from safetensors.numpy import save_file

    (whole / "config.json").write_text(json.dumps(description.config), "utf-8")
    save_file(description.tensors, whole / "model.safetensors")
    for name, (spoil, message) in _hostile().items():
        folder = tmp_path / name / "in"
        shutil.copytree(whole, folder)
        spoil(folder)
        monkeypatch.setattr(sys, "argv", ["tfllm", "import", str(folder), "--out", str(tmp_path / name / "out")])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr().err
        assert stop.value.code == 2, name
        assert re.search(message, said, re.DOTALL), (name, said)
        assert "Traceback" not in said and not (tmp_path / name / "out").exists()
