"""Where words begin, as GPT-2 and BERT split text, without a regular expression.

In: code points of B texts. Out: for each whether a word begins there. C code points of a text.

GPT-2's regular expression is `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`.
TensorFlow's RE2 has no look-ahead, and its Unicode changes with its version. But whether a word begins at a character
depends on its neighbours only:

- a letter, a number, or one of the rest begins a word where another class stands before; but a space (U+0020) before
  it belongs to its word;
- white space begins a word where something else stands before, and where a word follows (this may be that space);
- an apostrophe that begins a word and s, t, m, d, re, ve or ll after it are a word of their own.

BERT drops white space, and makes each punctuation mark and each CJK character a word.

Sources: Radford et al. 2019, the published GPT-2 code, `encoder.py`; Devlin et al. 2019, the published BERT code,
`tokenization.py`. Classes of characters are read off the reference (Rust `tokenizers`).
"""

import functools

import numpy as np
import tensorflow as tf
from tokenizers import Regex, normalizers, pre_tokenizers

from tfllm.tokenizers.code_points import CODE_POINTS, CodePointTable, characters
from tfllm.tokenizers.neighbours import after, before
from tfllm.tokenizers.normalize import replacements

REST, LETTER, NUMBER, SPACE, ALONE, END = range(6)
_EXPRESSIONS = {LETTER: r"\p{L}", NUMBER: r"\p{N}", SPACE: r"\s"}
_SHORT, _LONG = "stmd", ("re", "ve", "ll")
_NO_CHARACTER = -1
_PLANES = (range(0x40000), range(0xE0000, 0xF0000))  # the others have no letter, number, mark or white space


class Gpt2Words(tf.Module):
    """Finds where GPT-2's words begin; laid end to end they are the whole text.

    Args:
        digits_alone: each number is a word, before anything else is looked at, as SmolLM2 has it: a space before it is
            no part of it.
    """

    def __init__(self, digits_alone: bool = False):
        super().__init__()
        self._classes = CodePointTable(gpt2_classes())
        self._digits_alone = digits_alone

    def __call__(self, code_points: tf.RaggedTensor) -> tf.RaggedTensor:
        """bool (B, (C)) of int32 (B, (C)): True where a word begins."""
        flat, classes = with_ends(code_points, self._classes)
        if self._digits_alone:
            classes = tf.where(classes == NUMBER, ALONE, classes)
        class_before, class_after = before(classes, 1, END), after(classes, 1, END)
        joined = (before(flat, 1, _NO_CHARACTER) == ord(" ")) & (classes != ALONE)
        changes = (classes != class_before) | (classes == ALONE)
        word_follows = (class_after != SPACE) & (class_after != END) & (class_after != ALONE)
        starts = tf.where(classes == SPACE, changes | word_follows, changes & ~joined)
        short, long = contractions(flat)
        apart = starts & changes & (flat == ord("'"))
        short, long = short & apart, long & apart
        inside = before(short | long, 1, False) | before(long, 2, False)
        behind = before(short, 2, False) | before(long, 3, False)
        return code_points.with_flat_values(tf.boolean_mask((starts & ~inside) | behind, classes != END))


class BertWords(tf.Module):
    """Finds where BERT's words begin, and what is none.

    Args:
        split_on_cjk: each CJK ideograph is a word.
    """

    def __init__(self, split_on_cjk: bool):
        super().__init__()
        self._classes = CodePointTable(_bert_classes(split_on_cjk))

    def __call__(self, code_points: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Of int32 (B, (C)), laid end to end: where a word begins, and what is not white space. Both bool."""
        _, classes = with_ends(code_points, self._classes)
        in_word = classes != SPACE
        begins = in_word & ((classes == ALONE) | (before(classes, 1, END) != REST))
        is_character = classes != END
        return tf.boolean_mask(begins, is_character), tf.boolean_mask(in_word, is_character)


def with_ends(code_points: tf.RaggedTensor, classes: CodePointTable) -> tuple[tf.Tensor, tf.Tensor]:
    """The texts laid end to end, with an end after each so that no neighbour is of another text; and their classes."""
    ends = tf.fill([code_points.nrows(), 1], _NO_CHARACTER)
    flat = tf.concat([code_points, ends], axis=1).flat_values
    return flat, tf.where(flat == _NO_CHARACTER, END, classes(tf.maximum(flat, 0)))


def contractions(flat: tf.Tensor, any_case: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Where one letter of a contraction follows, and where two do; in lower case, or in any."""
    first, second = after(flat, 1, _NO_CHARACTER), after(flat, 2, _NO_CHARACTER)
    if any_case:
        first, second = _in_lower_case(first), _in_lower_case(second)
    short = functools.reduce(tf.logical_or, [first == ord(letter) for letter in _SHORT])
    long = functools.reduce(tf.logical_or, [(first == ord(one)) & (second == ord(other)) for one, other in _LONG])
    return short, long


def _in_lower_case(code_points: tf.Tensor) -> tf.Tensor:
    """The letters A to Z and the long s as a to z and s, all others as they are."""
    small = tf.where((code_points >= ord("A")) & (code_points <= ord("Z")), code_points + 32, code_points)
    return tf.where(code_points == ord("ſ"), ord("s"), small)


@functools.cache
def gpt2_classes() -> np.ndarray:
    """Class of each code point, int32 (1114112,), by the regular expressions of the reference."""
    classes = np.full(CODE_POINTS, REST, np.int32)
    runs = _splitter("|".join(f"{expression}+" for expression in _EXPRESSIONS.values()), "isolated")
    tests = {number: _splitter(expression, "removed") for number, expression in _EXPRESSIONS.items()}
    for planes in _PLANES:
        for run, (first, end) in runs.pre_tokenize_str("".join(characters(planes))):
            for number, test in tests.items():
                if not test.pre_tokenize_str(run[0]):
                    classes[planes.start + first : planes.start + end] = number
    return classes


@functools.cache
def _bert_classes(split_on_cjk: bool) -> np.ndarray:
    """Class of each code point, int32 (1114112,), by BERT's splitter and normalizer in the reference."""
    classes = np.full(CODE_POINTS, REST, np.int32)
    if split_on_cjk:
        spaced = normalizers.BertNormalizer(
            clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        classes[[code_point for code_point, made in replacements(spaced).items() if len(made) == 3]] = ALONE
    for planes in _PLANES:
        text = "".join(f"a{character}" for character in characters(planes))
        is_space = np.ones(len(text), bool)
        for word, (first, end) in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text):
            is_space[first:end] = False
            if word != "a" and end - first == 1:
                classes[planes.start + first // 2] = ALONE
        classes[planes.start : planes.stop][is_space[1::2]] = SPACE
    return classes


def _splitter(expression: str, behavior: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(expression), behavior)
