"""BART and Marian.

Source: Lewis et al. 2020, arXiv:1910.13461; Junczys-Dowmunt et al. 2018, arXiv:1804.00344.
"""

from collections.abc import Mapping

from tfllm.models.pretrained.architecture import OUR_ACTIVATIONS
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.encoder_decoders import Seq2SeqFamily, has_logits_bias, one_size
from tfllm.models.pretrained.tensors import Tensor

_FIXED = {
    "positions": "learned",
    "norm": "layer",
    "norm_epsilon": 1e-5,
    "biases": "all",
    "normalize_first": False,
    "normalize_embeddings": True,
    "tie_embeddings": True,
}
_UNUSED = {r"(model\.)?(en|de)coder\.version": "the version of a file format"}
_USUAL = {"tie_word_embeddings": (True, None), "is_decoder": (False, None)}


def _read(config: Config, tensors: Mapping[str, Tensor]) -> dict:
    config.check_values(_USUAL)
    own = Config(config.file, {name: value for name, value in config.values.items() if value is not None})
    layers = own.integer("encoder_layers", "layers")
    return {
        "vocabulary_size": own.integer("vocab_size", "vocabulary"),
        "num_layers": layers,
        "num_decoder_layers": own.integer("decoder_layers", "layers"),
        "num_heads": one_size(own, ("encoder_attention_heads", "decoder_attention_heads"), "heads"),
        "num_key_value_heads": None,
        "head_dim": None,
        "hidden_dim": own.integer("d_model", "width"),
        "intermediate_dim": one_size(own, ("encoder_ffn_dim", "decoder_ffn_dim"), "width"),
        "max_sequence_length": own.integer("max_position_embeddings", "positions"),
        "dropout": own.number("dropout", default=0.1),
        "activation": own.activation("activation_function", "gelu"),
        "scale_embeddings": own.truth("scale_embedding", False),
        "logits_bias": has_logits_bias(tensors),
        **_FIXED,
    }


def _write(arguments: dict) -> dict:
    return {
        "vocab_size": arguments["vocabulary_size"],
        "encoder_layers": arguments["num_layers"],
        "decoder_layers": arguments["num_decoder_layers"],
        "encoder_attention_heads": arguments["num_heads"],
        "decoder_attention_heads": arguments["num_heads"],
        "d_model": arguments["hidden_dim"],
        "encoder_ffn_dim": arguments["intermediate_dim"],
        "decoder_ffn_dim": arguments["intermediate_dim"],
        "max_position_embeddings": arguments["max_sequence_length"],
        "dropout": arguments["dropout"],
        "attention_dropout": arguments["dropout"],
        "activation_dropout": 0.0,
        "activation_function": OUR_ACTIVATIONS[arguments["activation"]],
        "scale_embedding": arguments["scale_embeddings"],
        "tie_word_embeddings": True,
    }


def _names(arguments: dict) -> dict[str, tuple[str, ...]]:
    names = {"token_embedding": ("shared",)}
    for part, prefix in (("encoder", "source_"), ("decoder", "")):
        ours, theirs = f"{part}_block_{{}}", f"{part}.layers.{{}}"
        names |= {
            f"{prefix}position_embedding": (f"{part}.embed_positions",),
            f"{prefix}embedding_norm": (f"{part}.layernorm_embedding",),
            f"{ours}/attention_input": tuple(f"{theirs}.self_attn.{name}_proj" for name in "qkv"),
            f"{ours}/attention_output": (f"{theirs}.self_attn.out_proj",),
            f"{ours}/attention_norm": (f"{theirs}.self_attn_layer_norm",),
            f"{ours}/feedforward_input": (f"{theirs}.fc1",),
            f"{ours}/feedforward_output": (f"{theirs}.fc2",),
            f"{ours}/feedforward_norm": (f"{theirs}.final_layer_norm",),
        }
    source = "decoder.layers.{}.encoder_attn"
    return names | {
        "source_keys_{}/dense": tuple(f"{source}.{name}_proj" for name in "kv"),
        "decoder_block_{}/source_query": (f"{source}.q_proj",),
        "decoder_block_{}/source_output": (f"{source}.out_proj",),
        "decoder_block_{}/source_norm": (f"{source}_layer_norm",),
    }


def _is_made_by(arguments: dict, fixed: Mapping) -> bool:
    return (
        all(arguments[name] == value for name, value in fixed.items())
        and arguments["activation"] in OUR_ACTIVATIONS
        and arguments["num_key_value_heads"] in (None, arguments["num_heads"])
        and (arguments["head_dim"] or 0) * arguments["num_heads"] in (0, arguments["hidden_dim"])
    )


BART = Seq2SeqFamily(
    model_type="bart",
    classes=("BartForConditionalGeneration", "BartModel"),
    prefix="model.",
    names=_names,
    read=_read,
    write=_write,
    is_made_by=lambda arguments: _is_made_by(arguments, _FIXED),
    start=("sep", "cls"),
    copies=("encoder.embed_tokens", "decoder.embed_tokens"),
    first_position=2,
    unused=_UNUSED,
)


_MARIAN = {**_FIXED, "positions": "sinusoidal", "normalize_embeddings": False}


def _read_marian(config: Config, tensors: Mapping[str, Tensor]) -> dict:
    config.check_values({"share_encoder_decoder_embeddings": (True, None)})
    size = config.values.get("vocab_size")
    config.check_values({"decoder_vocab_size": (size, None)})
    return {**_read(config, tensors), **_MARIAN}


MARIAN = BART._replace(
    model_type="marian",
    classes=("MarianMTModel", "MarianModel"),
    read=_read_marian,
    write=lambda arguments: {**_write(arguments), "share_encoder_decoder_embeddings": True},
    is_made_by=lambda arguments: _is_made_by(arguments, _MARIAN),
    start=("pad",),
    first_position=0,
    unused=_UNUSED | {r"(model\.)?(en|de)coder\.embed_positions\.weight": "sines and cosines, which are computed"},
)
