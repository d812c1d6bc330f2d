"""Offsets of tokens in the text as it was given, in bytes and in characters.

In: byte offsets in the text after malformed UTF-8 was replaced. Out: spans of whole characters in the original.
B texts, C characters of a text, T tokens of a text.
"""

import tensorflow as tf


def spans_in_text(text, valid, starts, ends):
    """Spans of whole characters of `text` for byte spans of `valid`.

    Args:
        text: string (B,). The text as it was given.
        valid: string (B,). The same with each malformed sequence replaced by one character.
        starts: RaggedTensor (B, (T)). First byte of each token in `valid`.
        ends: RaggedTensor (B, (T)). Byte after each token in `valid`.

    Returns:
        (byte_starts, byte_ends, character_starts, character_ends), ragged int32 (B, (T)): starts are moved back and
        ends forward to the nearest character boundary.

    Example: "é!" as bytes C3 A9 21; the token at bytes 0 to 1 of it gets bytes 0 to 2, characters 0 to 1.
    """
    boundaries = _character_boundaries(valid)  # (B, (C + 1))
    originals = _character_boundaries(text).flat_values
    rows = starts.value_rowids()
    # Laid end to end, the boundaries of all texts are one increasing sequence: one binary search serves the batch.
    lengths = _byte_lengths(valid) + 1
    row_bytes = tf.cumsum(lengths, exclusive=True)  # (B,)
    sequence = boundaries.flat_values + tf.gather(row_bytes, boundaries.value_rowids())
    token_bytes = tf.gather(row_bytes, rows)
    first = tf.searchsorted(sequence, _values(starts) + token_bytes, side="right", out_type=tf.int64) - 1
    after = tf.searchsorted(sequence, _values(ends) + token_bytes, side="left", out_type=tf.int64)
    row_characters = tf.gather(boundaries.row_starts(), rows)
    spans = (
        tf.gather(originals, first),
        tf.gather(originals, after),
        first - row_characters,
        after - row_characters,
    )
    return tuple(starts.with_flat_values(tf.cast(span, tf.int32)) for span in spans)


def _character_boundaries(text) -> tf.RaggedTensor:
    """int64 (B, (C + 1)): where each character begins, and the length in bytes."""
    _, starts = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
    return tf.concat([starts, _byte_lengths(text)[:, tf.newaxis]], axis=1)


def _values(offsets: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(offsets.flat_values, tf.int64)


def _byte_lengths(text) -> tf.Tensor:
    return tf.cast(tf.strings.length(text), tf.int64)
