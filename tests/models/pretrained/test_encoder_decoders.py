"""Encoder-decoders of `transformers` and ours: the same numbers in both directions."""

import importlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tfllm.checks import InputError
from tfllm.models import add_seq2seq_head, build_encoder_decoder, read_encoder, read_recipe
from tfllm.models.pretrained import describe, load_checkpoint, open_folder

T5 = {
    "vocab_size": 60,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
BART = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 24,
}
MARIAN = {
    **BART,
    "pad_token_id": 59,
    "decoder_start_token_id": 59,
    "activation_function": "swish",
    "scale_embedding": True,
}
GATED = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
MODELS = {  # name -> configuration, class, arguments
    "t5": ("T5Config", "T5ForConditionalGeneration", {**T5, "relative_attention_num_buckets": 8}),
    "t5_1.1": ("T5Config", "T5ForConditionalGeneration", GATED),
    "t5_1.1_tied": ("T5Config", "T5ForConditionalGeneration", GATED),
    "bart": ("BartConfig", "BartForConditionalGeneration", {**BART, "forced_bos_token_id": 0}),
    "bart_scaled": ("BartConfig", "BartForConditionalGeneration", {**BART, "scale_embedding": True}),
    "marian": ("MarianConfig", "MarianMTModel", MARIAN),
}
STARTS = {"t5": "pad", "bart": ["sep", "cls"], "marian": "pad"}
SOURCE_MASK = (np.arange(10) < np.array([10, 7, 3])[:, None]).astype("int32")
MASK = (np.arange(6) < np.array([6, 4, 2])[:, None]).astype("int32")


@pytest.fixture(params=MODELS)
def name(request):
    """Each kind of model."""
    return request.param


@pytest.fixture
def make_theirs(torch):
    """Build a model of `transformers` with random weights large enough that every one of them shows."""
    transformers = importlib.import_module("transformers")

    def make(name, **more):
        config, kind, arguments = MODELS[name]
        torch.manual_seed(3)
        model = getattr(transformers, kind)(getattr(transformers, config)(**{**arguments, **more}))
        if name == "t5_1.1":
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:  # Marian's positions are fixed
                    weight.normal_(0, 0.25)
            if name in ("bart_scaled", "marian"):
                model.final_logits_bias.normal_(0, 1)
        return model.eval()

    return make


@pytest.fixture
def batch():
    """Three sources and three targets with ids of 5 to 58."""
    random = np.random.default_rng(4)
    ids = (random.integers(5, 59, mask.shape).astype("int32") * mask for mask in (SOURCE_MASK, MASK))
    return dict(zip(("source_ids", "token_ids"), ids, strict=True)) | {"source_mask": SOURCE_MASK, "padding_mask": MASK}


@pytest.fixture
def ask_theirs(torch, batch):
    """Logits of the real tokens of the targets."""
    names = {"input_ids": "source_ids", "attention_mask": "source_mask", "decoder_input_ids": "token_ids"}

    def ask(model):
        with torch.no_grad():
            logits = model(**{theirs: torch.tensor(batch[ours]).long() for theirs, ours in names.items()}).logits
        return logits.numpy()[MASK == 1]

    return ask


@pytest.fixture
def ask_ours(batch):
    """As `ask_theirs`."""
    return lambda model: np.asarray(model(batch))[MASK == 1]


def test_an_encoder_decoder_comes_in_and_goes_out(make_theirs, load_theirs, ask_theirs, ask_ours, tmp_path, name):
    theirs = make_theirs(name)
    theirs.save_pretrained(tmp_path / "in")
    checkpoint = load_checkpoint(open_folder(tmp_path / "in"))
    assert checkpoint.class_name == type(theirs).__name__
    assert checkpoint.writes
    assert read_recipe(checkpoint.model)["arguments"]["start"] == STARTS[name.split("_")[0]]
    assert set(checkpoint.left_out) == ({"final_logits_bias"} if name == "bart" else set())
    expected = ask_theirs(theirs)
    np.testing.assert_allclose(ask_ours(checkpoint.model), expected, atol=1e-4)
    description = describe(checkpoint.model, theirs.config.pad_token_id)
    again = load_theirs(description)
    np.testing.assert_allclose(ask_theirs(again), expected, atol=1e-4)
    assert type(again) is type(theirs)


def test_a_bare_model_gets_the_head_of_its_embedding(make_theirs, ask_theirs, ask_ours, tmp_path):
    theirs = make_theirs("bart")
    theirs.base_model.save_pretrained(tmp_path)
    np.testing.assert_allclose(ask_ours(load_checkpoint(open_folder(tmp_path)).model), ask_theirs(theirs), atol=1e-4)


