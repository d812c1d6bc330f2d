"""Directories for transformers: text in, the same scores out, tokenizer and all."""

import importlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import models
from tfllm.checks import InputError
from tfllm.export import export_huggingface
from tfllm.inference.signatures import build_signatures
from tfllm.models.pretrained import load_checkpoint, open_folder
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER, ByteBpeTokenizer
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer

TEXTS = ["A good cup, and warm!", "", "Über 12 naïve 中文 words", "nothing " * 40]


@pytest.fixture
def encoder(tiny_tokenizer):
    keras.utils.set_random_seed(1)
    return models.build_encoder(
        tiny_tokenizer.vocabulary_size,
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=48,
        max_sequence_length=32,
    )


@pytest.fixture
def transformers():
    """`transformers`; the test is skipped without it or PyTorch."""
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def ask_theirs(transformers, kind, directory, texts):
    """Outputs for texts, cut where the directory says, padded to the longest."""
    torch = importlib.import_module("torch")
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = getattr(transformers, kind).from_pretrained(directory).eval()
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))


def test_a_classifier_gives_the_same_scores_from_the_same_texts(encoder, tiny_tokenizer, transformers, tmp_path):
    model = models.add_classifier_head(encoder, ["bad", "ok", "好"], pooling="cls")
    left_out = export_huggingface(model, tiny_tokenizer, tmp_path / "out", sequence_length=24)
    assert left_out == {}
    expected = build_signatures(model, tiny_tokenizer, 24)["serving_default"].function(text=tf.constant(TEXTS))[
        "scores"
    ]
    outputs = ask_theirs(transformers, "AutoModelForSequenceClassification", tmp_path / "out", TEXTS)
    np.testing.assert_allclose(outputs.logits.softmax(-1), expected, atol=1e-4)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["id2label"] == {"0": "bad", "1": "ok", "2": "好"}
    assert config["problem_type"] == "single_label_classification"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))["kind"] == "huggingface"


def test_a_pair_of_texts_has_its_segments_there_too(encoder, tiny_tokenizer, transformers, tmp_path):
    model = models.add_classifier_head(encoder, ["no", "yes"], pooling="cls", pairs=True)
    export_huggingface(model, tiny_tokenizer, tmp_path / "out")
    ids, segments = tiny_tokenizer.wrap_pair(
        tiny_tokenizer.tokenize(["a good cup"]), tiny_tokenizer.tokenize(["a plate"]), 32
    )
    ids, segments = ids.to_tensor(), segments.to_tensor()
    expected = model({"token_ids": ids, "segment_ids": segments, "padding_mask": tf.ones_like(ids)})
    torch = importlib.import_module("torch")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = theirs(**tokenizer("a good cup", "a plate", return_tensors="pt")).logits
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_vectors_go_out_for_sentence_transformers_and_come_back(encoder, tiny_tokenizer, tmp_path):
    model = models.add_embedding_head(encoder, pooling="mean", normalize=True)
    export_huggingface(model, tiny_tokenizer, tmp_path / "out", sequence_length=16)
    assert [part["path"] for part in json.loads((tmp_path / "out" / "modules.json").read_text("utf-8"))] == [
        "",
        "1_Pooling",
        "2_Normalize",
    ]
    settings = json.loads((tmp_path / "out" / "sentence_bert_config.json").read_text("utf-8"))
    assert settings["max_seq_length"] == 16
    again = load_checkpoint(open_folder(tmp_path / "out")).model
    tokenizer = load_huggingface_tokenizer(tmp_path / "out")
    expected = build_signatures(model, tiny_tokenizer, 16)["embed"].function(text=tf.constant(TEXTS))["embedding"]
    found = build_signatures(again, tokenizer, 16)["embed"].function(text=tf.constant(TEXTS))["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_card_tells_the_hub_what_the_model_is_for(encoder, tiny_tokenizer, tmp_path):
    model = models.add_tagger_head(encoder, ["LOC"], chain=False)
    export_huggingface(model, tiny_tokenizer, tmp_path / "places", card="# Mine\n\nTrained on a corpus of places.\n")
    card = (tmp_path / "places" / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: token-classification\n")
    assert 'AutoModelForTokenClassification.from_pretrained("places")' in card
    assert card.endswith("Trained on a corpus of places.\n")


def test_nothing_is_written_where_something_is_or_when_it_cannot_be(encoder, tiny_tokenizer, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        export_huggingface(encoder, tiny_tokenizer, tmp_path / "taken")
    mean = models.add_classifier_head(encoder, ["a", "b"], pooling="mean")
    with pytest.raises(InputError, match="--pooling cls"):
        export_huggingface(mean, tiny_tokenizer, tmp_path / "mean")
    with pytest.raises(InputError, match="`sequence_length` must not exceed 32"):
        export_huggingface(encoder, tiny_tokenizer, tmp_path / "long", sequence_length=33)
    small = models.build_encoder(20, num_layers=1, num_heads=1, hidden_dim=8, intermediate_dim=8)
    with pytest.raises(InputError, match="they do not belong together"):
        export_huggingface(small, tiny_tokenizer, tmp_path / "small")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_roberta_goes_out_with_its_byte_pairs(transformers, tmp_path):
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *BYTE_TO_CHARACTER.values(), "oo", "Ġc"]
    special = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    tokenizer = ByteBpeTokenizer(vocabulary, [("o", "o"), ("Ġ", "c")], special, pair_separators=2)
    keras.utils.set_random_seed(1)
    encoder = models.build_encoder(
        tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=48,
        max_sequence_length=64,
        num_segments=1,
        activation="gelu",
    )
    model = models.add_classifier_head(encoder, ["bad", "good"], pooling="cls")
    export_huggingface(model, tokenizer, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert (config["model_type"], config["pad_token_id"], config["max_position_embeddings"]) == ("roberta", 1, 66)
    texts = TEXTS[:3]
    expected = build_signatures(model, tokenizer, 64)["serving_default"].function(text=tf.constant(texts))["scores"]
    outputs = ask_theirs(transformers, "AutoModelForSequenceClassification", tmp_path / "out", texts)
    np.testing.assert_allclose(outputs.logits.softmax(-1), expected, atol=1e-4)
