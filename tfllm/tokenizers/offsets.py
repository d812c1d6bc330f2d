"""From bytes to characters and back, for whole batches.

In: texts, and positions in them. Out: the same positions in the other unit.
B texts, C characters of a text, T tokens of a text.
"""

import tensorflow as tf

from tfllm.tokenizers.neighbours import row_numbers

_WHITE_SPACE = [code_point for code_point in range(0x3001) if chr(code_point).isspace()]


def character_boundaries(text: tf.Tensor) -> tf.RaggedTensor:
    """Byte at which each character of string (B,) begins, and last the length: int64 (B, (C + 1)).

    Each malformed UTF-8 sequence is one character.
    """
    _, starts = tf.strings.unicode_decode_with_offsets(text, "UTF-8", errors="replace")
    lengths = tf.cast(tf.strings.length(text), tf.int64)
    return tf.concat([starts, lengths[:, tf.newaxis]], axis=1)


def to_characters(boundaries: tf.RaggedTensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor):
    """Spans in characters, int64 (B, (T)), of spans in bytes; starts move back and ends forward to whole characters.

    Example: "é!" as bytes C3 A9 21 has boundaries 0, 2, 3; bytes 0 to 1 are characters 0 to 1.
    """
    # Laid end to end, the boundaries of all texts are one increasing sequence: one binary search serves the batch.
    row_bytes = tf.cumsum(tf.reduce_max(boundaries, axis=1) + 1, exclusive=True)  # (B,)
    sequence = boundaries.flat_values + tf.gather(row_bytes, row_numbers(boundaries))
    rows = row_numbers(starts)
    token_bytes, token_boundaries = tf.gather(row_bytes, rows), tf.gather(boundaries.row_starts(), rows)
    start_bytes, end_bytes = (tf.cast(offsets.flat_values, tf.int64) + token_bytes for offsets in (starts, ends))
    first = tf.searchsorted(sequence, start_bytes, side="right", out_type=tf.int64) - 1
    after = tf.searchsorted(sequence, end_bytes, side="left", out_type=tf.int64)
    return starts.with_flat_values(first - token_boundaries), ends.with_flat_values(after - token_boundaries)


def to_sources(sources: tf.RaggedTensor, lengths: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor):
    """Spans in characters of the texts, int64 (B, (T)), of spans in characters of what they were normalized to.

    Args:
        sources: int64 (B, (N)), the character each normalized one came from.
        lengths: int64 (B,), characters of each text.
        starts, ends: int64 (B, (T)).
    """
    sources = tf.concat([sources, lengths[:, tf.newaxis]], axis=1)
    # A token that ends inside a decomposed character (Hangul) covers the whole character;
    # accents that were removed after its last character belong to it. A piece may cover nothing, before all characters.
    last = tf.where((ends > 0).flat_values, pick(sources, tf.maximum(ends - 1, 0)).flat_values, -1)
    return pick(sources, starts), tf.maximum(ends.with_flat_values(last + 1), pick(sources, ends))


def decode(text: tf.Tensor) -> tf.RaggedTensor:
    """Code points int32 (B, (C)) of string (B,); each malformed UTF-8 sequence is U+FFFD."""
    return tf.strings.unicode_decode(text, "UTF-8", errors="replace")


def encode(code_points: tf.RaggedTensor) -> tf.Tensor:
    """string (B,) of code points int32 (B, (C))."""
    return tf.strings.unicode_encode(code_points, "UTF-8", errors="replace")


def pick(values: tf.RaggedTensor, positions: tf.RaggedTensor) -> tf.RaggedTensor:
    """`values[b, positions[b, t]]` for every b and t: (B, (T))."""
    return positions.with_flat_values(
        tf.gather(values.flat_values, positions.flat_values + tf.gather(values.row_starts(), row_numbers(positions)))
    )


def without_spaces(text: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor):
    """Spans in characters without white space at their borders: both int64 (B, (T)).

    Args:
        text: string (B,).
        starts, ends: (B, (T)), characters.

    Returns:
        Each start moved forward to the next character that is not white space, or the text's end; each end moved back
        to after the last such character, or 0. A span of nothing but white space ends before, or where, it starts.

    Example: "a bc" with spans 0-1 and 1-4 -> 0-1 and 2-4.
    """
    characters = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
    blank = tf.reduce_any(characters.flat_values[:, tf.newaxis] == _WHITE_SPACE, axis=1)
    solid = tf.where(~blank)[:, 0]  # of all texts laid end to end
    padded = tf.concat([[-1], solid, [tf.int64.max]], axis=0)
    rows = row_numbers(starts)
    firsts, limits = tf.gather(characters.row_starts(), rows), tf.gather(characters.row_limits(), rows)
    start_places, end_places = (tf.cast(part.flat_values, tf.int64) + firsts for part in (starts, ends))
    following = tf.gather(padded, tf.searchsorted(solid, start_places, out_type=tf.int64) + 1)
    preceding = tf.gather(padded, tf.searchsorted(solid, end_places, out_type=tf.int64))
    return (
        starts.with_flat_values(tf.minimum(following, limits) - firsts),
        ends.with_flat_values(tf.maximum(preceding + 1, firsts) - firsts),
    )
