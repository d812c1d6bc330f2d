"""GPT-2. Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", published code."""

from tfllm.models.pretrained.architecture import OUR_ACTIVATIONS
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.decoders import Family

_USUAL = {  # what makes another model of it
    "scale_attn_weights": (True, None),
    "scale_attn_by_inverse_layer_idx": (False, None),
    "reorder_and_upcast_attn": (False, None),  # rounds otherwise, computes the same
    "tie_word_embeddings": (True, None),
}
_FIXED = {"positions": "learned", "norm": "layer", "biases": "all", "normalize_first": True}


def _read(config: Config) -> dict:
    config.check_values(_USUAL)
    hidden = config.integer("n_embd", "width", 768)
    inner = {} if config.values.get("n_inner") is None else {"n_inner": config.values["n_inner"]}
    return {
        "vocabulary_size": config.integer("vocab_size", "vocabulary", 50_257),
        "num_layers": config.integer("n_layer", "layers", 12),
        "num_heads": config.integer("n_head", "heads", 12),
        "hidden_dim": hidden,
        "intermediate_dim": Config(config.file, inner).integer("n_inner", "width", 4 * hidden),
        "max_sequence_length": config.integer("n_positions", "positions", 1_024),
        "num_key_value_heads": None,
        "head_dim": None,
        "dropout": config.number("resid_pdrop", default=0.1),
        "activation": config.activation("activation_function", "gelu_new"),
        "tie_embeddings": True,
        "norm_epsilon": config.number("layer_norm_epsilon", default=1e-5),
        **_FIXED,
    }


def _write(arguments: dict) -> dict:
    return {
        "vocab_size": arguments["vocabulary_size"],
        "n_layer": arguments["num_layers"],
        "n_head": arguments["num_heads"],
        "n_embd": arguments["hidden_dim"],
        "n_inner": arguments["intermediate_dim"],
        "n_positions": arguments["max_sequence_length"],
        "resid_pdrop": arguments["dropout"],
        "attn_pdrop": arguments["dropout"],
        "embd_pdrop": 0.0,
        "activation_function": OUR_ACTIVATIONS[arguments["activation"]],
        "layer_norm_epsilon": arguments["norm_epsilon"],
        "tie_word_embeddings": True,
    }


GPT2 = Family(
    model_type="gpt2",
    classes=("GPT2LMHeadModel", "GPT2Model"),
    prefix="transformer.",
    names={
        "token_embedding": ("wte",),
        "position_embedding": ("wpe",),
        "decoder_block_{}/attention_norm": ("h.{}.ln_1",),
        "decoder_block_{}/attention_input": ("h.{}.attn.c_attn",),
        "decoder_block_{}/attention_output": ("h.{}.attn.c_proj",),
        "decoder_block_{}/feedforward_norm": ("h.{}.ln_2",),
        "decoder_block_{}/feedforward_input": ("h.{}.mlp.c_fc",),
        "decoder_block_{}/feedforward_output": ("h.{}.mlp.c_proj",),
        "final_norm": ("ln_f",),
    },
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        all(arguments[name] == value for name, value in _FIXED.items())
        and arguments["activation"] in OUR_ACTIVATIONS
        and arguments["tie_embeddings"]
        and not arguments["norm_queries_and_keys"]
        and arguments["num_key_value_heads"] in (None, arguments["num_heads"])
        and (arguments["head_dim"] or 0) * arguments["num_heads"] in (0, arguments["hidden_dim"])
    ),
    inputs_first=True,
    unused={r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias": "which tokens see which, a constant"},
)
