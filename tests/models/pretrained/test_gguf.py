"""GGUF files: the numbers of the model they were made of, and damaged or hostile ones refused at once."""

import importlib
import struct
import time

import numpy as np
import pytest

from tfllm.checks import InputError
from tfllm.models.pretrained import describe, load_gguf, open_gguf

gguf = pytest.importorskip("gguf")
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 24,
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
}
MAGIC = b"GGUF"


def pairs_first(value, heads):
    """As llama.cpp's converter reorders the rows of queries and keys."""
    return value.reshape(heads, 2, -1, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def write(file, model, kind, quantization=None, turned=None, divisors=None, tokenizer=None):
    """A GGUF file of a model of `transformers`; returns the numbers that are in it, by their names there.

    `tokenizer`: values by name, without what all their names begin with.
    """
    config, inside = model.config, {}
    writer = gguf.GGUFWriter(file, kind)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    for name, value in (tokenizer or {}).items():
        add = {str: writer.add_string, list: writer.add_array, int: writer.add_uint32}[type(value)]
        add(f"tokenizer.ggml.{name}", value)
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", divisors)
    if turned is not None:
        writer.add_rope_dimension_count(turned)
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        layer, leaf = name.removesuffix(".weight").removesuffix(".bias"), name.rpartition(".")[2]
        prefix = ""
        if layer.startswith("model.layers."):
            _, _, number, layer = layer.split(".", 3)
            prefix = f"blk.{number}."
        if kind == "llama" and layer[-6:] in ("q_proj", "k_proj"):
            value = pairs_first(value, config.num_attention_heads if "q_" in layer else config.num_key_value_heads)
        stored = value
        if quantization is not None and value.ndim == 2:
            stored = gguf.quants.quantize(value, quantization)
            value = gguf.quants.dequantize(stored, quantization)
        kind_of = quantization if stored is not value else None
        writer.add_tensor(f"{prefix}{NAMES[layer]}.{leaf}", stored, raw_dtype=kind_of)
        inside[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return inside


@pytest.fixture
def make_theirs(torch):
    """A model of `transformers` with random weights."""
    transformers = importlib.import_module("transformers")

    def make(classes, **more):
        torch.manual_seed(3)
        more = {"head_dim": 32, **more} if classes == "Qwen3" else more
        config = getattr(transformers, f"{classes}Config")(**{**LLAMA, **more})
        model = getattr(transformers, f"{classes}ForCausalLM")(config)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.2)
        return model.eval()

    return make


@pytest.mark.parametrize(("classes", "kind"), [("Llama", "llama"), ("Qwen2", "qwen2"), ("Qwen3", "qwen3")])
@pytest.mark.parametrize("quantization", [None, "Q8_0", "Q4_1", "F16"])
def test_the_numbers_are_those_of_the_model(make_theirs, batch, torch, tmp_path, classes, kind, quantization):
    theirs = make_theirs(classes)
    quantized = quantization and gguf.GGMLQuantizationType[quantization]
    inside = write(tmp_path / "model.gguf", theirs, kind, quantized)
    if quantized is not None:
        for name, value in inside.items():
            if kind == "llama" and ("q_proj" in name or "k_proj" in name):
                heads = LLAMA["num_attention_heads" if "q_proj" in name else "num_key_value_heads"]
                value = value.reshape(heads, -1, 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            with torch.no_grad():
                theirs.state_dict()[name].copy_(torch.tensor(np.ascontiguousarray(value)))
    checkpoint = load_gguf(open_gguf(tmp_path / "model.gguf"))
    names = {"input_ids": "token_ids", "attention_mask": "padding_mask"}
    with torch.no_grad():
        expected = theirs(**{their: torch.tensor(batch[our]).long() for their, our in names.items()}).logits.numpy()
    found = np.asarray(checkpoint.model({name: batch[name] for name in names.values()}))
    real = batch["padding_mask"] == 1
    np.testing.assert_allclose(found[real], expected[real], atol=1e-4)


def test_only_whole_heads_are_turned_by_positions(make_theirs, tmp_path):
    theirs = make_theirs("Llama")
    write(tmp_path / "whole.gguf", theirs, "llama", turned=16)
    load_gguf(open_gguf(tmp_path / "whole.gguf"))
    write(tmp_path / "half.gguf", theirs, "llama", turned=8)
    with pytest.raises(InputError, match="8 of 16 numbers of a head"):
        load_gguf(open_gguf(tmp_path / "half.gguf"))


def divisors_of_llama3(config, factor):
    """What llama.cpp's converter writes for the scaling of Llama 3.1: by how much each wave is longer."""
    found = []
    for place in range(config.head_dim // 2):
        wave = 2 * np.pi * config.rope_parameters["rope_theta"] ** (2 * place / config.head_dim)
        if wave < 8192 / 4:
            found.append(1.0)
        elif wave > 8192:
            found.append(factor)
        else:
            smooth = (8192 / wave - 1) / 3
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)


SCALING = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_the_scaled_positions_of_llama_3_are_read_from_their_divisors(make_theirs, tmp_path):
    theirs = make_theirs("Llama", rope_parameters=SCALING, head_dim=16, max_position_embeddings=16_384)
    divisors = divisors_of_llama3(theirs.config, 32.0)
    assert divisors[3] == 1 < divisors[4] < divisors[5] == 32  # waves of each kind
    write(tmp_path / "model.gguf", theirs, "llama", divisors=divisors)
    described = describe(load_gguf(open_gguf(tmp_path / "model.gguf")).model, 0)
    names = set(SCALING) - {"rope_theta"}
    assert described.config["rope_scaling"] == {name: SCALING[name] for name in names}
    assert described.config["rope_theta"] == 500_000.0


@pytest.mark.parametrize("change", [lambda one: one * 1.5, lambda one: one[:-1], lambda one: one * 0 + 1])
def test_positions_that_are_scaled_otherwise_are_refused(make_theirs, tmp_path, change):
    theirs = make_theirs("Llama", rope_parameters=SCALING, head_dim=16, max_position_embeddings=16_384)
    write(tmp_path / "model.gguf", theirs, "llama", divisors=change(divisors_of_llama3(theirs.config, 8.0)))
    with pytest.raises(InputError, match=r"scaled as Llama 3\.1 and 3\.2 do"):
        load_gguf(open_gguf(tmp_path / "model.gguf"))


def text(value):
    """A text as GGUF stores it."""
    return struct.pack("<Q", len(value)) + value


def header(tensors=0, values=0, version=3):
    """The first 24 bytes."""
    return MAGIC + struct.pack("<IQQ", version, tensors, values)


ENTRY = text(b"a") + struct.pack("<IQQIQ", 2, 32, 2, 0, 0)  # a tensor of (2, 32) float32, at the beginning
HOSTILE = {
    "empty": (b"", "ends within its header"),
    "another_file": (b"PK\x03\x04" * 10, "is no GGUF file"),
    "version": (header(version=1), "of version 2 or 3"),
    "other_end_first": (MAGIC + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
    "tensors": (header(tensors=2**63), "tensors and"),
    "values": (header(values=2**64 - 1), "values; at most"),
    "name": (header(values=1) + struct.pack("<Q", 2**62), "a text of"),
    "long_text": (header(values=1) + text(b"a") + struct.pack("<IQ", 8, 2**40), "a text of"),
    "long_list": (header(values=1) + text(b"a") + struct.pack("<IIQ", 9, 4, 2**61), "a list of"),
    "list_beyond": (header(values=1) + text(b"a") + struct.pack("<IIQ", 9, 12, 3_999_999), "ends within its header"),
    "texts_beyond": (header(values=1) + text(b"a") + struct.pack("<IIQ", 9, 8, 3_999_999), "ends within its header"),
    "nested_lists": (header(values=1) + text(b"a") + struct.pack("<IIQ", 9, 9, 1), "unknown kind 9"),
    "kind": (header(values=1) + text(b"a") + struct.pack("<I", 99), "unknown kind 99"),
    "no_text": (header(values=1) + text(b"\xff\xfe"), "not UTF-8"),
    "twice": (header(values=2) + (text(b"a") + struct.pack("<IB", 0, 1)) * 2, "names a value or a tensor twice"),
    "tensor_twice": (header(tensors=2) + ENTRY * 2 + bytes(999), "names a value or a tensor twice"),
    "axes": (header(tensors=1) + text(b"a") + struct.pack("<I", 2**31), "axes; at most"),
    "no_axes": (header(tensors=1) + text(b"a") + struct.pack("<IIQ", 0, 0, 0) + bytes(99), "does not fit"),
    "no_rows": (header(tensors=1) + text(b"a") + struct.pack("<IQQIQ", 2, 32, 0, 0, 0) + bytes(99), "does not fit"),
    "large": (header(tensors=1) + text(b"a") + struct.pack("<IQQIQ", 2, 2**40, 2**40, 0, 0), "does not fit"),
    "beyond": (header(tensors=1) + text(b"a") + struct.pack("<IQQIQ", 2, 32, 2, 0, 2**60) + bytes(999), "does not fit"),
    "type": (header(tensors=1) + text(b"a") + struct.pack("<IQQIQ", 2, 32, 2, 77, 0) + bytes(999), "unknown type 77"),
    "blocks": (header(tensors=1) + text(b"a") + struct.pack("<IQQIQ", 2, 31, 2, 3, 0) + bytes(999), "does not fit"),
    "alignment": (
        header(values=1) + text(b"general.alignment") + struct.pack("<II", 4, 0),
        "`general.alignment` must be a number",
    ),
    "architecture": (
        header(values=1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"mamba"),
        "tfllm reads GGUF of llama, qwen2, qwen3. Received: 'mamba'",
    ),
    "nothing": (header(), "Received: None"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(tmp_path, name):
    content, message = HOSTILE[name]
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    start = time.process_time()
    with pytest.raises(InputError, match=message):
        load_gguf(open_gguf(file))
    assert time.process_time() - start < 2


def test_a_file_cut_anywhere_is_refused(make_theirs, tmp_path):
    file = tmp_path / "model.gguf"
    write(file, make_theirs("Llama"), "llama")
    content = file.read_bytes()
    for size in [*range(0, 2000, 37), len(content) - 40]:
        file.write_bytes(content[:size])
        with pytest.raises(InputError):
            load_gguf(open_gguf(file))


def test_values_that_fit_no_tensor_are_refused(make_theirs, tmp_path):
    theirs = make_theirs("Llama")
    theirs.config.num_hidden_layers = 3
    write(tmp_path / "model.gguf", theirs, "llama")
    with pytest.raises(InputError, match=r"Missing: model.layers.2.*model.gguf|Missing: model.layers.2"):
        load_gguf(open_gguf(tmp_path / "model.gguf"))
