"""Decoders of `transformers` and ours: the same numbers in both directions."""

import importlib

import numpy as np
import pytest

from tfllm.models.pretrained import describe, load_checkpoint, open_folder

GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
LLAMA = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
SHARED = {**LLAMA, "num_key_value_heads": 2}
MODELS = {  # name -> class, and arguments of its configuration
    "gpt2": ("GPT2", GPT2),
    "gpt2_narrow": ("GPT2", {**GPT2, "n_inner": 40, "activation_function": "relu"}),
    "llama": ("Llama", LLAMA),
    "llama_shared": ("Llama", {**SHARED, "tie_word_embeddings": True, "rope_theta": 500.0}),
    "llama_biases": ("Llama", {**SHARED, "attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "qwen2": ("Qwen2", {**SHARED, "rms_norm_eps": 1e-5}),
    "mistral": ("Mistral", {**SHARED, "sliding_window": None}),
}


@pytest.fixture(params=MODELS)
def name(request):
    """Each kind of model."""
    return request.param


@pytest.fixture
def make_theirs(torch):
    """Build a model of `transformers` with random weights large enough that every one of them shows."""
    transformers = importlib.import_module("transformers")

    def make(name, **more):
        classes, arguments = MODELS[name]
        config = getattr(transformers, f"{classes}Config")(**{**arguments, **more})
        torch.manual_seed(3)
        model = getattr(transformers, classes + ("LMHeadModel" if classes == "GPT2" else "ForCausalLM"))(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.25)
        return model.eval()

    return make


@pytest.fixture
def ask_theirs(torch, batch):
    """Logits of the real tokens of the batch."""

    def ask(model):
        names = {"input_ids": "token_ids", "attention_mask": "padding_mask"}
        with torch.no_grad():
            logits = model(**{theirs: torch.tensor(batch[ours]).long() for theirs, ours in names.items()}).logits
        return logits.numpy()[batch["padding_mask"] == 1]

    return ask


@pytest.fixture
def ask_ours(batch):
    """As `ask_theirs`."""

    def ask(model):
        logits = model({name: batch[name] for name in ("token_ids", "padding_mask")})
        return np.asarray(logits)[batch["padding_mask"] == 1]

    return ask


def test_a_decoder_comes_in_and_goes_out(make_theirs, load_theirs, ask_theirs, ask_ours, tmp_path, name):
    theirs = make_theirs(name)
    theirs.save_pretrained(tmp_path / "in")
    checkpoint = load_checkpoint(open_folder(tmp_path / "in"))
    assert checkpoint.class_name == type(theirs).__name__
    assert checkpoint.left_out == {}
    expected = ask_theirs(theirs)
    np.testing.assert_allclose(ask_ours(checkpoint.model), expected, atol=1e-4)
    again = load_theirs(describe(checkpoint.model, 0))
    np.testing.assert_allclose(ask_theirs(again), expected, atol=1e-4)
    assert type(again).__name__ == ("LlamaForCausalLM" if name == "mistral" else type(theirs).__name__)
