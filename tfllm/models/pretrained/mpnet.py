"""MPNet: attention knows distances, no segments, positions from 2 on. Source: Song et al. 2020, arXiv:2004.09297."""

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

_BUCKETS = 32  # whatever config.json says, transformers computes with so many
_PAD_ID = 1


def _read(config: Config) -> dict:
    for name, value in (("relative_attention_num_buckets", _BUCKETS), ("pad_token_id", _PAD_ID)):
        if config.identifier(name, value) != value:
            raise InputError(f"{config.file}: `{name}` must be {value}, the only value with which MPNet is computed.")
    return {**read_bert(config, segments=0), "relative_buckets": _BUCKETS}


def _write(arguments: dict) -> dict:
    values = {**write_bert(arguments), "relative_attention_num_buckets": _BUCKETS}
    del values["type_vocab_size"]
    return values


MPNET = Architecture(
    model_type="mpnet",
    classes="MPNet",
    prefix="mpnet.",
    names={
        **embedding_names(),
        "relative_position_bias": "encoder.relative_attention_bias",
        **layer_names(
            "encoder.layer.{}",
            attention=("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
            dense=("intermediate.dense", "output.dense"),
            norms=("attention.LayerNorm", "output.LayerNorm"),
        ),
        "pooled_dense": "pooler.dense",
    },
    heads={
        "Model": {},
        "ForMaskedLM": {
            "masked_lm_dense": "lm_head.dense",
            "masked_lm_layer_norm": "lm_head.layer_norm",
            "masked_lm_bias": "lm_head",
        },
        "ForSequenceClassification": {"pooled_dense": "classifier.dense", "logits": "classifier.out_proj"},
        "ForTokenClassification": {"logits": "classifier"},
        "ForQuestionAnswering": {"logits": "qa_outputs"},
    },
    pooler="tanh",
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        arguments["relative_buckets"] == _BUCKETS
        and not (arguments["num_segments"] or arguments["embedding_dim"] or arguments["share_layers"])
    ),
    first_position=lambda pad_id: _PAD_ID + 1,
    head_activation="gelu",
    copies={
        "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    unused=CONSTANTS,
)
