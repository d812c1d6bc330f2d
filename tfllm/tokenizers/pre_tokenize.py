"""Where words begin, as GPT-2's regular expression splits text, without a regular expression.

In: code points of B texts. Out: for each whether a word begins there. C code points of a text.

The expression is `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`. TensorFlow's RE2
has no look-ahead, and its Unicode changes with its version. But whether a word begins at a character depends on its
neighbours only:

- a letter, a number, or one of the rest begins a word where another class stands before; but a space (U+0020) before
  it belongs to its word;
- white space begins a word where something else stands before, and where a word follows (this may be that space);
- an apostrophe that begins a word and s, t, m, d, re, ve or ll after it are a word of their own.

Source: Radford et al. 2019, the published GPT-2 code, `encoder.py`.
"""

import functools

import numpy as np
import tensorflow as tf
from tokenizers import Regex, pre_tokenizers

from tfllm.tokenizers.code_points import CODE_POINTS, CodePointTable, every_character
from tfllm.tokenizers.neighbours import after, before

_REST, _LETTER, _NUMBER, _SPACE, _END = range(5)
_EXPRESSIONS = {_LETTER: r"\p{L}", _NUMBER: r"\p{N}", _SPACE: r"\s"}
_SHORT, _LONG = "stmd", ("re", "ve", "ll")  # in lower case only
_NO_CHARACTER = -1
_PLANES = (range(0x40000), range(0xE0000, 0xF0000))  # the others have no letter, number or white space


class Gpt2Words(tf.Module):
    """Finds where GPT-2's words begin; laid end to end they are the whole text."""

    def __init__(self):
        super().__init__()
        self._classes = CodePointTable(_classes())

    def __call__(self, code_points: tf.RaggedTensor) -> tf.RaggedTensor:
        """bool (B, (C)) of int32 (B, (C)): True where a word begins."""
        ends = tf.fill([code_points.nrows(), 1], _NO_CHARACTER)
        flat = tf.concat([code_points, ends], axis=1).flat_values  # no neighbour is of another text
        is_character = flat != _NO_CHARACTER
        classes = tf.where(is_character, self._classes(tf.maximum(flat, 0)), _END)
        class_before, class_after = before(classes, 1, _END), after(classes, 1, _END)
        joined = before(flat, 1, _NO_CHARACTER) == ord(" ")
        changes = classes != class_before
        word_follows = (class_after != _SPACE) & (class_after != _END)
        starts = tf.where(classes == _SPACE, changes | word_follows, changes & ~joined)
        short, long = _contractions(flat)
        apart = starts & changes & (flat == ord("'"))
        short, long = short & apart, long & apart
        inside = before(short | long, 1, False) | before(long, 2, False)
        behind = before(short, 2, False) | before(long, 3, False)
        return code_points.with_flat_values(tf.boolean_mask((starts & ~inside) | behind, is_character))


def _contractions(flat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where one letter of a contraction follows, and where two do."""
    first, second = after(flat, 1, _NO_CHARACTER), after(flat, 2, _NO_CHARACTER)
    short = functools.reduce(tf.logical_or, [first == ord(letter) for letter in _SHORT])
    long = functools.reduce(tf.logical_or, [(first == ord(one)) & (second == ord(other)) for one, other in _LONG])
    return short, long


@functools.cache
def _classes() -> np.ndarray:
    """Class of each code point, int32 (1114112,), by the regular expressions of the reference (Rust `tokenizers`)."""
    characters = every_character()
    classes = np.full(CODE_POINTS, _REST, np.int32)
    runs = _splitter("|".join(f"{expression}+" for expression in _EXPRESSIONS.values()), "isolated")
    tests = {number: _splitter(expression, "removed") for number, expression in _EXPRESSIONS.items()}
    for planes in _PLANES:
        for run, (first, end) in runs.pre_tokenize_str("".join(characters[planes.start : planes.stop])):
            for number, test in tests.items():
                if not test.pre_tokenize_str(run[0]):
                    classes[planes.start + first : planes.start + end] = number
    return classes


def _splitter(expression: str, behavior: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(expression), behavior)
