"""Text normalization of BERT and ALBERT as table look-ups in the graph.

In: strings, any bytes. Out: normalized strings, and which character of the input each normalized character came from.
The table is read off the reference implementation (Rust `tokenizers`, which also normalizes the text a vocabulary is
trained on), one code point at a time, so both agree by construction. tensorflow-text's own FastBertNormalizer applies
NFKC case folding, which BERT does not: it would turn "，" into "," and "ß" into "ss".
B texts, C characters of a text, N characters of a normalized text, K characters that one becomes at most.
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tokenizers import normalizers

from tfllm.tokenizers.code_points import CODE_POINTS, CodePointTable, characters
from tfllm.tokenizers.neighbours import after, before, places_in_runs, row_numbers

_PLANE = 0x10000
_PLANES = (0, 0x10000, 0x20000, 0x30000, 0xE0000, 0xF0000, 0x100000)  # in the others there is nothing
_NOTHING = -CODE_POINTS - 1
_SEPARATOR = "¶"  # a character that is left alone, joins with nothing, and is what nothing else becomes


class Normalized(NamedTuple):
    """B normalized texts: code points int32 (B, (N)); index of the character each came from, int64 (B, (N))."""

    code_points: tf.RaggedTensor
    sources: tf.RaggedTensor


class TableNormalizer(tf.Module):
    """Each code point becomes 0 to K others, whatever stands beside it.

    Args:
        differences: int32 (1114112, K); c becomes those of c + `differences[c]` that are not negative.
    """

    def __init__(self, differences: np.ndarray):
        super().__init__()
        self._differences = CodePointTable(differences)

    def __call__(self, code_points: tf.RaggedTensor) -> Normalized:
        """Normalize int32 (B, (C))."""
        flat = code_points.flat_values
        replaced = flat[:, tf.newaxis] + self._differences(flat)  # (characters, K)
        kept = tf.where(replaced >= 0)
        sources = kept[:, 0]  # among the characters of all texts laid end to end
        splits = tf.searchsorted(sources, code_points.row_splits, out_type=tf.int64)
        normalized = tf.RaggedTensor.from_row_splits(tf.gather_nd(replaced, kept), splits, validate=False)
        row_firsts = tf.gather(code_points.row_starts(), row_numbers(normalized))
        return Normalized(normalized, normalized.with_flat_values(sources - row_firsts))


class BertNormalizer(TableNormalizer):
    """BERT's three normalizations, each if asked.

    Args:
        lowercase: make letters small.
        strip_accents: NFD, and remove the combining marks. None = as `lowercase`.
        clean_text: remove control characters, and make white space spaces.
    """

    def __init__(self, lowercase: bool, strip_accents: bool | None = None, clean_text: bool = True):
        super().__init__(
            _bert_differences(lowercase, lowercase if strip_accents is None else strip_accents, clean_text)
        )


class AlbertNormalizer(TableNormalizer):
    """What ALBERT does before SentencePiece, each if asked: `` and '' become ", then letters and accents.

    Args:
        lowercase: make letters small.
        strip_accents: NFKD, and remove the combining marks.
        join_quotes: make a double quote of two single ones.
    """

    def __init__(self, lowercase: bool, strip_accents: bool, join_quotes: bool):
        super().__init__(_albert_differences(lowercase, strip_accents))
        self._join_quotes = join_quotes

    def __call__(self, code_points: tf.RaggedTensor) -> Normalized:
        """Normalize int32 (B, (C)). The second of two joined quotes is nobody's source."""
        if not self._join_quotes:
            return super().__call__(code_points)
        flat, rows = code_points.flat_values, row_numbers(code_points)
        begins = (before(flat, 1, -1) != flat) | (before(rows, 1, tf.constant(-1, rows.dtype)) != rows)
        is_quote = (flat == ord("`")) | (flat == ord("'"))
        first = is_quote & (places_in_runs(begins) % 2 == 0) & ~after(begins, 1, True)
        kept = ~before(first, 1, False)
        joined = tf.ragged.boolean_mask(
            code_points.with_flat_values(tf.where(first, ord('"'), flat)), code_points.with_flat_values(kept)
        )
        normalized, sources = super().__call__(joined)
        places = tf.where(kept)[:, 0]  # of the characters that are left, among those of all texts laid end to end
        rows = row_numbers(sources)
        flat = tf.gather(places, sources.flat_values + tf.gather(joined.row_starts(), rows))
        return Normalized(normalized, sources.with_flat_values(flat - tf.gather(code_points.row_starts(), rows)))


@functools.cache
def _bert_differences(lowercase: bool, strip_accents: bool, clean_text: bool) -> np.ndarray:
    return _differences(
        normalizers.BertNormalizer(
            clean_text=clean_text, handle_chinese_chars=False, strip_accents=strip_accents, lowercase=lowercase
        )
    )


@functools.cache
def _albert_differences(lowercase: bool, strip_accents: bool) -> np.ndarray:
    parts = [normalizers.NFKD(), normalizers.StripAccents()] if strip_accents else []
    return _differences(normalizers.Sequence(parts + [normalizers.Lowercase()] * lowercase))


def _differences(reference: normalizers.Normalizer) -> np.ndarray:
    """The table of a `TableNormalizer` that does what the reference does to single code points."""
    changed = replacements(reference)
    differences = np.full((CODE_POINTS, max(map(len, changed.values()), default=1)), _NOTHING, np.int32)
    differences[:, 0] = 0
    differences[list(changed)] = _NOTHING
    for code_point, replacement in changed.items():
        for place, character in enumerate(replacement):
            differences[code_point, place] = ord(character) - code_point
    return differences


def replacements(reference: normalizers.Normalizer) -> dict[int, str]:
    """What the reference makes of each code point that it changes; surrogates are taken for U+FFFD."""
    changed = {}
    for first in _PLANES:
        given = characters(range(first, first + _PLANE))
        if first == 0:
            given[ord(_SEPARATOR)] = ""
        made = reference.normalize_str(_SEPARATOR.join(given)).split(_SEPARATOR)
        if first == 0:
            made[ord(_SEPARATOR)] = _SEPARATOR
        changed.update((place, one) for place, one in enumerate(made, first) if one != chr(place))
    return changed
