"""Files -> batches: sources, labelled tables, splits, inspection, packing, masking, batches."""

from tfllm.data.augmentation import augment_texts
from tfllm.data.batches import Encoded, GroupedBatches, PackedBatches, TextTargets, TokenTargets
from tfllm.data.causal import causal_lm_dataset
from tfllm.data.classification import classification_batches, classification_dataset, encode_texts, text_dataset
from tfllm.data.denoising import Noise, denoising_dataset, sentinel_ids
from tfllm.data.embedding import EmbeddingBatches, read_pair_table
from tfllm.data.features import FEATURES, check_dataset
from tfllm.data.inspect import check_data
from tfllm.data.multilabel import encode_label_sets, multilabel_batches, read_multilabel_table
from tfllm.data.multiple_choice import Choices, multiple_choice_batches, read_choices
from tfllm.data.prefix import prefix_lm_dataset
from tfllm.data.pretraining import find_records, masked_lm_dataset, read_held_out
from tfllm.data.question_answering import Questions, fold_questions, question_batches, read_questions, split_questions
from tfllm.data.records import write_records
from tfllm.data.records_dataset import check_records, read_records, records_dataset
from tfllm.data.regression import read_scored_table, regression_batches
from tfllm.data.seq2seq import Seq2SeqBatches, read_seq2seq_table
from tfllm.data.sources import expand_paths, read_texts
from tfllm.data.splits import fold_tables, overlap_warning, split_table
from tfllm.data.tables import Table, read_table, write_bad_rows
from tfllm.data.tagged_texts import TaggedTexts, read_tagged_texts
from tfllm.data.tagging import has_whole_words, tagging_batches

__all__ = [
    "FEATURES",
    "Choices",
    "EmbeddingBatches",
    "Encoded",
    "GroupedBatches",
    "Noise",
    "PackedBatches",
    "Questions",
    "Seq2SeqBatches",
    "Table",
    "TaggedTexts",
    "TextTargets",
    "TokenTargets",
    "augment_texts",
    "causal_lm_dataset",
    "check_data",
    "check_dataset",
    "check_records",
    "classification_batches",
    "classification_dataset",
    "denoising_dataset",
    "encode_label_sets",
    "encode_texts",
    "expand_paths",
    "find_records",
    "fold_questions",
    "fold_tables",
    "has_whole_words",
    "masked_lm_dataset",
    "multilabel_batches",
    "multiple_choice_batches",
    "overlap_warning",
    "prefix_lm_dataset",
    "question_batches",
    "read_choices",
    "read_held_out",
    "read_multilabel_table",
    "read_pair_table",
    "read_questions",
    "read_records",
    "read_scored_table",
    "read_seq2seq_table",
    "read_table",
    "read_tagged_texts",
    "read_texts",
    "records_dataset",
    "regression_batches",
    "sentinel_ids",
    "split_questions",
    "split_table",
    "tagging_batches",
    "text_dataset",
    "write_bad_rows",
    "write_records",
]
