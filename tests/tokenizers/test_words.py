"""Which tokens go on with a word, whatever the tokenizer."""

import tensorflow as tf

from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.base import SPECIAL_TOKENS
from tfllm.tokenizers.words import continues_word, word_starts


def test_words_begin_after_white_space_and_at_punctuation_and_cjk_characters():
    begins, solid = word_starts(tf.constant(["ab, 你好c\u3000", "", "x"]))
    assert begins.to_list() == [[True, False, True, False, True, True, True, False], [], [True]]
    assert solid.to_list() == [[True, True, True, False, True, True, True, False], [], [True]]


def test_tokens_inside_a_word_go_on_with_it():
    tokenizer = WordPieceTokenizer([*SPECIAL_TOKENS, "bad", "##ly", ",", "你", "ᄒ", "##ᅡ", "##ᆫ"])
    texts = ["badly, 你bad", "", "한 bad"]
    tokens = tokenizer.tokenize_with_offsets(texts)
    found = continues_word(tf.constant(texts), tokens.character_starts).numpy()
    assert found.tolist() == [False, True, False, False, False, False, True, True, False]
    assert continues_word(tf.constant([""]), tf.ragged.constant([[]], tf.int32)).shape == (0,)
