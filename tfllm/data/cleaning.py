"""Which texts of a corpus to leave out: repeated ones, near repetitions, and those that quote an evaluation set.

In: texts. Out: fingerprints of a few numbers each, and from all fingerprints who goes.

Exact repetition is that of `splits.normal_form`: case, width and white space do not count. For the rest a text is a
list of units: a word, or a single character in scripts that are written without spaces (Chinese, Japanese, Thai, ...).
Punctuation and white space are no units. Example: "Good, GOOD 天气!" -> good good 天 气.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfllm.data.rows import BadRow, file_kind, read_lines, read_rows
from tfllm.data.sources import bad_rows_error, expand_paths
from tfllm.data.splits import normal_form
from tfllm.data.tfds import TfdsSource, read_tfds_rows

if TYPE_CHECKING:
    import datasketch

DEDUPLICATE = ("none", "exact", "near")
REASONS = ("kept", "repeated", "nearly_repeated", "quoting")  # why a text is left out
KEPT, REPEATED, NEARLY_REPEATED, QUOTES = range(4)
_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+")
_SHINGLE = 5  # units in the pieces that near repetitions share
_QUOTE = 13  # units in a row that count as a quotation
_BANDS, _ROWS = 14, 8  # hashes compared together: 77 % of pairs that share 75 % are found, 92 % at 80 %
_PART = 4096  # shingles hashed at a time; bounds memory on long texts
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def units(text: str) -> list[str]:
    """Words, or characters where words are not parted; see the example at the top."""
    return _UNIT.findall(unicodedata.normalize("NFKC", text).casefold())


def ngram_hashes(words: Sequence[str], size: int) -> np.ndarray:
    """uint64 (n,): a hash of each run of `size` units, of the whole when it is shorter; empty without units.

    Example: 7 units, size 5 -> 3 hashes; 2 units -> 1 hash.
    """
    if not words:
        return np.zeros(0, np.uint64)
    size = min(size, len(words))
    hashes = np.fromiter((zlib.crc32(word.encode()) + 1 for word in words), np.uint64, len(words))
    count = len(words) - size + 1
    return _mixed(hashes[place : place + count] for place in range(size))


class Fingerprinter:
    """Texts -> what `left_out` compares. Picklable; the same in every process.

    Args:
        deduplicate: one of DEDUPLICATE.
        quotes: sorted uint64 hashes of what no text may quote, see `read_quotes`.
    """

    def __init__(self, deduplicate: str, quotes: np.ndarray):
        self._quotes = quotes
        self._exact = deduplicate != "none"
        self._bands = _BANDS if deduplicate == "near" else 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """uint64 (texts, columns): 1 where the text quotes, else 0; its hash; then one hash for each band."""
        columns = 1 + self._exact + self._bands
        sketch = None
        if self._bands:
            import datasketch  # takes most of a second

            sketch = datasketch.MinHash(num_perm=_BANDS * _ROWS, seed=1, scheme="affine32", hashfunc=int)
        return np.array([self._one(text, sketch) for text in texts], np.uint64).reshape(len(texts), columns)

    def _one(self, text: str, sketch: "datasketch.MinHash | None") -> list[int]:
        words = units(text) if self._bands or len(self._quotes) else []
        found = [int(len(self._quotes) and self._is_quote(words))]
        if self._exact:
            found.append(_whole_hash(text))
        if self._bands:
            found += _band_hashes(ngram_hashes(words, _SHINGLE), sketch) if words else [found[1]] * self._bands
        return found

    def _is_quote(self, words: list[str]) -> bool:
        grams = ngram_hashes(words, _QUOTE)
        place = np.searchsorted(self._quotes, grams)
        return bool((self._quotes[np.minimum(place, len(self._quotes) - 1)] == grams).any())


def _band_hashes(shingles: np.ndarray, sketch: "datasketch.MinHash") -> list[int]:
    shingles = (np.unique(shingles) & np.uint64(0xFFFFFFFF)).tolist()
    sketch.clear()
    for start in range(0, len(shingles), _PART):
        sketch.update_batch(shingles[start : start + _PART])
    return _mixed(sketch.hashvalues.reshape(_BANDS, _ROWS).T.astype(np.uint64)).tolist()


def _mixed(columns: Iterable[np.ndarray]) -> np.ndarray:
    """uint64 (n,): one hash of the n-th entries of all columns, uint64 (n,) each, in their order."""
    found = np.uint64(0)
    for column in columns:
        found = (found ^ column) * _PRIME
        found ^= found >> np.uint64(29)
    return found


def left_out(columns: Iterable[np.ndarray], texts: int, deduplicate: str) -> np.ndarray:
    """Why each text is left out, uint8 (texts,): KEPT, REPEATED, NEARLY_REPEATED or QUOTES.

    Of texts that are the same the first stays. A text is a near repetition when it shares the hash of any band with a
    text before it. Texts that quote are out first, and repeat nothing.

    Args:
        columns: the columns of the fingerprints, one by one, so that only one is in memory.
        texts: how many there are.
        deduplicate: as given to `Fingerprinter`.
    """
    columns = iter(columns)
    reasons = np.where(next(columns) > 0, QUOTES, KEPT).astype(np.uint8)
    if deduplicate == "none":
        return reasons
    for column, reason in zip(columns, _reasons(), strict=False):
        candidates = np.flatnonzero(reasons != QUOTES)
        _, first = np.unique(column[candidates], return_index=True)
        repeated = np.ones(len(candidates), bool)
        repeated[first] = False
        chosen = candidates[repeated]
        reasons[chosen[reasons[chosen] == KEPT]] = reason
    return reasons


def _reasons() -> Iterator[int]:
    yield REPEATED
    while True:
        yield NEARLY_REPEATED


def read_quotes(paths: str | Path | Sequence[str | Path] | None, encoding: str) -> np.ndarray:
    """What no text of the corpus may quote: the hashes of all 13-grams of all cells of evaluation files, sorted uint64.

    A cell (a line, in plain text) of fewer units counts as a whole: only a text that is nothing else quotes it.

    Raises:
        InputError: a file cannot be read, or a row is malformed.
    """
    hashes = [np.zeros(0, np.uint64)]
    for source in expand_paths(paths) if paths else []:
        hashes += [ngram_hashes(units(cell), _QUOTE) for cell in _cells(source, encoding)]
    return np.unique(np.concatenate(hashes))


def _cells(source: Path | TfdsSource, encoding: str) -> Iterator[str]:
    """Every string of a file, whatever its column is called."""
    if isinstance(source, TfdsSource):
        rows = read_tfds_rows(source)
    elif file_kind(source) in (None, "text"):
        yield from (line for _, line in read_lines(source, encoding))
        return
    else:
        rows = read_rows(source, encoding, header=False)
    for row in rows:
        if isinstance(row, BadRow):
            raise bad_rows_error([row], "Mend it: what it says could not be removed from the corpus.", encoding)
        yield from _strings(list(row.cells.values()))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _whole_hash(text: str) -> int:
    digest = hashlib.blake2b(normal_form(text).encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest)
