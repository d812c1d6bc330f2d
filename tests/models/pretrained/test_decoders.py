"""Decoders of `transformers` and ours: the same numbers in both directions."""

import importlib
import json
import shutil

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfllm.checks import InputError
from tfllm.models import add_adapters, longest_text, merge_adapters
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
SCALING = {  # of four waves in a head of 8 numbers, with a base of 100, one stays, one changes and two are stretched
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 40,
}
MODELS = {  # name -> class, and arguments of its configuration
    "gpt2": ("GPT2", GPT2),
    "gpt2_narrow": ("GPT2", {**GPT2, "n_inner": 40, "activation_function": "relu"}),
    "llama": ("Llama", LLAMA),
    "llama_shared": ("Llama", {**SHARED, "tie_word_embeddings": True, "rope_theta": 500.0}),
    "llama_biases": ("Llama", {**SHARED, "attention_bias": True, "mlp_bias": True, "head_dim": 12}),
    "qwen2": ("Qwen2", {**SHARED, "rms_norm_eps": 1e-5}),
    "qwen3": ("Qwen3", {**SHARED, "head_dim": 12, "rope_theta": 500.0}),
    "qwen3_tied": ("Qwen3", {**LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {**SHARED, "sliding_window": None}),
    "llama31": ("Llama", {**SHARED, "max_position_embeddings": 96, "rope_theta": 100.0, "rope_scaling": SCALING}),
    "qwen3_scaled": ("Qwen3", {**SHARED, "head_dim": 8, "max_position_embeddings": 96, "rope_scaling": SCALING}),
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


def test_half_precision_in_shards_is_read(make_theirs, ask_theirs, ask_ours, torch, tmp_path):
    theirs = make_theirs("llama_shared").to(torch.bfloat16)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    checkpoint = load_checkpoint(open_folder(tmp_path))
    again = type(theirs).from_pretrained(tmp_path, dtype=torch.float32).eval()
    np.testing.assert_allclose(ask_ours(checkpoint.model), ask_theirs(again), atol=1e-4)


def test_a_qwen_3_that_does_not_say_how_wide_its_heads_are_has_them_128_wide(
    make_theirs, ask_theirs, ask_ours, tmp_path
):
    theirs = make_theirs("qwen3", head_dim=128)
    theirs.save_pretrained(tmp_path)
    config(head_dim=None)(tmp_path)
    np.testing.assert_allclose(ask_ours(load_checkpoint(open_folder(tmp_path)).model), ask_theirs(theirs), atol=1e-4)


def test_scaled_positions_are_those_of_the_reference_far_beyond_the_original_length(make_theirs, torch, tmp_path):
    theirs = make_theirs("llama31")
    theirs.save_pretrained(tmp_path)
    ids = np.random.default_rng(6).integers(5, 60, (1, 90)).astype("int32")
    with torch.no_grad():
        expected = theirs(torch.tensor(ids).long()).logits.numpy()
    model = load_checkpoint(open_folder(tmp_path)).model
    np.testing.assert_allclose(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "llama_shared"])
def test_a_bare_decoder_gets_the_head_of_its_embedding(make_theirs, ask_theirs, ask_ours, tmp_path, name):
    theirs = make_theirs(name)
    theirs.base_model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(open_folder(tmp_path))
    np.testing.assert_allclose(ask_ours(checkpoint.model), ask_theirs(theirs), atol=1e-4)


def test_what_one_window_of_mistral_holds_is_read_up_to_the_window(make_theirs, tmp_path):
    make_theirs("mistral", sliding_window=16).save_pretrained(tmp_path)
    assert longest_text(load_checkpoint(open_folder(tmp_path)).model) == 16


def test_adapters_are_trained_on_an_imported_decoder(make_theirs, batch, tmp_path):
    make_theirs("qwen2").save_pretrained(tmp_path)
    model = load_checkpoint(open_folder(tmp_path)).model
    add_adapters(model, 2, ("query", "output"))
    assert all("lora" in weight.path for weight in model.trainable_variables)
    inputs = {name: batch[name] for name in ("token_ids", "padding_mask")}
    before = np.asarray(model(inputs))
    model.compile(keras.optimizers.Adam(1e-2), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(inputs, batch["token_ids"])
    after = np.asarray(model(inputs))
    assert np.abs(after - before).max() > 1e-3
    merge_adapters(model)
    np.testing.assert_allclose(np.asarray(model(inputs)), after, atol=1e-4)


def config(**values):
    """Change `config.json`; None takes a value away."""

    def spoil(folder):
        file = folder / "config.json"
        found = {**json.loads(file.read_text("utf-8")), **values}
        file.write_text(json.dumps({name: value for name, value in found.items() if value is not None}), "utf-8")

    return spoil


def tensors(change):
    """Change the tensors."""

    def spoil(folder):
        file = folder / "model.safetensors"
        found = load_file(file)
        change(found)
        save_file(found, file, metadata={"format": "pt"})

    return spoil


LAST = "model.layers.1.mlp.down_proj.weight"
QUERY_NORM = "model.layers.0.self_attn.q_norm.weight"
BROKEN = {  # name -> (model, what is done to its directory, what the error says)
    "scaled": ("llama", config(rope_parameters={"rope_type": "yarn", "factor": 4.0}), "rotary positions of.*'yarn'"),
    "scaled_older": ("llama", config(rope_scaling={"type": "linear", "factor": 2}), "rotary positions of.*'linear'"),
    "scaling_a_word": ("llama", config(rope_scaling="none"), "`rope_scaling` must be an object"),
    "wavelength": ("llama", config(rope_parameters={"rope_theta": float("1e300")}), "`rope_theta` must be a number"),
    "scaled_without": ("llama31", config(rope_parameters={**SCALING, "factor": None}), "llama3 need `factor`"),
    "scaled_less": ("llama31", config(rope_parameters={**SCALING, "factor": 0.5}), "a `factor` and.*of at least 1"),
    "scaled_back": ("llama31", config(rope_parameters={**SCALING, "high_freq_factor": 1}), "above 0 and below"),
    "scaled_by_text": ("llama31", config(rope_parameters={**SCALING, "factor": "8"}), "`factor` must be a number"),
    "qwen3_window": ("qwen3", config(use_sliding_window=True), "`use_sliding_window` must be absent"),
    "qwen3_biases": ("qwen3", config(attention_bias=True), "`attention_bias` must be absent"),
    "qwen3_norms": ("qwen3", tensors(lambda found: found.pop(QUERY_NORM)), f"Missing: {QUERY_NORM}"),
    "qwen3_is_no_llama": ("qwen3", config(model_type="llama", architectures=None), "no place for: .*k_norm"),
    "experts": ("qwen3", config(model_type="qwen3_moe"), "did you mean 'qwen3'"),
    "window": ("qwen2", config(use_sliding_window=True), "`use_sliding_window` must be absent"),
    "half_biases": ("llama", config(attention_bias=True), "must be both true or both false"),
    "activation": ("llama", config(hidden_act="gelu"), "`hidden_act` must be absent"),
    "heads": ("llama", config(num_attention_heads=5, head_dim=None), "cannot be shared by 5 heads"),
    "groups": ("llama", config(num_key_value_heads=3), "4 heads of queries cannot share 3"),
    "many_layers": ("llama", config(num_hidden_layers=10**9), "`num_hidden_layers` must be a whole number"),
    "more_layers": ("llama", config(num_hidden_layers=3), "Missing: model.layers.2"),
    "fewer_layers": ("llama", config(num_hidden_layers=1), "no place for: model.layers.1"),
    "wider": ("llama", config(intermediate_size=64), "has the shape \\(48, 32\\); by config.json it is \\(64, 32\\)"),
    "tied_differs": ("llama", config(tie_word_embeddings=True), "lm_head.weight differs from model.embed_tokens"),
    "quantised": ("llama", config(quantization_config={"bits": 4}), "`quantization_config` must be absent"),
    "own_code": ("llama", config(auto_map={"AutoModel": "x.py"}), "`auto_map` must be absent"),
    "another_class": ("llama", config(architectures=["LlamaForSequenceClassification"]), "`architectures` must be one"),
    "another_type": ("llama", config(model_type="lama"), "did you mean 'llama'"),
    "scaled_attention": ("gpt2", config(scale_attn_by_inverse_layer_idx=True), "must be absent"),
    "odd_inner": ("gpt2", config(n_inner="x"), "`n_inner` must be a whole number"),
    "lost": ("llama", tensors(lambda found: found.pop(LAST)), f"Missing: {LAST}"),
    "not_finite": ("llama", tensors(lambda found: found[LAST].fill(np.nan)), "infinite or none at all"),
    "not_whole": ("llama", lambda folder: _cut(folder / "model.safetensors"), "is not whole"),
}


def _cut(file):
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_directory_is_refused(whole, make_theirs, tmp_path, fault):
    name, spoil, message = BROKEN[fault]
    shutil.copytree(whole(name, make_theirs), tmp_path / "in")
    spoil(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        load_checkpoint(open_folder(tmp_path / "in"))
