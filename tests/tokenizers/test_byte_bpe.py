"""Byte-level BPE: bytes, merges, offsets, prefix spaces, the vocabulary's rules."""

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.tokenizers import ByteBpeTokenizer, load_tokenizer
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER

BYTES = [BYTE_TO_CHARACTER[byte] for byte in range(256)]
SPECIAL = {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
MERGES = [("t", "h"), ("Ġ", "th"), ("Ġth", "e"), ("th", "e")]
TOKENS = ["th", "Ġth", "Ġthe", "the"]


def build(merges=MERGES, tokens=TOKENS, special=SPECIAL, **options):
    return ByteBpeTokenizer([*special.values(), *BYTES, *tokens], merges, special, **options)


def spans(tokenizer, text):
    ids, _, _, starts, ends = (field.to_list()[0] for field in tokenizer.tokenize_with_offsets(text))
    return [(tokenizer.vocabulary[i], text[first:after]) for i, first, after in zip(ids, starts, ends, strict=True)]


def test_bytes_are_written_as_gpt2_writes_them():
    assert [BYTE_TO_CHARACTER[byte] for byte in b"\x00 \n!a\x7f\xa0\xad\xff"] == list("ĀĠĊ!aġłŃÿ")
    assert len(set(BYTES)) == 256


def test_tokens_and_the_text_they_cover():
    assert spans(build(), "the the é") == [("the", "the"), ("Ġthe", " the"), ("Ġ", " "), ("Ã", "é"), ("©", "é")]


def test_a_prefix_space_makes_the_first_word_like_the_others():
    tokenizer = build(add_prefix_space=True)
    assert spans(tokenizer, "the the") == [("Ġthe", "the"), ("Ġthe", " the")]
    assert spans(tokenizer, " the") == [("Ġthe", " the")]
    assert spans(tokenizer, "é") == [("Ġ", ""), ("Ã", "é"), ("©", "é")]
    assert tokenizer.tokenize(["", "the"]).to_list() == [[], [tokenizer.vocabulary.index("Ġthe")]]


def test_any_bytes_come_back(byte_bpe):
    texts = ["\0 \t\r\n  x\u2028", "á̧ e\u0301 👨‍👩‍👧", "<s></s>[MASK]", "\U0010ffff" * 3, " leading and trailing "]
    assert [text.decode() for text in byte_bpe.detokenize(byte_bpe.tokenize(texts)).numpy()] == texts
    noise = np.random.default_rng(0).bytes(5000)
    assert byte_bpe.detokenize(byte_bpe.tokenize(noise)).numpy()[0].decode() == noise.decode("utf-8", "replace")


def test_half_a_character_is_detokenized_as_a_replacement_character(byte_bpe):
    ids = byte_bpe.tokenize("龘").to_list()[0]
    assert byte_bpe.detokenize([ids[:1]]).numpy()[0].decode() == "\ufffd"


def test_repeated_words_have_the_same_tokens_wherever_they_stand(byte_bpe, texts):
    once = byte_bpe.tokenize(texts).to_list()
    assert byte_bpe.tokenize([*texts, *reversed(texts)]).to_list() == once + once[::-1]


def test_word_starts_are_spaces_and_chinese_characters():
    tokenizer = build()
    ids = tokenizer.tokenize("the the 中,").to_list()[0]
    assert [tokenizer.vocabulary[i] for i in ids] == ["the", "Ġthe", "Ġ", "ä", "¸", "Ń", ","]
    assert tokenizer.word_starts([ids]).numpy().tolist() == [[0, 1, 1, 1, 0, 0, 0]]


def test_bytes_that_are_missing_are_unknown():
    special = {**SPECIAL, "unk": "<unk>"}
    tokenizer = ByteBpeTokenizer([*special.values(), "a", "b", "ab"], [("a", "b")], special)
    tokens = tokenizer.tokenize_with_offsets("abéa")
    assert [tokenizer.vocabulary[i] for i in tokens.ids.to_list()[0]] == ["ab", "<unk>", "<unk>", "a"]
    assert tokens.character_ends.to_list() == [[2, 3, 3, 4]]
    assert tokenizer.detokenize(tokens.ids).numpy().tolist() == [b"aba"]


def test_what_is_saved_loads(tmp_path):
    tokenizer = build(add_prefix_space=True, pair_separators=2)
    tokenizer.save(tmp_path / "tokenizer")
    loaded = load_tokenizer(tmp_path / "tokenizer")
    assert (loaded.add_prefix_space, loaded.pair_separators, loaded.special_tokens) == (True, 2, SPECIAL)
    assert loaded.tokenize("the thethe").to_list() == tokenizer.tokenize("the thethe").to_list()
    lines = (tmp_path / "tokenizer" / "merges.txt").read_text("utf-8").split("\n")
    assert lines == ["#version: 0.2", "t h", "Ġ th", "Ġth e", "th e", ""]


@pytest.mark.parametrize(
    ("merges", "tokens", "message"),
    [
        ([("t", "h"), ("t", "h")], ["th"], "Merge 1 is there already. Received: 't h'"),
        ([("t", "x")], ["th"], "Merge 0 needs 'tx', which the vocabulary lacks"),
        ([("th", "e")], ["the"], "Merge 0 needs 'th', which the vocabulary lacks"),
        ([("t", "h", "e")], ["the"], "Merge 0 is not a pair of tokens"),
        ([("<", "s"), ("<s", ">")], ["<s"], "Merge 1 would let text become the special token '<s>'"),
    ],
)
def test_an_unusable_merge_is_an_input_error(merges, tokens, message):
    with pytest.raises(InputError, match=message):
        build(merges, tokens)


def test_an_unusable_vocabulary_is_an_input_error():
    with pytest.raises(InputError, match=r"or the tokenizer needs an unk token\. Missing: 255"):
        ByteBpeTokenizer(["<pad>", "a"], [], {"pad": "<pad>"})
    with pytest.raises(InputError, match="A byte cannot be a special token, or text would become one"):
        ByteBpeTokenizer(BYTES, [], {"pad": "!"})
    with pytest.raises(InputError, match="entry 5 repeats"):
        ByteBpeTokenizer([*SPECIAL.values(), "a", "a"], [], SPECIAL)


def test_a_giant_word_is_merged_in_few_steps(byte_bpe, monkeypatch):
    steps = []
    find = byte_bpe._merge._find
    monkeypatch.setattr(byte_bpe._merge, "_find", lambda *state: steps.append(1) or find(*state))
    letters = np.random.default_rng(0).integers(97, 123, 100_000, np.uint8).tobytes()
    ids = byte_bpe.tokenize([letters, "cat"])
    assert len(steps) < 15
    assert byte_bpe.detokenize(ids).numpy().tolist() == [letters, b"cat"]


def test_nothing_is_kept_from_one_call_to_the_next(byte_bpe):
    graph = tf.function(byte_bpe.tokenize).get_concrete_function(tf.TensorSpec([None], tf.string)).graph.as_graph_def()
    ops = {node.op for node in [*graph.node, *(node for body in graph.library.function for node in body.node_def)]}
    assert not {op for op in ops if "Table" in op or "Variable" in op or "PyFunc" in op or "Xla" in op}
