"""Checkpoints of `transformers` and ours: the same numbers in both directions, whatever the architecture and head."""

import importlib
import json

import pytest
from safetensors.numpy import save_file

from tfllm.models.pretrained import describe, load_checkpoint, open_folder


@pytest.fixture
def load_theirs(torch, tmp_path):
    """Write a description as a directory, and load it with `transformers`: nothing missing, nothing left over."""
    transformers = importlib.import_module("transformers")

    def load(description):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "config.json").write_text(json.dumps(description.config), "utf-8")
        save_file(description.tensors, tmp_path / "out" / "model.safetensors", metadata={"format": "pt"})
        kind = getattr(transformers, description.class_name)
        model, told = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not any(told[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")), told
        return model.eval()

    return load


def test_a_checkpoint_comes_in_and_goes_out(
    make_theirs, load_theirs, ask_theirs, ask_ours, assert_equal, tmp_path, name, head
):
    theirs = make_theirs(name, head)
    theirs.save_pretrained(tmp_path / "in")
    checkpoint = load_checkpoint(open_folder(tmp_path / "in"))
    assert checkpoint.class_name == type(theirs).__name__
    assert checkpoint.left_out == {}
    ours, expected = ask_ours(checkpoint.model), ask_theirs(theirs)
    assert_equal(ours, expected)
    description = describe(checkpoint.model, theirs.config.pad_token_id, sentencepiece=name == "xlm_roberta")
    assert description.left_out == {}
    again = load_theirs(description)
    assert_equal(ask_theirs(again), expected)
    # Without a pooler and a projection an ELECTRA is a BERT.
    is_bert = name == "electra_base" and head not in ("Model", "ForSequenceClassification")
    assert type(again).__name__ == ("Bert" + head if is_bert else type(theirs).__name__)
