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

from tfllm.tokenizers.code_points import CODE_POINTS, CodePointTable, every_character
from tfllm.tokenizers.neighbours import row_numbers

_PLANE = 0x10000
_NOTHING = -CODE_POINTS - 1
_SEPARATOR = "|"  # a character that is left alone and joins with nothing


class Normalized(NamedTuple):
    """B normalized texts: code points int32 (B, (N)); index of the character each came from, int64 (B, (N))."""

    code_points: tf.RaggedTensor
    sources: tf.RaggedTensor


class BertNormalizer(tf.Module):
    """BERT's three normalizations, each if asked. A code point becomes 0 to 3 others, whatever stands beside it.

    Args:
        lowercase: make letters small.
        strip_accents: NFD, and remove the combining marks. None = as `lowercase`.
        clean_text: remove control characters, and make white space spaces.
    """

    def __init__(self, lowercase: bool, strip_accents: bool | None = None, clean_text: bool = True):
        super().__init__()
        strip_accents = lowercase if strip_accents is None else strip_accents
        self._differences = CodePointTable(_differences(lowercase, strip_accents, clean_text))

    def __call__(self, code_points: tf.RaggedTensor) -> Normalized:
        """Normalize int32 (B, (C))."""
        flat = code_points.flat_values
        replaced = flat[:, tf.newaxis] + self._differences(flat)  # (characters, 3)
        kept = tf.where(replaced >= 0)
        sources = kept[:, 0]  # among the characters of all texts laid end to end
        splits = tf.searchsorted(sources, code_points.row_splits, out_type=tf.int64)
        normalized = tf.RaggedTensor.from_row_splits(tf.gather_nd(replaced, kept), splits, validate=False)
        row_firsts = tf.gather(code_points.row_starts(), row_numbers(normalized))
        return Normalized(normalized, normalized.with_flat_values(sources - row_firsts))


@functools.cache
def _differences(lowercase: bool, strip_accents: bool, clean_text: bool) -> np.ndarray:
    """Code point c becomes those of c + `differences[c]` that are not negative: int32 (1114112, 3)."""
    differences = np.full((CODE_POINTS, 3), _NOTHING, np.int32)
    differences[:, 0] = 0
    reference = normalizers.BertNormalizer(
        clean_text=clean_text, handle_chinese_chars=False, strip_accents=strip_accents, lowercase=lowercase
    )
    for code_point, replacement in enumerate(replacements(reference)):
        if replacement != chr(code_point):
            row = [ord(character) - code_point for character in replacement]
            differences[code_point] = row + [_NOTHING] * (3 - len(row))
    return differences


def replacements(reference: normalizers.Normalizer) -> Iterator[str]:
    """What the reference makes of each code point; surrogates are taken for U+FFFD."""
    characters = every_character()
    characters[ord(_SEPARATOR)] = ""
    for first in range(0, CODE_POINTS, _PLANE):
        plane = reference.normalize_str(_SEPARATOR.join(characters[first : first + _PLANE])).split(_SEPARATOR)
        if first == 0:
            plane[ord(_SEPARATOR)] = _SEPARATOR
        yield from plane
