"""What checkpoints hold besides the usual: halves of numbers, shards, copies, heads of pretraining, other labels."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfllm.checks import InputError
from tfllm.models import read_recipe
from tfllm.models.pretrained import load_checkpoint, open_folder
from tfllm.models.pretrained.sentences import read_length


def change(folder, changes):
    """Apply a function to the tensors of a directory."""
    tensors = load_file(folder / "model.safetensors")
    changes(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_numbers_of_half_the_size_are_read(torch, make_theirs, ask_theirs, ask_ours, assert_equal, tmp_path, dtype):
    theirs = make_theirs("bert", "Model").to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path)
    model = load_checkpoint(open_folder(tmp_path)).model
    assert model.dtype == "float32"
    assert_equal(ask_ours(model), ask_theirs(theirs.float()))


def test_shards_are_put_together(make_theirs, ask_theirs, ask_ours, assert_equal, tmp_path):
    theirs = make_theirs("roberta", "ForMaskedLM")
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert_equal(ask_ours(load_checkpoint(open_folder(tmp_path)).model), ask_theirs(theirs))


@pytest.mark.parametrize("name", ["bert", "albert", "electra_small"])
def test_heads_of_pretraining_are_left_out_by_name(make_theirs, tmp_path, name):
    make_theirs(name, "ForPreTraining").save_pretrained(tmp_path)
    checkpoint = load_checkpoint(open_folder(tmp_path))
    kind = "Model" if name == "electra_small" else "ForMaskedLM"
    assert checkpoint.class_name.endswith(kind)
    reasons = {name: reason for name, reason in checkpoint.left_out.items() if "pooler" not in name}
    assert len(reasons) == {"bert": 2, "albert": 2, "electra_small": 4}[name]
    assert all("no task uses after pretraining" in reason for reason in reasons.values())


def test_names_of_old_checkpoints_are_known(make_theirs, ask_theirs, ask_ours, assert_equal, tmp_path):
    def age(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(24)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")
        tensors["bert.pooler.dense.weight"] = np.ones((32, 32), "float32")
        tensors["bert.pooler.dense.bias"] = np.ones(32, "float32")

    theirs = make_theirs("bert", "ForMaskedLM")
    theirs.save_pretrained(tmp_path)
    change(tmp_path, age)
    checkpoint = load_checkpoint(open_folder(tmp_path))
    pooler = dict.fromkeys(
        ["bert.pooler.dense.weight", "bert.pooler.dense.bias"], "a pooler that this head does not read"
    )
    assert checkpoint.left_out == {"bert.embeddings.position_ids": "the numbers 0, 1, 2 and so on", **pooler}
    assert_equal(ask_ours(checkpoint.model), ask_theirs(theirs))


def test_a_masked_language_model_that_is_not_tied_is_refused(make_theirs, tmp_path):
    make_theirs("bert", "ForMaskedLM").save_pretrained(tmp_path)
    change(tmp_path, lambda tensors: tensors.update({"cls.predictions.decoder.weight": np.ones((60, 32), "float32")}))
    with pytest.raises(InputError, match=r"cls.predictions.decoder.weight differs from bert.embeddings.*\(tied\)"):
        load_checkpoint(open_folder(tmp_path))


def test_a_pooler_under_a_head_of_its_own_is_left_out_by_name(make_theirs, tmp_path):
    make_theirs("roberta", "ForSequenceClassification").save_pretrained(tmp_path)
    pooler = {"roberta.pooler.dense.weight": np.ones((32, 32), "float32")}
    change(tmp_path, lambda tensors: tensors.update(pooler))
    assert set(load_checkpoint(open_folder(tmp_path)).left_out) == set(pooler)


def test_classifiers_keep_their_labels_or_get_numbers(make_theirs, tmp_path):
    labels = {"id2label": {0: "bad", 1: "ok", 2: "good"}, "label2id": {"bad": 0, "ok": 1, "good": 2}}
    make_theirs("distilbert", "ForSequenceClassification", **labels).save_pretrained(tmp_path)
    recipe = read_recipe(load_checkpoint(open_folder(tmp_path)).model)
    assert (recipe["builder"], recipe["arguments"]["labels"]) == ("add_classifier_head", ["bad", "ok", "good"])
    assert (recipe["arguments"]["pooling"], recipe["arguments"]["dropout"]) == ("cls", 0.2)
    change_config(tmp_path, id2label=None, num_labels=3)
    recipe = read_recipe(load_checkpoint(open_folder(tmp_path)).model)
    assert recipe["arguments"]["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


@pytest.mark.parametrize("problem", [None, "regression"])
def test_one_label_is_a_regression(make_theirs, ask_theirs, ask_ours, assert_equal, tmp_path, problem):
    theirs = make_theirs("bert", "ForSequenceClassification", num_labels=1, problem_type=problem)
    theirs.save_pretrained(tmp_path)
    model = load_checkpoint(open_folder(tmp_path)).model
    assert read_recipe(model)["builder"] == "add_regression_head"
    assert_equal(ask_ours(model), ask_theirs(theirs))


def test_several_labels_a_text_stay_that(make_theirs, tmp_path):
    arguments = {"num_labels": 3, "problem_type": "multi_label_classification"}
    make_theirs("bert", "ForSequenceClassification", **arguments).save_pretrained(tmp_path)
    assert read_recipe(load_checkpoint(open_folder(tmp_path)).model)["builder"] == "add_multilabel_head"


@pytest.mark.parametrize(
    ("tags", "labels"),
    [(["B-LOC", "O", "B-PER"], "Received: B-LOC, O, B-PER"), (["NOUN", "VERB"], "Received: NOUN, VERB")],
)
def test_tags_that_are_not_iob2_are_refused(make_theirs, tmp_path, tags, labels):
    make_theirs("bert", "ForTokenClassification").save_pretrained(tmp_path)
    change_config(tmp_path, id2label={str(number): tag for number, tag in enumerate(tags)})
    with pytest.raises(InputError, match=rf"\(IOB2\)\. {labels}"):
        load_checkpoint(open_folder(tmp_path))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_sentence_transformers_become_a_model_that_gives_vectors(torch, make_theirs, batch, tmp_path, pooling):
    theirs = make_theirs("mpnet", "Model")
    theirs.save_pretrained(tmp_path)
    parts = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in parts]
    (tmp_path / "modules.json").write_text(json.dumps(modules), "utf-8")
    (tmp_path / "1_Pooling").mkdir()
    names = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(names), "utf-8")
    found = load_checkpoint(open_folder(tmp_path)).model.predict(batch, verbose=0)
    mask = torch.tensor(batch["padding_mask"])
    ids = torch.where(mask == 1, torch.tensor(batch["token_ids"]), 1)
    with torch.no_grad():
        hidden = theirs(input_ids=ids.long(), attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = torch.nn.functional.normalize(hidden[:, 0] if pooling == "cls" else mean)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_texts_are_cut_where_the_directory_says(tmp_path):
    folder = open_folder(tmp_path)
    assert read_length(folder, 512) == 512
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 384}', "utf-8")
    assert read_length(folder, 512) == 384
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 256}', "utf-8")
    assert read_length(folder, 512) == 256
    assert read_length(folder, 128) == 128
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": null}', "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}', "utf-8")
    assert read_length(folder, 512) == 512
