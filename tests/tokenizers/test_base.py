"""What holds for every tokenizer: shapes, special tokens, detokenizing, masks of word starts, SavedModels."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.tokenizers import SPECIAL_TOKENS, ByteBpeTokenizer, WordPieceTokenizer, load_tokenizer
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER

STRINGS = tf.TensorSpec([None], tf.string)


def unk_id(tokenizer):
    """-1 for a tokenizer to which no text is unknown."""
    return tokenizer.unk_id if "unk" in tokenizer.special_tokens else -1


def test_special_tokens_have_the_ids_their_names_say(tokenizer):
    assert [tokenizer.vocabulary[i] for i in tokenizer.special_ids] == list(tokenizer.special_tokens.values())
    assert tokenizer.vocabulary[tokenizer.mask_id] == tokenizer.special_tokens["mask"]
    assert tokenizer.vocabulary_size == len(tokenizer.vocabulary) == len(set(tokenizer.vocabulary))


def test_one_string_is_a_batch_of_one(tokenizer):
    ids = tokenizer.tokenize("the cat")
    assert ids.dtype == tf.int32
    assert ids.shape.rank == 2
    assert ids.to_list() == tokenizer.tokenize(["the cat"]).to_list() == tokenizer.tokenize(b"the cat").to_list()
    assert ids.to_list() == tokenizer.tokenize(tf.constant("the cat")).to_list()


def test_no_texts_and_empty_texts_give_no_tokens(tokenizer):
    assert tokenizer.tokenize([]).to_list() == []
    assert tokenizer.tokenize(["", ""]).to_list() == [[], []]
    blank = tokenizer.tokenize([" \t\n"]).to_list()[0]
    assert bool(blank) == (tokenizer.kind == "byte-bpe")  # the only kind that keeps white space as it is
    for field in tokenizer.tokenize_with_offsets(tf.zeros([0], tf.string)):
        assert field.to_list() == []
    for field in tokenizer.tokenize_with_offsets(["", "a", ""]):
        assert field.row_lengths().numpy().tolist() == [0, len(field.to_list()[1]), 0]


def test_text_of_rank_two_is_an_input_error(tokenizer):
    with pytest.raises(InputError, match="rank 1"):
        tokenizer.tokenize(tf.constant([["a"]]))


def test_typed_special_tokens_are_ordinary_text(tokenizer):
    ids = tokenizer.tokenize("[CLS] a [SEP] [MASK][PAD]").to_list()[0]
    assert not set(ids) & (set(tokenizer.special_ids) - {unk_id(tokenizer)})


def test_a_special_token_that_is_not_there_is_an_input_error_where_it_is_needed(byte_bpe):
    with pytest.raises(InputError, match="needs a tokenizer with a unk token"):
        assert byte_bpe.unk_id
    vocabulary = [token for token in SPECIAL_TOKENS if token != "[MASK]"]
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
    tokenizer = WordPieceTokenizer([*vocabulary, "a"], special_tokens=names)
    assert tokenizer.wrap(tokenizer.tokenize("a"), 8).to_list() == [[2, 4, 3]]
    with pytest.raises(InputError, match="needs a tokenizer with a mask token"):
        assert tokenizer.mask_id


def test_without_a_cls_token_only_a_source_is_wrapped():
    names = {"pad": "[PAD]", "unk": "[UNK]", "sep": "[SEP]"}
    tokenizer = WordPieceTokenizer([*names.values(), "a"], special_tokens=names)
    ids = tokenizer.tokenize(["a", "a a a a", ""])
    with pytest.raises(InputError, match="needs a tokenizer with a cls token"):
        tokenizer.wrap(ids, 4)
    assert tokenizer.wrap_source(ids, 4).to_list() == [[3, 2], [3, 3, 3, 2], [2]]


@pytest.mark.parametrize(
    ("special_tokens", "message"),
    [
        ({"unk": "[UNK]"}, "must name a pad token"),
        ({"pad": "[PAD]", "end": "[SEP]"}, "must be one of pad, unk, cls, sep, mask. Received: 'end'"),
        ({"pad": "<pad>"}, "lacks <pad>"),
    ],
)
def test_impossible_special_tokens_are_input_errors(special_tokens, message):
    with pytest.raises(InputError, match=message):
        WordPieceTokenizer([*SPECIAL_TOKENS, "a"], special_tokens=special_tokens)


def test_pairs_can_have_two_separators_and_one_segment(wordpiece, texts, tmp_path):
    tokenizer = WordPieceTokenizer(wordpiece.vocabulary, pair_separators=2)
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    ragged = [tf.ragged.constant(rows, tf.int32, ragged_rank=1) for rows in ([[9] * 6, []], [[8] * 6, [8]])]
    token_ids, segment_ids = tokenizer.wrap_pair(*ragged, 10)
    assert token_ids.to_list() == [[cls, 9, 9, 9, sep, sep, 8, 8, 8, sep], [cls, sep, sep, 8, sep]]
    assert segment_ids.to_list() == [[0] * 10, [0] * 5]
    tokenizer.save(tmp_path / "tokenizer")
    assert load_tokenizer(tmp_path / "tokenizer").pair_separators == 2


def test_one_token_may_have_several_tasks():
    end = "<|endoftext|>"
    tokenizer = ByteBpeTokenizer([*BYTE_TO_CHARACTER.values(), end], [], {"pad": end, "cls": end, "sep": end})
    assert tokenizer.special_ids == [256]
    assert tokenizer.pad_id == tokenizer.cls_id == tokenizer.sep_id == 256
    assert tokenizer.special_tokens == {"pad": end, "cls": end, "sep": end}


def test_half_a_surrogate_pair_in_a_python_string_is_one_character(tokenizer):
    tokens = tokenizer.tokenize_with_offsets("a \ud800 b")
    assert tokens.character_ends.to_list()[0][-1] == 5


def numpy_pair(tokenizer, first, second, sequence_length):
    """Take a token from the longer text, from the second of two equally long ones, until the row fits."""
    first, second = list(first), list(second)
    while len(first) + len(second) > sequence_length - 3:
        (first if len(first) > len(second) else second).pop()
    token_ids = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
    return token_ids, [0] * (len(first) + 2) + [1] * (len(second) + 1)


@pytest.mark.parametrize("sequence_length", [5, 6, 11, 40])
def test_a_pair_is_cut_from_its_longer_text(wordpiece, sequence_length):
    random = np.random.default_rng(sequence_length)
    rows = [([], []), ([], [7] * 50), ([8] * 50, []), ([8] * 50, [7] * 50)]
    rows += [tuple(random.integers(5, 99, random.integers(0, 20)).tolist() for _ in range(2)) for _ in range(300)]
    ragged = [tf.ragged.constant(texts, tf.int32, ragged_rank=1) for texts in zip(*rows, strict=True)]
    token_ids, segment_ids = wordpiece.wrap_pair(*ragged, sequence_length)
    assert token_ids.dtype == segment_ids.dtype == tf.int32
    expected = [numpy_pair(wordpiece, *row, sequence_length) for row in rows]
    assert list(zip(token_ids.to_list(), segment_ids.to_list(), strict=True)) == expected


def test_no_pairs_and_pairs_in_a_graph(wordpiece):
    @tf.function(input_signature=[STRINGS, STRINGS])
    def wrapped(first, second):
        return wordpiece.wrap_pair(wordpiece.tokenize(first), wordpiece.tokenize(second), 9)

    token_ids, segment_ids = wrapped(tf.zeros([0], tf.string), tf.zeros([0], tf.string))
    assert token_ids.to_list() == segment_ids.to_list() == []
    first, second = (wordpiece.tokenize(text).to_list()[0] for text in ("the cat had eaten the fish", "café"))
    token_ids, segment_ids = wrapped(["the cat had eaten the fish"], ["café"])
    expected = numpy_pair(wordpiece, first, second, 9)
    assert (token_ids.to_list()[0], segment_ids.to_list()[0]) == expected


def test_detokenize_leaves_out_special_padding_and_impossible_ids(tokenizer):
    ids = tokenizer.tokenize("the cat").to_list()[0]
    noisy = [[tokenizer.cls_id, *ids, tokenizer.sep_id, tokenizer.pad_id, -1, 10**6, unk_id(tokenizer)]]
    assert tokenizer.detokenize(noisy).numpy().tolist() == [b"the cat"]
    assert tokenizer.detokenize(tf.constant(noisy, tf.int64)).numpy().tolist() == [b"the cat"]
    assert tokenizer.detokenize(tf.ragged.constant([[], *noisy], tf.int32)).numpy().tolist() == [b"", b"the cat"]
    assert tokenizer.detokenize(noisy[0]).numpy().tolist() == [b"the cat"]


def test_detokenize_takes_empty_batches(tokenizer):
    assert tokenizer.detokenize(tf.zeros([0, 3], tf.int32)).numpy().tolist() == []
    assert tokenizer.detokenize(tf.zeros([2, 0], tf.int32)).numpy().tolist() == [b"", b""]
    assert tokenizer.detokenize(tokenizer.tokenize([])).numpy().tolist() == []


def test_detokenize_of_random_ids_is_valid_utf8(tokenizer):
    ids = np.random.default_rng(0).integers(-5, tokenizer.vocabulary_size + 5, (200, 30))
    for text in tokenizer.detokenize(ids).numpy():
        text.decode("utf-8")


def test_ids_survive_a_round_trip(tokenizer, texts):
    texts = [text for text in texts if unk_id(tokenizer) not in tokenizer.tokenize(text).to_list()[0]]
    assert len(texts) >= 7
    ids = tokenizer.tokenize(texts)
    assert tokenizer.tokenize(tokenizer.detokenize(ids)).to_list() == ids.to_list()


def test_word_starts_keeps_the_shape(tokenizer):
    ragged = tokenizer.tokenize(["the cat", "", "belief"])
    assert tokenizer.word_starts(ragged).row_lengths().numpy().tolist() == ragged.row_lengths().numpy().tolist()
    dense = tokenizer.word_starts(ragged.to_tensor(tokenizer.pad_id))
    assert dense.dtype == tf.int32
    assert dense.shape == ragged.to_tensor().shape
    assert tokenizer.word_starts(tf.constant(tokenizer.special_ids)).numpy().tolist() == [1] * len(
        tokenizer.special_ids
    )


class _Served(tf.Module):
    def __init__(self, tokenizer):
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[STRINGS])
    def tokenize(self, text):
        return self.tokenizer.tokenize(text).to_tensor(-1)

    @tf.function(input_signature=[STRINGS])
    def offsets(self, text):
        return [field.to_tensor(-1) for field in self.tokenizer.tokenize_with_offsets(text)]

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def detokenize(self, ids):
        return self.tokenizer.detokenize(ids)


SERVE = """
import sys
import tensorflow as tf, tensorflow_text
for directory in sys.argv[1:4]:
    loaded = tf.saved_model.load(directory)
    ids = loaded.tokenize(tf.constant(sys.argv[4:]))
    print(ids.numpy().tolist(), loaded.detokenize(ids).numpy().tolist())
    print([field.numpy().tolist() for field in loaded.offsets(tf.constant(sys.argv[4:]))])
