"""tfllm: from raw text to a language model that TF Serving serves, on TensorFlow and Keras 3.

The public names are imported when they are first used, so that `import tfllm`, `tfllm --help` and the local server do
not load Keras.
"""

import importlib

from tfllm.version import __version__

_NAMES = {
    "tfllm.checks": ["InputError"],
    "tfllm.tokenizers": [
        "SentencePieceTokenizer",
        "Tokenizer",
        "WordPieceTokenizer",
        "load_tokenizer",
        "train_sentencepiece",
        "train_wordpiece",
    ],
    "tfllm.tokenizers.chat": ["ChatTemplate"],
    "tfllm.data": [
        "EmbeddingBatches",
        "Noise",
        "Seq2SeqBatches",
        "Table",
        "TaggedTexts",
        "augment_texts",
        "causal_lm_dataset",
        "classification_batches",
        "classification_dataset",
        "denoising_dataset",
        "fold_tables",
        "masked_lm_dataset",
        "multilabel_batches",
        "multiple_choice_batches",
        "prefix_lm_dataset",
        "question_batches",
        "read_choices",
        "read_multilabel_table",
        "read_pair_table",
        "read_questions",
        "read_scored_table",
        "read_seq2seq_table",
        "read_table",
        "read_tagged_texts",
        "read_texts",
        "records_dataset",
        "regression_batches",
        "split_table",
        "tagging_batches",
        "text_dataset",
        "write_records",
    ],
    "tfllm.data.chat": ["ChatBatches"],
    "tfllm.data.conversations": ["read_conversations"],
    "tfllm.data.samples": ["sample_path"],
    "tfllm.models": [
        "DECODER_SIZES",
        "SEQ2SEQ_SIZES",
        "SIZES",
        "add_adapters",
        "add_causal_lm_head",
        "add_choice_head",
        "add_classifier_head",
        "add_embedding_head",
        "add_masked_lm_head",
        "add_multilabel_head",
        "add_next_sentence_head",
        "add_pretraining_heads",
        "add_regression_head",
        "add_seq2seq_head",
        "add_span_head",
        "add_tagger_head",
        "average_models",
        "build_decoder",
        "build_encoder",
        "build_encoder_decoder",
        "load_adapters",
        "load_encoder",
        "load_model",
        "merge_adapters",
        "save_adapters",
        "save_model",
        "set_generation",
        "set_null_threshold",
        "set_pairs",
        "set_thresholds",
    ],
    "tfllm.losses": [
        "ChoiceLoss",
        "ClassificationLoss",
        "CosineLoss",
        "CosineRankLoss",
        "InBatchNegativesLoss",
        "MultilabelLoss",
        "RegressionLoss",
        "SpanLoss",
        "TaggingLoss",
        "causal_lm_loss",
        "masked_lm_loss",
        "next_sentence_loss",
    ],
    "tfllm.training": [
        "Progress",
        "WarmupDecay",
        "adamw",
        "choose_precision",
        "choose_strategy",
        "fine_tune",
        "train_causal_lm",
        "train_classifier",
        "train_masked_lm",
    ],
    "tfllm.evaluation": [
        "baseline_scores",
        "causal_lm_scores",
        "evaluate_causal_lm",
        "evaluate_classifier",
        "evaluate_embedding",
        "evaluate_multilabel",
        "evaluate_multiple_choice",
        "evaluate_question_answering",
        "evaluate_regression",
        "evaluate_seq2seq",
        "evaluate_tagger",
        "masked_lm_scores",
        "pseudo_perplexity",
        "seq2seq_loss",
        "text_scores",
    ],
    "tfllm.evaluation.chat": ["evaluate_chat"],
    "tfllm.generation": ["TextGenerator"],
    "tfllm.export": ["Predictor", "check_savedmodel", "export_savedmodel", "load_generator", "predict_texts"],
    "tfllm.cli.tokenizer": ["train_tokenizer"],
    "tfllm.cli.pretrain": ["pretrain"],
    "tfllm.cli.finetune": ["finetune"],
    "tfllm.cli.import_": ["import_checkpoint"],
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'tfllm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
