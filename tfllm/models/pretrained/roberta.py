"""RoBERTa and XLM-R. Source: Liu et al. 2019, arXiv:1907.11692; Conneau et al. 2020, arXiv:1911.02116.

Their position table begins with the rows of the padding and of what stands before it in the vocabulary: the first token
has the row after that of the padding's id. Here the table begins with the first token's.
"""

from tfllm.models.pretrained.architecture import (
    BERT_LAYER,
    CONSTANTS,
    Architecture,
    embedding_names,
    read_bert,
    write_bert,
)

ROBERTA = Architecture(
    model_type="roberta",
    classes="Roberta",
    prefix="roberta.",
    names={**embedding_names(), **BERT_LAYER, "pooled_dense": "pooler.dense"},
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
    read=read_bert,
    write=write_bert,
    is_made_by=lambda arguments: (
        not arguments["relative_buckets"]
        and arguments["num_segments"] == 1
        and not arguments["embedding_dim"]
        and not arguments["share_layers"]
    ),
    first_position=lambda pad_id: pad_id + 1,
    head_activation="gelu",
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
    unused=CONSTANTS,
)
XLM_ROBERTA = ROBERTA._replace(model_type="xlm-roberta", classes="XLMRoberta")
