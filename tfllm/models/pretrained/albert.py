"""ALBERT: every layer has the same weights, and embeddings are narrow. Source: Lan et al. 2020, arXiv:1909.11942."""

from tfllm.checks import InputError
from tfllm.models.pretrained.architecture import (
    CONSTANTS,
    Architecture,
    embedding_names,
    layer_names,
    read_bert,
    write_bert,
)
from tfllm.models.pretrained.config import Config


def _read(config: Config) -> dict:
    for name in ("num_hidden_groups", "inner_group_num"):
        if config.integer(name, "layers", 1) != 1:
            raise InputError(f"{config.file}: `{name}` must be 1: tfllm shares one layer among all or none.")
    return {
        **read_bert(config, activation="gelu_new"),
        "dropout": config.number("hidden_dropout_prob", default=0.0),
        "embedding_dim": config.integer("embedding_size", "width", 128),
        "share_layers": True,
    }


def _write(arguments: dict) -> dict:
    return {
        **write_bert(arguments),
        "embedding_size": arguments["embedding_dim"],
        "num_hidden_groups": 1,
        "inner_group_num": 1,
    }


ALBERT = Architecture(
    model_type="albert",
    classes="Albert",
    prefix="albert.",
    names={
        **embedding_names(),
        "embedding_projection": "encoder.embedding_hidden_mapping_in",
        **layer_names(
            "encoder.albert_layer_groups.0.albert_layers.0",
            attention=("attention.query", "attention.key", "attention.value", "attention.dense"),
            dense=("ffn", "ffn_output"),
            norms=("attention.LayerNorm", "full_layer_layer_norm"),
        ),
        "pooled_dense": "pooler",
    },
    heads={
        "Model": {},
        "ForMaskedLM": {
            "masked_lm_dense": "predictions.dense",
            "masked_lm_layer_norm": "predictions.LayerNorm",
            "masked_lm_bias": "predictions",
        },
        "ForSequenceClassification": {"logits": "classifier"},
        "ForTokenClassification": {"logits": "classifier"},
        "ForQuestionAnswering": {"logits": "qa_outputs"},
    },
    pooler="tanh",
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        not arguments["relative_buckets"]
        and arguments["num_segments"] > 0
        and arguments["embedding_dim"] is not None
        and arguments["share_layers"]
    ),
    copies={
        "predictions.decoder.weight": "albert.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    unused={
        **CONSTANTS,
        r"sop_classifier\..*": "the head of sentence-order prediction, which no task uses after pretraining",
    },
    kinds={"ForPreTraining": "ForMaskedLM"},
)
