"""Where words begin, as Llama 3 and Qwen 2 split text, without a regular expression.

In: code points of B texts. Out: for each whether a word begins there. C code points of a text.

Llama 3's regular expression is, in two lines:

    (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|
     ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+

Qwen 2 has `\\p{N}` in place of `\\p{N}{1,3}`. By neighbours:

- letters: a word begins at the first; or at one character before it: white space that is no line break, or a mark that
  is alone and has no space (U+0020) before it;
- numbers: at the first, and then at every third (or each);
- the rest: at the first, or at a space before it; the line breaks right behind belong to it;
- other white space: at its first character, behind its last line break, and at its last character where a word follows;
- an apostrophe that begins a word and s, t, m, d, re, ve or ll after it, in any case, are a word of their own.

Sources: the published `tokenizer.json` of Llama 3 and Qwen 2.
"""

import tensorflow as tf

from tfllm.tokenizers.code_points import CodePointTable
from tfllm.tokenizers.neighbours import after, before, places_in_runs
from tfllm.tokenizers.pre_tokenize import END, LETTER, NUMBER, REST, SPACE, contractions, gpt2_classes, with_ends


class LlamaWords(tf.Module):
    """Finds where Llama 3's words begin; laid end to end they are the whole text.

    Args:
        digits: how many numbers a word has at most: 3, or 1 as Qwen 2 has it.
    """

    def __init__(self, digits: int = 3):
        super().__init__()
        self._classes = CodePointTable(gpt2_classes())
        self._digits = digits

    def __call__(self, code_points: tf.RaggedTensor) -> tf.RaggedTensor:
        """bool (B, (C)) of int32 (B, (C)): True where a word begins."""
        flat, classes = with_ends(code_points, self._classes)
        class_before, class_after = before(classes, 1, END), after(classes, 1, END)
        first = classes != class_before
        behind_space = before(flat, 1, -1) == ord(" ")
        rest_begins = (classes == REST) & first & ~behind_space
        short, long = contractions(flat, any_case=True)
        apart = rest_begins & (flat == ord("'"))
        short, long = short & apart, long & apart
        inside = before(short | long, 1, False) | before(long, 2, False)
        behind = before(short, 2, False) | before(long, 3, False)
        takes_letters = rest_begins & (class_after == LETTER) & ~short & ~long
        letter_begins = (classes == LETTER) & first & ~before(takes_letters, 1, False)
        is_break = (flat == ord("\n")) | (flat == ord("\r"))
        letter_begins &= (class_before != SPACE) | before(is_break, 1, False)
        places = places_in_runs(first | (tf.range(tf.size(flat)) == 0))
        number_begins = (classes == NUMBER) & (places % self._digits == 0)
        starts = rest_begins | letter_begins | number_begins | _space_begins(classes, class_after, is_break)
        starts = (starts & ~inside) | (behind & (classes == LETTER))
        return code_points.with_flat_values(tf.boolean_mask(starts, classes != END))


def _space_begins(classes: tf.Tensor, class_after: tf.Tensor, is_break: tf.Tensor) -> tf.Tensor:
    """Where a word begins with white space: bool (N,)."""
    run_begins = (is_break != before(is_break, 1, False)) | (tf.range(tf.size(is_break)) == 0)
    run_firsts = tf.range(tf.size(is_break, tf.int64)) - places_in_runs(run_begins)
    of_mark = is_break & tf.gather(before(classes, 1, END) == REST, run_firsts)  # line breaks right behind a mark
    space = (classes == SPACE) & ~of_mark
    first = space & ~before(space, 1, False)
    runs = tf.cumsum(tf.cast(first, tf.int32))
    breaks = tf.cumsum(tf.cast(is_break & space, tf.int32))
    count = tf.size(first) + 1
    last = tf.math.unsorted_segment_max(tf.where(space, breaks, 0), runs, count)
    breaks_follow = tf.gather(last, runs) > before(breaks, 1, 0)  # this one included
    behind_last = before(is_break, 1, False) & ~breaks_follow
    word_follows = (class_after != SPACE) & (class_after != END) & ~is_break
    return space & (first | behind_last | word_follows)
