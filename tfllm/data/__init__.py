"""Files -> batches: sources, labelled tables, splits, inspection, packing, masking, batches."""

from tfllm.data.batches import Encoded, GroupedBatches, PackedBatches, TextTargets, TokenTargets
from tfllm.data.classification import classification_batches, classification_dataset, encode_texts, text_dataset
from tfllm.data.features import FEATURES, check_dataset
from tfllm.data.inspect import check_data
from tfllm.data.pretraining import find_records, masked_lm_dataset, read_held_out
from tfllm.data.records import write_records
from tfllm.data.records_dataset import check_records, read_records, records_dataset
from tfllm.data.sources import expand_paths, read_texts
from tfllm.data.splits import fold_tables, overlap_warning, split_table
from tfllm.data.tables import Table, read_table, write_bad_rows
from tfllm.data.tagged_texts import TaggedTexts, read_tagged_texts
from tfllm.data.tagging import tagging_batches

__all__ = [
    "FEATURES",
    "Encoded",
    "GroupedBatches",
    "PackedBatches",
    "Table",
    "TaggedTexts",
    "TextTargets",
    "TokenTargets",
    "check_data",
    "check_dataset",
    "check_records",
    "classification_batches",
    "classification_dataset",
    "encode_texts",
    "expand_paths",
    "find_records",
    "fold_tables",
    "masked_lm_dataset",
    "overlap_warning",
    "read_held_out",
    "read_records",
    "read_table",
    "read_tagged_texts",
    "read_texts",
    "records_dataset",
    "split_table",
    "tagging_batches",
    "text_dataset",
    "write_bad_rows",
    "write_records",
]
