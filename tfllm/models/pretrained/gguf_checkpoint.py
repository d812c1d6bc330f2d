"""GGUF files of Llama's and Qwen's kind become models of ours, with the numbers dequantised.

In: an open file. Out: what `load_checkpoint` gives. The values get the names that `config.json` has for them.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfllm.checks import InputError
from tfllm.models.decoder_parts import RotaryScaling, rotary_rates
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import fill_decoder
from tfllm.models.pretrained.gguf_file import Gguf
from tfllm.models.pretrained.llama import LLAMA, QWEN2, QWEN3, SCALED
from tfllm.models.pretrained.load import Checkpoint
from tfllm.models.pretrained.tensors import Tensor

_FAMILIES = {family.model_type: family for family in (LLAMA, QWEN2, QWEN3)}
_DIVISORS = "rope_freqs.weight"  # by how much each wave of Llama 3.1's rotary positions is longer than without scaling
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8_192}
_VALUES = {  # theirs, after the name of the architecture -> those of config.json
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def load_gguf(gguf: Gguf) -> Checkpoint:
    """The model of a GGUF file, with float32 weights.

    Raises:
        InputError: for another architecture, scaled rotary positions, or tensors that are not those of its values.
    """
    kind = gguf.values.get("general.architecture")
    if not isinstance(kind, str) or kind not in _FAMILIES:
        raise InputError(f"{gguf.file}: tfllm reads GGUF of {', '.join(_FAMILIES)}. Received: {kind!r:.100}.")
    family, config = _FAMILIES[kind], Config(gguf.file, _config(gguf, kind))
    heads = config.integer("num_attention_heads", "heads")
    groups = {"q": heads, "k": config.integer("num_key_value_heads", "heads", heads)}
    tensors = {}
    for name, tensor in gguf.tensors.items():
        if name == _DIVISORS:
            continue
        turned = re.fullmatch(r"blk\.\d+\.attn_([qk])\.\w+", name) if kind == "llama" else None
        if turned:
            tensor = tensor._replace(read=halves_first(tensor, groups[turned[1]], gguf.file))
        tensors[_renamed(name)] = tensor
    model, left_out = fill_decoder(config, family, tensors)
    return Checkpoint(model, family.classes[0], left_out)


def _config(gguf: Gguf, kind: str) -> dict:
    scaling = gguf.values.get(f"{kind}.rope.scaling.type", "none")
    if scaling != "none":
        raise InputError(f"{gguf.file}: tfllm has no rotary positions with scaling. Received: {scaling!r:.100}.")
    values = {name: gguf.values.get(f"{kind}.{theirs}") for theirs, name in _VALUES.items()}
    embedding = gguf.tensors.get("token_embd.weight")
    values["vocab_size"] = embedding.shape[0] if embedding else None
    values["tie_word_embeddings"] = "output.weight" not in gguf.tensors
    hidden, heads = values["hidden_size"], values["num_attention_heads"]
    known = isinstance(hidden, int) and isinstance(heads, int) and heads > 0
    width = values["head_dim"] or (hidden // heads if known else None)
    turned, factor = (gguf.values.get(f"{kind}.rope.{name}") for name in ("dimension_count", "scale_linear"))
    if turned not in (None, width) or factor not in (None, 1.0):
        raise InputError(
            f"{gguf.file}: tfllm turns whole heads by their positions, unscaled. Received: {turned} of {width} numbers "
            f"of a head, scaled by {factor}."
        )
    values = {name: value for name, value in values.items() if value is not None}
    if _DIVISORS in gguf.tensors:
        values["rope_scaling"] = _read_divisors(gguf, width, values.get("rope_theta", 10_000.0))
    return values


def _read_divisors(gguf: Gguf, width: int | None, base: object) -> dict:
    """The scaling of rotary positions as config.json has it; InputError if it is none of Llama 3.1's and 3.2's."""
    divisors = gguf.tensors[_DIVISORS].read()
    factor = float(divisors.max(initial=1.0))
    known = isinstance(width, int) and divisors.shape == (width // 2,) and isinstance(base, float) and base > 0
    if known and factor > 1:
        scaled = rotary_rates(width, base, RotaryScaling(factor, *_LLAMA3.values()))
        if np.allclose(divisors * scaled, rotary_rates(width, base), rtol=1e-4, atol=0):
            return {"rope_type": SCALED, "factor": factor, **_LLAMA3}
    raise InputError(
        f"{gguf.file}: tfllm reads rotary positions that are scaled as Llama 3.1 and 3.2 do, by {_LLAMA3}. Received "
        f"{_DIVISORS} of another kind."
    )


def _renamed(name: str) -> str:
    """The name that PyTorch's class gives a tensor; the same for one that it has not."""
    parts = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    if parts is None or parts[2] not in _NAMES:
        return name
    module = _NAMES[parts[2]]
    return f"model.layers.{parts[1]}.{module}.{parts[3]}" if parts[1] else f"{module}.{parts[3]}"


def halves_first(tensor: Tensor, heads: int, file: Path) -> Callable[[], np.ndarray]:
    """Read a matrix whose heads have the two numbers of a rotary pair side by side, as one that has them a half apart.

    Source: `permute` of llama.cpp's converter, undone.
    """
    if tensor.shape[0] % (2 * heads):
        raise InputError(f"{file}: {tensor.shape[0]} rows are no pairs of {heads} heads.")
    return lambda: tensor.read().reshape(heads, -1, 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
