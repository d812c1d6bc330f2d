"""DistilBERT: no segments, no pooler but the classifier's. Source: Sanh et al. 2019, arXiv:1910.01108."""

from tfllm.models.pretrained.architecture import (
    CONSTANTS,
    OUR_ACTIVATIONS,
    Architecture,
    embedding_names,
    layer_names,
)
from tfllm.models.pretrained.config import Config

_EPSILON = 1e-12  # config.json has no other


def _read(config: Config) -> dict:
    return {
        "vocabulary_size": config.integer("vocab_size", "vocabulary"),
        "num_layers": config.integer("n_layers", "layers"),
        "num_heads": config.integer("n_heads", "heads"),
        "hidden_dim": config.integer("dim", "width"),
        "intermediate_dim": config.integer("hidden_dim", "width"),
        "max_sequence_length": config.integer("max_position_embeddings", "positions"),
        "num_segments": 0,
        "dropout": config.number("dropout", default=0.1),
        "activation": config.activation("activation", "gelu"),
        "layer_norm_epsilon": _EPSILON,
    }


def _write(arguments: dict) -> dict:
    return {
        "vocab_size": arguments["vocabulary_size"],
        "n_layers": arguments["num_layers"],
        "n_heads": arguments["num_heads"],
        "dim": arguments["hidden_dim"],
        "hidden_dim": arguments["intermediate_dim"],
        "max_position_embeddings": arguments["max_sequence_length"],
        "dropout": arguments["dropout"],
        "attention_dropout": arguments["dropout"],
        "activation": OUR_ACTIVATIONS[arguments["activation"]],
    }


DISTILBERT = Architecture(
    model_type="distilbert",
    classes="DistilBert",
    prefix="distilbert.",
    names={
        **embedding_names(),
        **layer_names(
            "transformer.layer.{}",
            attention=("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
            dense=("ffn.lin1", "ffn.lin2"),
            norms=("sa_layer_norm", "output_layer_norm"),
        ),
    },
    heads={
        "Model": {},
        "ForMaskedLM": {
            "masked_lm_dense": "vocab_transform",
            "masked_lm_layer_norm": "vocab_layer_norm",
            "masked_lm_bias": "vocab_projector",
        },
        "ForSequenceClassification": {"pooled_dense": "pre_classifier", "logits": "classifier"},
        "ForTokenClassification": {"logits": "classifier"},
        "ForQuestionAnswering": {"logits": "qa_outputs"},
    },
    pooler="relu",
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        not arguments["relative_buckets"]
        and arguments["num_segments"] == 0
        and not arguments["embedding_dim"]
        and not arguments["share_layers"]
        and arguments["layer_norm_epsilon"] == _EPSILON
    ),
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    unused=CONSTANTS,
)
