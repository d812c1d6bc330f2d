"""T5, and T5 1.1 with its kin (Flan-T5).

Its attention scores are not divided by the root of the heads' width, which is multiplied into the queries' matrices
here. Where the matrix of the token embedding gives the logits, T5 divides them by the root of the width; here the
matrix is divided, and what is read from it multiplied again.

Source: Raffel et al. 2020, arXiv:1910.10683; Shazeer 2020, arXiv:2002.05202, for the gated activations of 1.1.
"""

import math
from collections.abc import Mapping

from tfllm.checks import InputError
from tfllm.models.decoder_parts import GATED
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import HEAD
from tfllm.models.pretrained.encoder_decoders import Seq2SeqFamily, differs
from tfllm.models.pretrained.tensors import Tensor
from tfllm.models.relative import FARTHEST

LONGEST = 16_384  # distances have no end; so many tokens are more than memory takes
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gated-gelu": "geglu", "gated-silu": "swiglu"}  # theirs -> ours
_OURS = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
_FIXED = {
    "positions": "relative",
    "norm": "rms",
    "biases": "none",
    "normalize_first": True,
    "normalize_embeddings": False,
    "logits_bias": False,
}
_USUAL = {"relative_attention_max_distance": (FARTHEST, None), "is_decoder": (False, None)}


def _read(config: Config, tensors: Mapping[str, Tensor]) -> dict:
    config.check_values(_USUAL)
    own = Config(config.file, {name: value for name, value in config.values.items() if value is not None})
    activation = own.values.get("feed_forward_proj", "relu")
    if activation not in _ACTIVATIONS:
        raise InputError(
            f"{config.file}: `feed_forward_proj` must be one of {', '.join(_ACTIVATIONS)}. "
            f"Received: {activation!r:.100}."
        )
    layers = own.integer("num_layers", "layers", 6)
    # Files of transformers 5 call the matrices of T5 1.1 tied and say by another name that logits are not scaled.
    scaled = own.truth("scale_decoder_outputs", own.truth("tie_word_embeddings", True))
    return {
        "vocabulary_size": own.integer("vocab_size", "vocabulary", 32_128),
        "num_layers": layers,
        "num_decoder_layers": own.integer("num_decoder_layers", "layers", layers),
        "num_heads": own.integer("num_heads", "heads", 8),
        "num_key_value_heads": None,
        "head_dim": own.integer("d_kv", "width", 64),
        "hidden_dim": own.integer("d_model", "width", 512),
        "intermediate_dim": own.integer("d_ff", "width", 2_048),
        "max_sequence_length": LONGEST,
        "relative_buckets": own.integer("relative_attention_num_buckets", "width", 32),
        "dropout": own.number("dropout_rate", default=0.1),
        "activation": _ACTIVATIONS[activation],
        "tie_embeddings": scaled or not differs(tensors, HEAD, "shared.weight"),
        "scale_embeddings": scaled,
        "norm_epsilon": own.number("layer_norm_epsilon", default=1e-6),
        **_FIXED,
    }


def _write(arguments: dict) -> dict:
    scaled = arguments["tie_embeddings"] and arguments["scale_embeddings"]
    return {
        "vocab_size": arguments["vocabulary_size"],
        "num_layers": arguments["num_layers"],
        "num_decoder_layers": arguments["num_decoder_layers"],
        "num_heads": arguments["num_heads"],
        "d_kv": arguments["head_dim"] or arguments["hidden_dim"] // arguments["num_heads"],
        "d_model": arguments["hidden_dim"],
        "d_ff": arguments["intermediate_dim"],
        "relative_attention_num_buckets": arguments["relative_buckets"],
        "relative_attention_max_distance": FARTHEST,
        "dropout_rate": arguments["dropout"],
        "feed_forward_proj": _OURS[arguments["activation"]],
        "tie_word_embeddings": scaled,
        "layer_norm_epsilon": arguments["norm_epsilon"],
    }


def _names(arguments: dict) -> dict[str, tuple[str, ...]]:
    names = {
        "token_embedding": ("shared",),
        "source_relative_bias": ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias",),
        "relative_bias": ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias",),
        "encoder_norm": ("encoder.final_layer_norm",),
        "final_norm": ("decoder.final_layer_norm",),
    }
    inner = ("wi_0", "wi_1") if arguments["activation"] in GATED else ("wi",)
    for part, last in (("encoder", 1), ("decoder", 2)):
        ours, theirs = f"{part}_block_{{}}", f"{part}.block.{{}}.layer"
        names |= {
            f"{ours}/attention_norm": (f"{theirs}.0.layer_norm",),
            f"{ours}/attention_input": tuple(f"{theirs}.0.SelfAttention.{name}" for name in "qkv"),
            f"{ours}/attention_output": (f"{theirs}.0.SelfAttention.o",),
            f"{ours}/feedforward_norm": (f"{theirs}.{last}.layer_norm",),
            f"{ours}/feedforward_input": tuple(f"{theirs}.{last}.DenseReluDense.{name}" for name in inner),
            f"{ours}/feedforward_output": (f"{theirs}.{last}.DenseReluDense.wo",),
        }
    source = "decoder.block.{}.layer.1"
    return names | {
        "source_keys_{}/dense": tuple(f"{source}.EncDecAttention.{name}" for name in "kv"),
        "decoder_block_{}/source_query": (f"{source}.EncDecAttention.q",),
        "decoder_block_{}/source_output": (f"{source}.EncDecAttention.o",),
        "decoder_block_{}/source_norm": (f"{source}.layer_norm",),
    }


def _factors(arguments: dict) -> dict[str, float]:
    hidden = arguments["hidden_dim"]
    factors = {r".*Attention\.q\.weight": math.sqrt(arguments["head_dim"] or hidden // arguments["num_heads"])}
    return factors | ({r"shared\.weight": hidden**-0.5} if arguments["scale_embeddings"] else {})


T5 = Seq2SeqFamily(
    model_type="t5",
    classes=("T5ForConditionalGeneration", "T5Model"),
    prefix="",
    names=_names,
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        all(arguments[name] == value for name, value in _FIXED.items())
        and arguments["activation"] in _OURS
        and arguments["num_key_value_heads"] in (None, arguments["num_heads"])
    ),
    start=("pad",),
    copies=("encoder.embed_tokens", "decoder.embed_tokens"),
    factors=_factors,
    unused={r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight": "no class reads it"},
)
