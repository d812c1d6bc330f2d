"""Llama and those that are built like it: Mistral, Qwen2, Qwen3, SmolLM2.

Source: Touvron et al. 2023, arXiv:2302.13971; Jiang et al. 2023, arXiv:2310.06825; Yang et al. 2024, arXiv:2407.10671,
and 2025, arXiv:2505.09388.
"""

from tfllm.checks import InputError
from tfllm.models.decoder import check_scaling
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import Family

_FIXED = {"positions": "rotary", "norm": "rms", "activation": "swiglu", "normalize_first": True}
_LONGEST_WAVE = 1e12
SCALED = "llama3"  # the one way to scale rotary positions that is read
_SCALING = {  # theirs -> ours
    "factor": "factor",
    "low_freq_factor": "low_frequency_factor",
    "high_freq_factor": "high_frequency_factor",
    "original_max_position_embeddings": "original_length",
}
_QWEN3_HEAD_DIM = 128


def _read_sizes(config: Config) -> dict:
    """What all of them share."""
    config.check_values({"hidden_act": ("silu", None), "partial_rotary_factor": (1.0, 1, None)})
    own = {name: value for name, value in config.values.items() if value is not None}
    given = Config(config.file, own)
    heads = given.integer("num_attention_heads", "heads")
    return {
        "vocabulary_size": given.integer("vocab_size", "vocabulary"),
        "num_layers": given.integer("num_hidden_layers", "layers"),
        "num_heads": heads,
        "num_key_value_heads": given.integer("num_key_value_heads", "heads", heads),
        "head_dim": given.integer("head_dim", "width") if "head_dim" in own else None,
        "hidden_dim": given.integer("hidden_size", "width"),
        "intermediate_dim": given.integer("intermediate_size", "width"),
        "max_sequence_length": given.integer("max_position_embeddings", "positions", 2_048),
        "dropout": 0.0,
        "tie_embeddings": given.truth("tie_word_embeddings", False),
        **_read_rotary(given),
        "norm_epsilon": given.number("rms_norm_eps", default=1e-6),
        **_FIXED,
    }


def _read_rotary(config: Config) -> dict:
    """The arguments of rotary positions, as older and newer files name them."""
    values, kinds = {}, set()
    for name in ("rope_scaling", "rope_parameters"):
        part = config.values.get(name, {})
        if not isinstance(part, dict):
            raise InputError(f"{config.file}: `{name}` must be an object. Received: {part!r:.100}.")
        kind = part.get("rope_type", part.get("type", "default"))
        if kind not in ("default", SCALED):
            raise InputError(
                f"{config.file}: tfllm has no rotary positions of the type {kind!r:.100}, only default and {SCALED}."
            )
        values |= part
        kinds.add(kind)
    values = {name: value for name, value in {**config.values, **values}.items() if value is not None}
    given = Config(config.file, values)
    base = given.number("rope_theta", default=10_000.0, most=_LONGEST_WAVE)
    return {"rotary_base": base, "rotary_scaling": _read_scaling(given) if SCALED in kinds else None}


def _read_scaling(config: Config) -> dict:
    for theirs in _SCALING:
        if theirs not in config.values:
            raise InputError(f"{config.file}: rotary positions of the type {SCALED} need `{theirs}`.")
    found = {ours: config.number(theirs, default=0.0, most=_LONGEST_WAVE) for theirs, ours in _SCALING.items()}
    found["original_length"] = config.integer("original_max_position_embeddings", "positions")
    try:
        check_scaling(found, "rotary")
    except InputError as error:
        raise InputError(f"{config.file}: {error}") from None
    return found


def _read_llama(config: Config) -> dict:
    everywhere = config.truth("attention_bias", False)
    if config.truth("mlp_bias", False) != everywhere:
        raise InputError(f"{config.file}: `attention_bias` and `mlp_bias` must be both true or both false.")
    return {**_read_sizes(config), "biases": "all" if everywhere else "none"}


def _read_mistral(config: Config) -> dict:
    """A token sees the last `sliding_window` tokens: as many as the model then may have, which all see each other."""
    sizes = {**_read_sizes(config), "biases": "none"}
    if config.values.get("sliding_window") is not None:
        window = config.integer("sliding_window", "positions")
        sizes["max_sequence_length"] = min(sizes["max_sequence_length"], window)
    return sizes


