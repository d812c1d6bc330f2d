"""Directories that are broken or mean harm: each a clear error that names the file, soon, with little memory."""

import base64
import json
import os
import re
import resource
import time

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer
from tfllm.tokenizers.sentencepiece_model import CONTROL, NORMAL, UNKNOWN, new_model

MOST_SECONDS = 2.0
MOST_BYTES = 512_000_000
BYTES = list(BYTE_TO_CHARACTER.values())
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
SPLITTER = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}
FAIRSEQ = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("▁a", -1.0, NORMAL)]


def numbered(tokens):
    return {token: number for number, token in enumerate(tokens)}


def word_pieces(vocab=None, **parts):
    """A tokenizer.json with WordPiece."""
    model = {"type": "WordPiece", "unk_token": "[UNK]", "vocab": numbered(BERT) if vocab is None else vocab}
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    whole = {"model": model, "normalizer": normalizer, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    return {"tokenizer.json": {**whole, **parts}}


def byte_pairs(merges=(), tokens=(), model=None, **parts):
    """A tokenizer.json with byte-level BPE."""
    vocab = numbered(["<s>", "<pad>", "</s>", *BYTES, *tokens])
    whole = {"model": {"type": "BPE", "vocab": vocab, "merges": list(merges), **(model or {})}}
    return {"tokenizer.json": {**whole, "pre_tokenizer": {"type": "ByteLevel"}, **parts}}


def pieces(vocab=None, unk_id=3, **parts):
    """A tokenizer.json with a unigram model."""
    usual = [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁a", -1.5]]
    model = {"type": "Unigram", "unk_id": unk_id, "vocab": usual if vocab is None else vocab}
    return {"tokenizer.json": {"model": model, "pre_tokenizer": SPLITTER, **parts}}


def table(content):
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def added(**token):
    return [{"id": 7, "content": "[E]", "special": True, **token}]


def template(single, pair):
    def items(names):
        return [{"Sequence" if name in "AB" else "SpecialToken": {"id": name, "type_id": 0}} for name in names.split()]

    return {"type": "TemplateProcessing", "single": items(single), "pair": items(pair)}


def model_file(list_of_pieces=FAIRSEQ, characters_map=b""):
    return {"sentencepiece.bpe.model": new_model(list_of_pieces, characters_map, False).SerializeToString()}


OUTSIDE_TRIE = (1024).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 256 + b"\0"
HOSTILE = {
    "empty": ({}, "has no tokenizer that tfllm reads"),
    # tokenizer.json as JSON
    "not_json": ({"tokenizer.json": "{"}, "is not valid JSON"),
    "not_utf8": ({"tokenizer.json": b"\xff\xfe"}, "is not valid JSON"),
    "a_list": ({"tokenizer.json": "[]"}, "must be an object"),
    "deep": ({"tokenizer.json": "[" * 100_000}, "nests its JSON too deeply|is not valid JSON"),
    "deep_objects": ({"tokenizer.json": '{"a":' * 100_000}, "nests its JSON too deeply|is not valid JSON"),
    "many_values": ({"tokenizer.json": "[" + "[]," * 4_000_000}, "more than 4,000,000 values"),
    "huge": ({"tokenizer.json": 64_000_001}, "at most 64,000,000 are read"),
    "named_twice": ({"tokenizer.json": '{"model": {}, "model": {}}'}, "'model' is named twice"),
    "not_a_number": ({"tokenizer.json": '{"model": {"vocab": NaN}}'}, "NaN is no number"),
    "giant_number": ({"tokenizer.json": '{"model": ' + "9" * 5000 + "}"}, "is not valid JSON"),
    "no_model": ({"tokenizer.json": {}}, "`model` must be an object"),
    "model_a_list": ({"tokenizer.json": {"model": []}}, "`model` must be an object"),
    "unknown_model": ({"tokenizer.json": {"model": {"type": "WordLevel"}}}, "its model must be one of"),
    "model_type_a_list": ({"tokenizer.json": {"model": {"type": [1]}}}, "its model must be one of"),
    # vocabularies
    "vocabulary_a_list": (word_pieces(vocab=["a"]), "`vocab` must be an object"),
    "no_tokens": (word_pieces(vocab={}), "must have 1 to 1,000,000 tokens"),
    "id_a_word": (word_pieces(vocab={"a": "0"}), "'a' has the id 0"),
    "id_true": (word_pieces(vocab={"a": True}), "'a' has the id True"),
    "id_negative": (word_pieces(vocab={"a": -1}), "'a' has the id -1"),
    "id_enormous": (word_pieces(vocab={"a": 10**18}), "'a' has the id 1000000000000000000"),
    "id_twice": (word_pieces(vocab={"a": 0, "b": 0}), "'b' and 'a' have the id 0"),
    "hole": (word_pieces(vocab={"a": 0, "b": 2}), "'b' has the id 2"),
    "long_token": (word_pieces(vocab=numbered([*BERT, "x" * 1001])), "token 7 has 1,001 characters"),
    "half_a_surrogate": (word_pieces(vocab=numbered([*BERT, "\ud800"])), "half a surrogate pair"),
    "line_break": (word_pieces(vocab=numbered([*BERT, "a\nb"])), "line break inside"),
    "empty_token": (word_pieces(vocab=numbered([*BERT, ""])), "entry 7 is empty"),
    "no_unk": (word_pieces(vocab=numbered(["[PAD]", "a"])), "needs a tokenizer with a unk token"),
    "no_pad": (word_pieces(vocab=numbered(["[UNK]", "a"])), "must name a pad token"),
    # options that are not known
    "regular_expression": (
        word_pieces(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}),
        r"split by BertPreTokenizer.*\(a\+\)\+",
    ),
    "other_normalizer": (word_pieces(normalizer={"type": "NFC"}), "normalized by BertNormalizer.*NFC"),
    "normalizer_a_word": (word_pieces(normalizer="NFC"), "`normalizer` must be an object"),
    "lowercase_a_word": (word_pieces(normalizer={"type": "BertNormalizer", "lowercase": "yes"}), "`lowercase` must be"),
    "other_prefix": (
        {
            "tokenizer.json": {
                "model": {"type": "WordPiece", "continuing_subword_prefix": "@@", "vocab": numbered(BERT)}
            }
        },
        "continuations must be marked",
    ),
    "other_processor": (word_pieces(post_processor={"type": "Magic"}), "does not know the post-processor 'Magic'"),
    "other_template": (
        word_pieces(post_processor=template("A [SEP]", "A B [SEP]")),
        r"wraps pairs as.*A \[SEP\] B \[SEP\]",
    ),
    "template_a_word": (word_pieces(post_processor={"type": "TemplateProcessing", "single": "A"}), "`single` must be"),
    "processors_in_processors": (
        word_pieces(
            post_processor={"type": "Sequence", "processors": [template("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]")] * 2}
        ),
        "wraps texts 2 times",
    ),
    "added_word": (word_pieces(added_tokens=added(special=False)), "searched for the added token"),
    "added_elsewhere": (word_pieces(added_tokens=added(id=70)), "has the id 70"),
    "added_twice": (word_pieces(added_tokens=added(content="a", id=6)), "'a' has the ids 5 and 6"),
    "added_a_word": (word_pieces(added_tokens="[E]"), "`added_tokens` must be a list"),
    "added_without_id": (word_pieces(added_tokens=[{"content": "[E]"}]), "`id` must be a whole number"),
    "code": ({**word_pieces(), "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x.T", None]}}}, "is not run"),
    "pad_a_number": ({**word_pieces(), "tokenizer_config.json": {"pad_token": 3}}, "`pad_token` must be a string"),
    # byte-level BPE
    "merge_of_unknown": (byte_pairs(["a xyz"]), "needs 'xyz', which the vocabulary lacks"),
    "merge_into_unknown": (byte_pairs(["a b"]), "needs 'ab', which the vocabulary lacks"),
    "merge_of_three": (byte_pairs(["a b c"]), "a merge must be two tokens"),
    "merge_a_number": (byte_pairs([7]), "a merge must be two tokens"),
    "merge_of_nothing": (byte_pairs([["a", ""]]), "a merge must be two tokens"),
    "merge_twice": (byte_pairs(["a b", "a b"], ["ab"]), "is there already"),
    "merge_into_special": (byte_pairs(["< s", "<s >"], ["<s"]), "would let text become the special token"),
    "merges_an_object": (byte_pairs(model={"merges": {}}), "`merges` must be a list"),
    "dropout": (byte_pairs(model={"dropout": 0.1}), "has no BPE with `dropout` 0.1"),
    "suffix": (byte_pairs(model={"end_of_word_suffix": "</w>"}), "`end_of_word_suffix` '</w>'"),
    "normalized_bytes": (byte_pairs(normalizer={"type": "NFKC"}), "takes text as it is"),
    "no_splitter": (byte_pairs(pre_tokenizer=None), "`pre_tokenizer` must be an object"),
    "digits": (byte_pairs(pre_tokenizer={"type": "Digits"}), "by ByteLevel.*Digits"),
    "missing_bytes": (
        {"tokenizer.json": {**byte_pairs()["tokenizer.json"], "model": {"vocab": {"<pad>": 0, "a": 1}, "merges": []}}},
        "must hold every byte",
    ),
    "long_tokens": (byte_pairs(tokens=[f"{n:05}" + "x" * 990 for n in range(4_100)]), "at most 4,000,000 are read"),
    "no_merges_file": ({"vocab.json": numbered(BYTES)}, "no merges.txt beside it"),
    "merges_not_utf8": ({"vocab.json": numbered(BYTES), "merges.txt": b"\xff"}, "is not UTF-8"),
    # SentencePiece
    "piece_a_word": (pieces(vocab=["a"]), "a token and its score"),
    "score_a_word": (pieces(vocab=[["a", "b"]]), "a token and its score"),
    "score_infinite": (pieces(vocab=[["a", 1e300]]), "score of a piece must be a number"),
    "unk_elsewhere": (pieces(unk_id=99), "`unk_id` must be the id of a token"),
    "piece_twice": (pieces(vocab=[["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["a", 0], ["a", 0]]), "a"),
    "table_not_base64": (pieces(normalizer={"type": "Precompiled", "precompiled_charsmap": "?"}), "is not base64"),
    "table_too_short": (pieces(normalizer=table(b"ab")), "table of characters is damaged"),
    "table_of_nothing": (pieces(normalizer=table(b"\xff\xff\xff\xff" + b"a" * 100)), "table of characters is damaged"),
    "table_outside": (pieces(normalizer=table(OUTSIDE_TRIE)), "points outside of itself"),
    "replaced_by_expression": (
        pieces(normalizer={"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": ""}),
        "does not know this normalizer",
    ),
    "wrong_order": (
        pieces(
            normalizer={
                "type": "Sequence",
                "normalizers": [{"type": "Lowercase"}, {"type": "NFKD"}, {"type": "StripAccents"}],
            }
        ),
        "does not normalize in this order",
    ),
    "spaces_kept": (pieces(pre_tokenizer=METASPACE), "takes runs of spaces for one"),
    "no_model_file": ({"sentencepiece.bpe.model": b"garbage"}, "is not a SentencePiece model|must have 1 to"),
    "huge_model_file": ({"sentencepiece.bpe.model": 16_000_001}, "at most 16,000,000 are read"),
    "model_table_outside": (model_file(characters_map=OUTSIDE_TRIE), "points outside of itself"),
    "model_score_nan": (model_file([*FAIRSEQ, ("b", float("nan"), NORMAL)]), "must have a finite score"),
    "not_xlm_roberta": (model_file(FAIRSEQ[:1] + FAIRSEQ[3:]), "must begin with <unk>, <s> and </s>"),
    # vocab.txt
    "repeated_line": ({"vocab.txt": "\n".join([*BERT, "a"])}, "entry 7 repeats"),
    "vocabulary_not_utf8": ({"vocab.txt": b"\xff\xfe"}, "is not UTF-8"),
    "other_class": (
        {"vocab.txt": "\n".join(BERT), "tokenizer_config.json": {"tokenizer_class": "BertJapaneseTokenizer"}},
        "Received: BertJapaneseTokenizer",
    ),
    "class_a_number": (
        {"vocab.txt": "a", "tokenizer_config.json": {"tokenizer_class": 3}},
        "`tokenizer_class` must be",
    ),
    "never_split": ({"vocab.txt": "\n".join(BERT), "tokenizer_config.json": {"never_split": ["a b"]}}, "never_split"),
}


def write(folder, files):
    """Strings and objects as text, bytes as they are, a number as a file of that size without content."""
    for name, content in files.items():
        if isinstance(content, int):
            with open(folder / name, "wb") as stream:
                stream.truncate(content)
        else:
            text = content if isinstance(content, str | bytes) else json.dumps(content)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def check_refused(folder, message):
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError) as error:
        load_huggingface_tokenizer(folder)
    assert re.search(message, str(error.value), re.DOTALL), str(error.value)
    assert len(str(error.value)) < 1_000
    assert time.process_time() - start < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < MOST_BYTES


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused(tmp_path, name):
    files, message = HOSTILE[name]
    write(tmp_path, files)
    check_refused(tmp_path, message)


def test_what_the_hostile_ones_are_made_from_is_well(tmp_path):
    for number, files in enumerate((word_pieces(), byte_pairs(["a b"], ["ab"]), pieces(), model_file())):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, files)
        assert load_huggingface_tokenizer(folder).tokenize("a").to_list()[0]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"])
def test_no_link_out_no_pipe_no_directory_and_no_circle_is_read(tmp_path, name):
    (tmp_path / "outside").write_text("{}", "utf-8")
    for number, (spoil, message) in enumerate(
        (
            (lambda file: file.symlink_to(tmp_path / "outside"), "leads out of"),
            (lambda file: file.symlink_to("/dev/zero"), "leads out of"),
            (os.mkfifo, "is not a regular file"),
            (lambda file: file.mkdir(), "is not a regular file"),
            (lambda file: file.symlink_to(file.name), "leads nowhere|is not a regular file"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        spoil(folder / name)
        check_refused(folder, message)


def test_no_directory_is_an_input_error(tmp_path):
    check_refused(tmp_path / "nowhere", "no such directory")
