"""ELECTRA, discriminator and generator: narrow embeddings, no pooler but the classifier's.

Source: Clark et al. 2020, arXiv:2003.10555.
"""

from tfllm.models.pretrained.architecture import (
    BERT_LAYER,
    CONSTANTS,
    Architecture,
    embedding_names,
    read_bert,
    write_bert,
)
from tfllm.models.pretrained.config import Config


def _read(config: Config) -> dict:
    arguments = read_bert(config)
    embedding_dim = config.integer("embedding_size", "width", 128)
    return {**arguments, "embedding_dim": None if embedding_dim == arguments["hidden_dim"] else embedding_dim}


def _write(arguments: dict) -> dict:
    return {**write_bert(arguments), "embedding_size": arguments["embedding_dim"] or arguments["hidden_dim"]}


ELECTRA = Architecture(
    model_type="electra",
    classes="Electra",
    prefix="electra.",
    names={**embedding_names(), **BERT_LAYER, "embedding_projection": "embeddings_project"},
    heads={
        "Model": {},
        "ForMaskedLM": {
            "masked_lm_dense": "generator_predictions.dense",
            "masked_lm_layer_norm": "generator_predictions.LayerNorm",
            "masked_lm_bias": "generator_lm_head",
        },
        "ForSequenceClassification": {"pooled_dense": "classifier.dense", "logits": "classifier.out_proj"},
        "ForTokenClassification": {"logits": "classifier"},
        "ForQuestionAnswering": {"logits": "qa_outputs"},
    },
    pooler="gelu",
    read=_read,
    write=_write,
    is_made_by=lambda arguments: (
        not arguments["relative_buckets"]
        and arguments["num_segments"] > 1
        and not arguments["share_layers"]
        and arguments["embedding_dim"] != arguments["hidden_dim"]  # they have no projection between equal widths
    ),
    head_activation="gelu",
    copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    unused={
        **CONSTANTS,
        r"discriminator_predictions\..*": "the head of replaced-token detection, which no task uses after pretraining",
    },
    kinds={"ForPreTraining": "Model"},
)