assert not {"tfllm", "keras_hub", "tokenizers", "sentencepiece"} & set(sys.modules)
"""


@pytest.mark.slow
def test_savedmodels_give_the_same_in_a_process_without_tfllm(wordpiece, sentencepiece, byte_bpe, texts, tmp_path):
    expected = []
    for tokenizer in (wordpiece, sentencepiece, byte_bpe):
        served = _Served(tokenizer)
        tf.saved_model.save(served, str(tmp_path / tokenizer.kind))
        ids = served.tokenize(tf.constant(texts))
        expected.append(f"{ids.numpy().tolist()} {served.detokenize(ids).numpy().tolist()}")
        expected.append(str([field.numpy().tolist() for field in served.offsets(tf.constant(texts))]))
    directories = [str(tmp_path / kind) for kind in ("wordpiece", "sentencepiece", "byte-bpe")]
    run = subprocess.run(
        [sys.executable, "-c", SERVE, *directories, *texts], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.splitlines() == expected


def test_only_core_and_tf_text_ops_that_old_servers_know_are_used(tokenizer):
    served = _Served(tokenizer)
    allowed = {
        "TFText>FastWordpieceTokenizeWithOffsets",
        "TFText>FastWordpieceDetokenize",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceDetokenizeOp",
    }
    for function in (served.tokenize, served.offsets, served.detokenize):
        graph = function.get_concrete_function().graph.as_graph_def()
        nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
        ops = {node.op for node in nodes}
        assert {op for op in ops if "TFText" in op or "Sentencepiece" in op} <= allowed
        assert not {op for op in ops if "PyFunc" in op or "Xla" in op or "HashTable" in op}