def _read_qwen2(config: Config) -> dict:
    config.check_values({"use_sliding_window": (False, None)})
    return {**_read_sizes(config), "biases": "qkv"}


def _read_qwen3(config: Config) -> dict:
    config.check_values({"use_sliding_window": (False, None), "attention_bias": (False, None)})
    config = Config(config.file, {"head_dim": _QWEN3_HEAD_DIM, **config.values})
    return {**_read_sizes(config), "biases": "none", "norm_queries_and_keys": True}


def _write(arguments: dict) -> dict:
    scaling = arguments["rotary_scaling"]
    scaled = {theirs: scaling[ours] for theirs, ours in _SCALING.items()} if scaling else {}
    return {
        "vocab_size": arguments["vocabulary_size"],
        "num_hidden_layers": arguments["num_layers"],
        "num_attention_heads": arguments["num_heads"],
        "num_key_value_heads": arguments["num_key_value_heads"] or arguments["num_heads"],
        "head_dim": arguments["head_dim"] or arguments["hidden_dim"] // arguments["num_heads"],
        "hidden_size": arguments["hidden_dim"],
        "intermediate_size": arguments["intermediate_dim"],
        "max_position_embeddings": arguments["max_sequence_length"],
        "attention_dropout": arguments["dropout"],
        "attention_bias": arguments["biases"] != "none",
        "mlp_bias": arguments["biases"] == "all",
        "hidden_act": "silu",
        "tie_word_embeddings": arguments["tie_embeddings"],
        "rope_theta": arguments["rotary_base"],
        **({"rope_scaling": {"rope_type": SCALED, **scaled}} if scaling else {}),
        "rms_norm_eps": arguments["norm_epsilon"],
    }


def _is_made_by(arguments: dict, *, biases: tuple[str, ...], norm_queries_and_keys: bool = False) -> bool:
    fixed = all(arguments[name] == value for name, value in _FIXED.items())
    return fixed and arguments["biases"] in biases and arguments["norm_queries_and_keys"] == norm_queries_and_keys


LLAMA = Family(
    model_type="llama",
    classes=("LlamaForCausalLM", "LlamaModel"),
    prefix="model.",
    names={
        "token_embedding": ("embed_tokens",),
        "decoder_block_{}/attention_norm": ("layers.{}.input_layernorm",),
        "decoder_block_{}/attention_input": tuple(f"layers.{{}}.self_attn.{name}_proj" for name in "qkv"),
        "decoder_block_{}/attention_output": ("layers.{}.self_attn.o_proj",),
        "decoder_block_{}/feedforward_norm": ("layers.{}.post_attention_layernorm",),
        "decoder_block_{}/feedforward_input": ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"),
        "decoder_block_{}/feedforward_output": ("layers.{}.mlp.down_proj",),
        "final_norm": ("norm",),
    },
    read=_read_llama,
    write=_write,
    is_made_by=lambda arguments: _is_made_by(arguments, biases=("none", "all")),
    unused={r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "the wavelengths of positions, a constant"},
)
QWEN2 = LLAMA._replace(
    model_type="qwen2",
    classes=("Qwen2ForCausalLM", "Qwen2Model"),
    read=_read_qwen2,
    is_made_by=lambda arguments: _is_made_by(arguments, biases=("qkv",)),
)
QWEN3 = LLAMA._replace(
    model_type="qwen3",
    classes=("Qwen3ForCausalLM", "Qwen3Model"),
    names=LLAMA.names
    | {
        "decoder_block_{}/query_norm": ("layers.{}.self_attn.q_norm",),
        "decoder_block_{}/key_norm": ("layers.{}.self_attn.k_norm",),
    },
    read=_read_qwen3,
    is_made_by=lambda arguments: _is_made_by(arguments, biases=("none",), norm_queries_and_keys=True),
)
MISTRAL = LLAMA._replace(
    model_type="mistral",
    classes=("MistralForCausalLM", "MistralModel"),
    read=_read_mistral,
    is_made_by=lambda arguments: False,  # a Llama says the same
)
