"""BERT's normalization and splitting into words for much text at once, in NumPy; in the graph it is wordpiece.py's.

In: texts. Out: code points of the normalized text with white space between its words; how often each character occurs,
and where. The reference (Rust `tokenizers`) is asked once for each distinct code point, and the rest is look-ups, at
several times its speed. Every code point either vanishes, becomes characters that join those beside it, or becomes some
that each stand alone: so the reference answers, with and without lower-casing, for all 1,114,112 of them.
"""

from collections import Counter

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from tfllm.tokenizers.code_points import CODE_POINTS

_UNKNOWN = 255


class BertWords:
    """Sets the words of texts apart.

    Args:
        lowercase: make letters small, and strip accents.
    """

    def __init__(self, lowercase: bool):
        self._normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self._splitter = pre_tokenizers.BertPreTokenizer()
        self._made = np.zeros(0, np.uint32)  # what code points become, one after the other
        self._firsts = np.zeros(CODE_POINTS, np.int64)  # of what each becomes
        self._sizes = np.full(CODE_POINTS, _UNKNOWN, np.uint8)

    def __call__(self, text: str) -> np.ndarray:
        """uint32 code points of a text without lone surrogates: words between spaces, and its newlines."""
        code_points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        sizes = self._sizes[code_points]
        if (sizes == _UNKNOWN).any():
            self._learn(np.unique(code_points[sizes == _UNKNOWN]))
            sizes = self._sizes[code_points]
        ends = np.cumsum(sizes, dtype=np.int64)
        shifts = self._firsts[code_points] - (ends - sizes)
        return self._made[np.repeat(shifts, sizes) + np.arange(sizes.sum(dtype=np.int64))]

    def _learn(self, code_points: np.ndarray) -> None:
        made = [self._make(chr(code_point)) for code_point in code_points]
        self._sizes[code_points] = sizes = [len(one) for one in made]
        self._firsts[code_points] = len(self._made) + np.cumsum(sizes) - sizes
        added = np.frombuffer("".join(made).encode("utf-32-le"), np.uint32)
        self._made = np.concatenate([self._made, added])

    def _make(self, character: str) -> str:
        if character == "\n":
            return character
        normalized = self._normalizer.normalize_str(character)
        if len(self._splitter.pre_tokenize_str(f"a{normalized}a")) == 1:
            return normalized
        return " ".join(["", *(word for word, _ in self._splitter.pre_tokenize_str(normalized)), ""])


class CharacterCounts:
    """Counts the characters of words that are set apart."""

    def __init__(self):
        self._counts = np.zeros((CODE_POINTS, 2), np.int64)  # that begin a word, that stand inside one

    def add(self, words: np.ndarray) -> None:
        """Count what `BertWords` gave; a few MB at once are quickest."""
        inside = (words != ord(" ")) & (words != ord("\n"))
        inside[1:] &= inside[:-1].copy()
        inside[:1] = False
        self._counts += np.bincount(words * 2 + inside, minlength=2 * CODE_POINTS).reshape(-1, 2)

    def occurrences(self) -> tuple[Counter, set[str]]:
        """How often each character occurs; the characters that stand inside words."""
        counts, insiders = Counter(), set()
        for code_point in np.flatnonzero(self._counts.any(axis=1)):
            if not (character := chr(code_point)).isspace():
                counts[character] = int(self._counts[code_point].sum())
                if self._counts[code_point, 1]:
                    insiders.add(character)
        return counts, insiders
