"""Byte-level BPE with GPT-2's published vocabulary against the Rust `tokenizers`: the same ids, no exception."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers

from tfllm.tokenizers import ByteBpeTokenizer

_specification = importlib.util.spec_from_file_location("parity_texts", Path(__file__).with_name("parity_texts.py"))
parity_texts = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(parity_texts)
END = "<|endoftext|>"
ROBERTA = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}


@pytest.fixture(scope="module")
def texts(shared_data, torture_rounds):
    return parity_texts.read_texts(shared_data, torture_rounds(6_000, 50_000))


@pytest.fixture(scope="module")
def published(shared_models):
    """GPT-2's vocabulary and merges."""
    ids = json.loads((shared_models / "gpt2" / "encoder.json").read_text("utf-8"))
    lines = (shared_models / "gpt2" / "vocab.bpe").read_text("utf-8").split("\n")[1:-1]
    return sorted(ids, key=ids.get), [tuple(line.split(" ")) for line in lines]


def build_pair(vocabulary, merges, special, prefix):
    """(ours, theirs): the tokenizer, and a function from texts to lists of ids."""
    rust = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary)}, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    ours = ByteBpeTokenizer(vocabulary, merges, special, add_prefix_space=prefix)
    return ours, lambda texts: [encoding.ids for encoding in rust.encode_batch(texts, add_special_tokens=False)]


@pytest.fixture(scope="module", params=["gpt2", "roberta", "roberta_with_prefix_space"])
def pair(request, published):
    vocabulary, merges = published
    if request.param == "gpt2":
        return build_pair(vocabulary, merges, {"pad": END, "cls": END, "sep": END}, False)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *(token for token in vocabulary if token != END), "<mask>"]
    return build_pair(vocabulary, merges, ROBERTA, request.param.endswith("space"))


def test_all_texts_have_the_same_ids(pair, texts):
    ours, theirs = pair
    assert ours.tokenize(texts).to_list() == theirs(texts)


def test_all_texts_come_back_as_they_were(pair, texts):
    ours, _ = pair
    found = [text.decode() for text in ours.detokenize(ours.tokenize(texts)).numpy()]
    prefixes = [" " if ours.add_prefix_space and text and text[0] != " " else "" for text in texts]
    assert found == [prefix + text for prefix, text in zip(prefixes, texts, strict=True)]


class _Saved(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize(self, text):
        ids = self.tokenizer.tokenize(text)
        return ids.flat_values, ids.row_splits


def test_python_tf_data_savedmodel_and_offsets_agree(pair, texts, tmp_path):
    ours, _ = pair
    eager = ours.tokenize(texts)
    mapped = tf.concat(list(tf.data.Dataset.from_tensor_slices(texts).batch(512).map(ours.tokenize)), axis=0)
    tf.saved_model.save(_Saved(ours), str(tmp_path / "saved"))
    values, splits = tf.saved_model.load(str(tmp_path / "saved")).tokenize(tf.constant(texts))
    served = tf.RaggedTensor.from_row_splits(values, splits)
    for other in (mapped, served, ours.tokenize_with_offsets(texts).ids):
        np.testing.assert_array_equal(other.row_splits, eager.row_splits)
        np.testing.assert_array_equal(other.flat_values, eager.flat_values)
