"""Questions with contexts longer than the model -> windows: `[CLS] question [SEP] part of the context [SEP]`.

In: token ids of B questions and B contexts. Out: W windows, at least one for every question, by TensorFlow ops that
TF Serving has, so that training, evaluation and the server cut alike.
T tokens of a window, Q of a question, C of a context.
"""

from typing import NamedTuple

import tensorflow as tf

from tfllm import checks
from tfllm.tokenizers.base import Tokenizer

LARGEST_STRIDE = 128
_QUESTION_SHARE = 3  # a question keeps a third of a window's room at most


class Windows(NamedTuple):
    """W windows, those of a question after one another.

    Attributes:
        token_ids: ragged int32 (W, (T)).
        segment_ids: ragged int32 (W, (T)), 1 from the context on; also where pairs are one segment: it is how
            the span head knows the context, and encoders without segments do not look at it.
        questions: int32 (W,), which of the B questions the window belongs to.
        starts: int32 (W,), the context token the window's part begins with.
        places: int32 (W,), where in the window that token stands.
        lengths: int32 (W,), context tokens in the window.

    Context token c stands in window w at `places[w] + c - starts[w]`, if `starts[w] <= c < starts[w] + lengths[w]`.
    """

    token_ids: tf.RaggedTensor
    segment_ids: tf.RaggedTensor
    questions: tf.Tensor
    starts: tf.Tensor
    places: tf.Tensor
    lengths: tf.Tensor


def default_stride(sequence_length: int) -> int:
    """How many tokens apart windows begin: a third of a window, at most 128."""
    return min(LARGEST_STRIDE, max(1, sequence_length // 3))


def longest_question(tokenizer: Tokenizer, sequence_length: int) -> int:
    """How many tokens of a question are kept: a third of the room for text."""
    return (sequence_length - 2 - tokenizer.pair_separators) // _QUESTION_SHARE


def cut_windows(
    tokenizer: Tokenizer,
    question_ids: tf.RaggedTensor,
    context_ids: tf.RaggedTensor,
    sequence_length: int,
    stride: int | None = None,
) -> Windows:
    """Cut contexts into windows that fit the model; each context token stands in at least one.

    Args:
        tokenizer: what made the ids.
        question_ids, context_ids: int32 (B, (Q)) and (B, (C)), what `tokenize` returned. Questions are cut to
            `longest_question`.
        sequence_length: T at most; at least 8.
        stride: how many tokens apart windows begin; the last one begins earlier, so that it is full. None =
            `default_stride`.

    Example: a context of 10 tokens, room for 6 of them, stride 3 -> tokens 0 to 5, 3 to 8, 4 to 9.
    """
    checks.check_at_least("sequence_length", sequence_length, 8)
    stride = default_stride(sequence_length) if stride is None else stride
    checks.check_at_least("stride", stride, 1)
    question_ids = question_ids[:, : longest_question(tokenizer, sequence_length)]
    question_lengths = tf.cast(question_ids.row_lengths(), tf.int32)  # (B,)
    context_lengths = tf.cast(context_ids.row_lengths(), tf.int32)
    room = sequence_length - 2 - tokenizer.pair_separators - question_lengths
    step = tf.minimum(stride, room)
    beyond = tf.maximum(context_lengths - room, 0)  # tokens that do not fit into the first window
    counts = 1 - (-beyond // step)  # (B,)
    questions = tf.repeat(tf.range(tf.size(counts)), counts)  # (W,)
    number = tf.range(tf.size(questions)) - tf.gather(tf.cumsum(counts, exclusive=True), questions)
    starts = tf.minimum(number * tf.gather(step, questions), tf.gather(beyond, questions))
    lengths = tf.gather(context_lengths - beyond, questions)
    first = tf.gather(tf.cast(context_ids.row_starts(), tf.int32), questions) + starts
    parts = tf.ragged.range(first, first + lengths, row_splits_dtype=tf.int64)
    parts = parts.with_flat_values(tf.gather(context_ids.flat_values, parts.flat_values))
    token_ids, _ = tokenizer.wrap_pair(tf.gather(question_ids, questions), parts, sequence_length)
    places = tf.gather(question_lengths, questions) + 1 + tokenizer.pair_separators
    positions = tf.ragged.range(tf.cast(token_ids.row_lengths(), tf.int32), row_splits_dtype=tf.int64)
    second = positions.flat_values >= tf.gather(places, token_ids.value_rowids())
    return Windows(token_ids, token_ids.with_flat_values(tf.cast(second, tf.int32)), questions, starts, places, lengths)