def test_older_files_hold_the_embedding_several_times(make_theirs, ask_theirs, ask_ours, tmp_path):
    theirs = make_theirs("t5")
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    found = load_file(file)
    embedding = found.pop("shared.weight")
    copies = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    bias = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    found |= {f"{name}.weight": embedding.copy() for name in copies} | {bias: np.zeros((8, 4), np.float32)}
    save_file(found, file, metadata={"format": "pt"})
    checkpoint = load_checkpoint(open_folder(tmp_path))
    assert list(checkpoint.left_out) == [bias]
    np.testing.assert_allclose(ask_ours(checkpoint.model), ask_theirs(theirs), atol=1e-4)


def test_one_that_tfllm_built_as_t5_is_written_as_t5(load_theirs, ask_theirs, ask_ours):
    size = {"num_layers": 1, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 48}
    model = add_seq2seq_head(build_encoder_decoder(60, **size, positions="relative"))
    np.testing.assert_allclose(ask_theirs(load_theirs(describe(model, 0))), ask_ours(model), atol=1e-4)


def test_what_transformers_has_no_class_for_is_refused():
    size = {"num_layers": 1, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 48}
    with pytest.raises(InputError, match=r"no encoder-decoder with this combination: .*'positions': 'rotary'"):
        describe(add_seq2seq_head(build_encoder_decoder(60, **size)), 0)


def test_t5_reads_texts_of_any_length(make_theirs, tmp_path):
    make_theirs("t5").save_pretrained(tmp_path)
    inner = read_encoder(load_checkpoint(open_folder(tmp_path)).model)
    ids = np.ones((1, 300), "int32")
    assert inner({"source_ids": ids, "source_mask": ids, "token_ids": ids, "padding_mask": ids}).shape == (1, 300, 32)


def config(name="config.json", **values):
    """Change `config.json`, or another file of settings."""

    def spoil(folder):
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")

    return spoil


def generation(**values):
    """Change `generation_config.json`."""
    return config("generation_config.json", **values)


def tensors(change):
    """Change the tensors."""

    def spoil(folder):
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


LAST = "model.decoder.layers.2.fc2.weight"
BROKEN = {  # name -> (model, what is done to its directory, what the error says)
    "distance": ("t5", config(relative_attention_max_distance=64), "`relative_attention_max_distance` must be absent"),
    "activation": (
        "t5",
        config(feed_forward_proj="gated-tanh"),
        "`feed_forward_proj` must be one of relu, gelu, gated",
    ),
    "buckets": ("t5", config(relative_attention_num_buckets=16), "has the shape \\(8, 4\\)"),
    "start": (
        "t5",
        config(decoder_start_token_id=5),
        "`decoder_start_token_id` must be `pad_token_id`, 0. Received: 5",
    ),
    "forced": ("t5", config(forced_bos_token_id=7), "a t5 whose texts begin with a `forced_bos_token_id` of their own"),
    "decoder": ("t5", config(is_decoder=True), "`is_decoder` must be absent"),
    "encoder_only": ("t5", config(architectures=["T5EncoderModel"]), "`architectures` must be one of T5ForConditional"),
    "tied_differs": ("t5", tensors(lambda found: found.update({"lm_head.weight": np.ones((60, 32), "f")})), "differs"),
    "heads": ("bart", config(decoder_attention_heads=2), "must be equal: encoder and decoder are of one width here"),
    "share": ("bart", config(encoder_attention_heads=5, decoder_attention_heads=5), "cannot be shared by 5 heads"),
    "untied": ("bart", config(tie_word_embeddings=False), "`tie_word_embeddings` must be absent"),
    "start_of_writing": (
        "marian",
        generation(decoder_start_token_id=5),
        r"generation_config\.json: `decoder_start_token_id` must be `pad_token_id`, 59. Received: 5",
    ),
    "language_of_writing": (
        "bart",
        generation(forced_bos_token_id=9),
        r"generation_config\.json: a bart whose texts begin with a `forced_bos_token_id` of their own is not read",
    ),
    "language": ("bart", config(forced_bos_token_id=9), "a `forced_bos_token_id` of their own is not read"),
    "more_layers": ("bart", config(decoder_layers=4), "Missing: model.decoder.layers.3"),
    "wider": ("bart", config(encoder_ffn_dim=64, decoder_ffn_dim=64), "has the shape"),
    "lost": ("bart", tensors(lambda found: found.pop(LAST)), f"Missing: {LAST}"),
    "two_vocabularies": ("marian", config(share_encoder_decoder_embeddings=False), "`share_encoder_decoder_embedd"),
    "other_size": ("marian", config(decoder_vocab_size=61), "`decoder_vocab_size` must be absent"),
    "another_type": ("bart", config(model_type="mbart"), "did you mean 'bart'"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_directory_is_refused(whole, make_theirs, tmp_path, fault):
    name, spoil, message = BROKEN[fault]
    shutil.copytree(whole(name, make_theirs), tmp_path / "in")
    spoil(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        load_checkpoint(open_folder(tmp_path / "in"))
