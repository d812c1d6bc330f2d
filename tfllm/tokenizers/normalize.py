"""BERT's text normalization as table look-ups in the graph.

In: strings, any bytes. Out: normalized strings, and which character of the input each normalized character came from.
The table is read off the reference implementation (Rust `tokenizers`, which also normalizes the text a vocabulary is
trained on), one code point at a time, so both agree by construction. tensorflow-text's own FastBertNormalizer applies
NFKC case folding, which BERT does not: it would turn "，" into "," and "ß" into "ss".
B texts, C characters of a text, N characters of a normalized text.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

CODE_POINTS = 0x110000
SURROGATES = slice(0xD800, 0xE000)
PLANE = 0x10000
PAGE = 256
NOTHING = -CODE_POINTS - 1
SEPARATOR = "|"  # a character that is left alone and joins with nothing


class Normalized(NamedTuple):
    """B normalized texts: code points int32 (B, (N)); index of the character each came from, int64 (B, (N))."""

    code_points: tf.RaggedTensor
    sources: tf.RaggedTensor


class BertNormalizer(tf.Module):
    """Control characters removed, white space made spaces; with `lowercase`, lower case, NFD, no combining marks.

    A code point becomes 0 to 3 others, whatever stands beside it.
    """

    def __init__(self, lowercase: bool):
        super().__init__()
        self._pages, self._differences = (tf.constant(table) for table in _tables(lowercase))

    def __call__(self, code_points: tf.RaggedTensor) -> Normalized:
        """Normalize int32 (B, (C))."""
        flat = code_points.flat_values
        entries = tf.gather(self._pages, flat // PAGE) * PAGE + flat % PAGE
        replaced = flat[:, tf.newaxis] + tf.gather(self._differences, entries)  # (characters, 3)
        kept = tf.where(replaced >= 0)
        sources = kept[:, 0]  # among the characters of all texts laid end to end
        splits = tf.searchsorted(sources, code_points.row_splits, out_type=tf.int64)
        normalized = tf.RaggedTensor.from_row_splits(tf.gather_nd(replaced, kept), splits, validate=False)
        row_firsts = tf.gather(code_points.row_starts(), normalized.value_rowids())
        return Normalized(normalized, normalized.with_flat_values(sources - row_firsts))


@functools.cache
def _tables(lowercase: bool) -> tuple[np.ndarray, np.ndarray]:
    """`pages` (4352,) and `differences` (pages kept * 256, 3).

    Code point c becomes those of c + `differences[pages[c // 256] * 256 + c % 256]` that are not negative.
    Most pages hold nothing but characters that stay as they are; equal pages are kept once.
    """
    differences = np.full((CODE_POINTS, 3), NOTHING, np.int32)
    differences[:, 0] = 0
    for code_point, replacement in enumerate(_replacements(lowercase)):
        if replacement != chr(code_point):
            row = [ord(character) - code_point for character in replacement]
            differences[code_point] = row + [NOTHING] * (3 - len(row))
    places = {}  # of each page that was kept
    pages = [
        places.setdefault(page.tobytes(), len(places)) for page in differences.reshape(CODE_POINTS // PAGE, PAGE * 3)
    ]
    return np.array(pages, np.int32), np.frombuffer(b"".join(places), np.int32).reshape(-1, 3)


def _replacements(lowercase: bool) -> Iterator[str]:
    """What the reference makes of each code point. The WordPiece op splits CJK characters itself."""
    reference = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=lowercase, lowercase=lowercase
    )
    for first in range(0, CODE_POINTS, PLANE):
        characters = [chr(code_point) for code_point in range(first, first + PLANE)]
        if first == 0:
            characters[SURROGATES] = ["\ufffd"] * (SURROGATES.stop - SURROGATES.start)
            characters[ord(SEPARATOR)] = ""
        replacements = reference.normalize_str(SEPARATOR.join(characters)).split(SEPARATOR)
        if first == 0:
            replacements[ord(SEPARATOR)] = SEPARATOR
        yield from replacements
