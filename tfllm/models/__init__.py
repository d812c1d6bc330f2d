"""Functions that return a functional `keras.Model`: encoder, heads, sizes; saving and loading."""

from tfllm.models.adapters import add_adapters, load_adapters, merge_adapters, save_adapters
from tfllm.models.causal import add_causal_lm_head, set_generation
from tfllm.models.decoder import build_decoder
from tfllm.models.encoder import build_encoder
from tfllm.models.encoder_decoder import build_encoder_decoder
from tfllm.models.ensemble import average_models
from tfllm.models.heads import (
    POOLINGS,
    add_choice_head,
    add_classifier_head,
    add_embedding_head,
    add_masked_lm_head,
    add_multilabel_head,
    add_next_sentence_head,
    add_pretraining_heads,
    add_regression_head,
    packed_classifier,
    set_pairs,
    set_thresholds,
)
from tfllm.models.question_answering import add_span_head, set_null_threshold
from tfllm.models.recipe import check_length, longest_text, read_encoder, read_recipe
from tfllm.models.saving import load_encoder, load_model, save_model
from tfllm.models.seq2seq import add_seq2seq_head
from tfllm.models.sizes import DECODER_SIZES, SEQ2SEQ_SIZES, SIZES
from tfllm.models.tagging import add_tagger_head
from tfllm.models.transformer import recompute_activations

__all__ = [
    "DECODER_SIZES",
    "POOLINGS",
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
    "check_length",
    "load_adapters",
    "load_encoder",
    "load_model",
    "longest_text",
    "merge_adapters",
    "packed_classifier",
    "read_encoder",
    "read_recipe",
    "recompute_activations",
    "save_adapters",
    "save_model",
    "set_generation",
    "set_null_threshold",
    "set_pairs",
    "set_thresholds",
]
