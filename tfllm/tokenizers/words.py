"""Where words begin in a text, and which tokens go on with one, by BERT's rules, whatever the tokenizer.

White space parts words; each punctuation mark and each CJK character is a word.
B texts, C characters of a text, T tokens of a text, N tokens of all texts.
"""

import functools

import tensorflow as tf

from tfllm.tokenizers.neighbours import before, row_numbers
from tfllm.tokenizers.pre_tokenize import BertWords


def word_starts(text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Of string (B,), for each character: whether a word begins there, and whether it is not white space.

    Both ragged bool (B, (C)).
    """
    characters = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
    return tuple(characters.with_values(part) for part in _words()(characters))


def continues_word(text: tf.Tensor, starts: tf.RaggedTensor) -> tf.Tensor:
    """Which tokens go on with the word of the token before, bool (N,).

    Args:
        text: string (B,).
        starts: (B, (T)), the first character of each token that is not white space, as `without_spaces` gives it.

    Example: "badly, 你好" as bad ##ly , 你 好 -> False True False False False.
    """
    begins, _ = word_starts(text)
    rows = row_numbers(starts)
    start = tf.cast(starts.values, tf.int64)
    first, limit = tf.gather(begins.row_starts(), rows), tf.gather(begins.row_limits(), rows)
    inside = ~tf.gather(begins.values, tf.minimum(first + start, limit - 1))
    same = (start == before(start, 1, tf.constant(-1, tf.int64))) & (rows == before(rows, 1, tf.constant(-1, tf.int64)))
    return inside | same  # of tokens of one character only the first begins a word


@functools.cache
def _words() -> BertWords:
    with tf.init_scope():  # its tables outlive the graph that first asks for them
        return BertWords(split_on_cjk=True)
