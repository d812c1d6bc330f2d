"""BERT. Source: Devlin et al. 2019, arXiv:1810.04805."""

from tfllm.models.pretrained.architecture import (
    BERT_LAYER,
    CONSTANTS,
    Architecture,
    embedding_names,
    read_bert,
    write_bert,
)

BERT = Architecture(
    model_type="bert",
    classes="Bert",
    prefix="bert.",
    names={**embedding_names(), **BERT_LAYER, "pooled_dense": "pooler.dense"},
    heads={
        "Model": {},
        "ForMaskedLM": {
            "masked_lm_dense": "cls.predictions.transform.dense",
            "masked_lm_layer_norm": "cls.predictions.transform.LayerNorm",
            "masked_lm_bias": "cls.predictions",
        },
        "ForSequenceClassification": {"logits": "classifier"},
        "ForTokenClassification": {"logits": "classifier"},
        "ForQuestionAnswering": {"logits": "qa_outputs"},
    },
    pooler="tanh",
    read=read_bert,
    write=write_bert,
    is_made_by=lambda arguments: (
        not arguments["relative_buckets"]
        and arguments["num_segments"] > 1
        and not arguments["embedding_dim"]
        and not arguments["share_layers"]
    ),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    unused={
        **CONSTANTS,
        r"cls\.seq_relationship\..*": "the head of next-sentence prediction, which no task uses after pretraining",
    },
    kinds={"ForPreTraining": "ForMaskedLM"},
)
