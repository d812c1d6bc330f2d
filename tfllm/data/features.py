"""The batch contract: what stands between data and models, defined once.

B batch, T tokens, M masked positions, S texts in a row. Worked example, two texts `[CLS] a b [SEP]` and `[CLS] c [SEP]`
packed into one row of eight, with `b` masked (ids: [PAD] 0, [CLS] 2, [SEP] 3, [MASK] 4, a 10, b 11, c 12):

    token_ids       2  10   4   3   2  12   3   0
    segment_ids     0   0   0   0   0   0   0   0
    padding_mask    1   1   1   1   2   2   2   0
    mask_positions  2   0
    mask_ids       11   0
    mask_weights    1   0

The same row, nothing masked, for a model that predicts the next token (the row's `token_ids` are 2 10 11 3 2 12 3 0):

    next_ids       10  11   3   2  12   3   0   0
    next_weights    1   1   1   0   1   1   0   0
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfllm.checks import InputError


class Feature(NamedTuple):
    """One named tensor of a batch."""

    dtype: str
    rank: int
    meaning: str


FEATURES = {
    "token_ids": Feature(
        "int32", 2, "(B, T) ids of the tokens, [CLS] and [SEP] included; the padding id where there is none"
    ),
    "segment_ids": Feature("int32", 2, "(B, T) 0 in the first sentence of a text, 1 in the second"),
    "padding_mask": Feature(
        "int32", 2, "(B, T) 0 on padding, k on the k-th text of the row; 1 where a row is one text"
    ),
    "mask_positions": Feature("int32", 2, "(B, M) places in the row that are to be predicted; 0 where unused"),
    "mask_ids": Feature("int32", 2, "(B, M) the original ids at those places; 0 where unused"),
    "mask_weights": Feature("float32", 2, "(B, M) 1 where a place is to be predicted, 0 where unused"),
    "next_ids": Feature("int32", 2, "(B, T) the token after each token of the row; 0 after the last"),
    "next_weights": Feature(
        "float32", 2, "(B, T) 1 where the next token is to be predicted, 0 where it is another text's"
    ),
    "prefix_mask": Feature("int32", 2, "(B, T) 1 on the beginning of a text that all its tokens see, 0 elsewhere"),
    "source_ids": Feature("int32", 2, "(B, S) ids of the tokens of the texts that a model reads before it writes"),
    "source_mask": Feature("int32", 2, "(B, S) as `padding_mask`; the k-th text read belongs to the k-th written"),
    "label_ids": Feature("int32", 1, "(B,) the position of the text's label in the list of labels"),
    "row_label_ids": Feature("int32", 2, "(B, S) those of the texts of a packed row, in their order; 0 where unused"),
    "row_label_weights": Feature("float32", 2, "(B, S) what each text of a packed row counts; 0 where unused"),
}
ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")
MASKED_LM_INPUTS = (*ENCODER_INPUTS, "mask_positions")
DECODER_INPUTS = ("token_ids", "padding_mask")
PREFIX_INPUTS = (*DECODER_INPUTS, "prefix_mask")
SEQ2SEQ_INPUTS = ("source_ids", "source_mask", *DECODER_INPUTS)


def check_dataset(dataset: tf.data.Dataset, *parts: Sequence[str]) -> tf.data.Dataset:
    """Raise InputError unless the dataset's elements keep the contract; returns the dataset.

    Args:
        dataset: elements are (inputs, target, ...).
        parts: for each part of an element, the names of its features: one name stands for a bare tensor.
    """
    specs = dataset.element_spec if len(parts) > 1 else (dataset.element_spec,)
    for spec, names in zip(specs, parts, strict=True):
        named = spec if isinstance(spec, dict) else {names[0]: spec}
        if set(named) != set(names):
            raise InputError(f"A batch must hold {sorted(names)}. Received: {sorted(named)}.")
        for name, tensor in named.items():
            feature = FEATURES[name]
            if tensor.dtype.name != feature.dtype or tensor.shape.rank != feature.rank:
                raise InputError(
                    f"`{name}` must be {feature.dtype} of rank {feature.rank}: {feature.meaning}. "
                    f"Received: {tensor.dtype.name} {tensor.shape}."
                )
    return dataset
