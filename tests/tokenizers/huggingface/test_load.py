"""Tokenizers that `transformers` saved, read by us: the same ids, pairs wrapped the same, options obeyed."""

import json
import shutil

import pytest

from tfllm.checks import InputError
from tfllm.tokenizers import ByteBpeTokenizer, SentencePieceTokenizer, WordPieceTokenizer
from tfllm.tokenizers.byte_bpe import BYTE_TO_CHARACTER
from tfllm.tokenizers.huggingface import load_huggingface_tokenizer

TEXTS = [
    "Hello's World,  don't!\n",
    "",
    "  ",
    "Café e\u0301 naïve 中文 ½",
    "``quoted'' 1990, 5",
    "x" * 150,
    "👨‍👩‍👧 ok\tyes",
]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "hello",
    "world",
    "caf",
    "##e",
    "中",
    "文",
    "x",
    "##x",
    ",",
    "Hello",
]
BYTES = list(BYTE_TO_CHARACTER.values())
MERGES = [("H", "e"), ("l", "l"), ("He", "ll"), ("Hell", "o"), ("Ġ", "W"), ("o", "r"), ("x", "x")]
MADE = ["He", "ll", "Hell", "Hello", "ĠW", "or", "xx"]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def save(tokenizer, directory):
    tokenizer.save_pretrained(str(directory))
    return directory


def numbered(tokens):
    return {token: number for number, token in enumerate(tokens)}


def check_same(theirs, ours):
    assert ours.tokenize(TEXTS).to_list() == theirs(TEXTS, add_special_tokens=False)["input_ids"]
    if "cls" in ours.special_tokens and ours.cls_id != ours.sep_id:
        pair = ours.wrap_pair(ours.tokenize("Hello x"), ours.tokenize("World"), 60)
        expected = theirs("Hello x", "World", return_token_type_ids=True)
        assert pair[0].to_list() == [expected["input_ids"]]
        assert pair[1].to_list() == [expected["token_type_ids"]]


@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Electra", "MPNet"])
@pytest.mark.parametrize(
    "options", [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}]
)
def test_word_pieces(transformers, tmp_path, name, options):
    words = WORDS if name != "MPNet" else ["<pad>", "<s>", "</s>", "<mask>", *WORDS]
    theirs = getattr(transformers, f"{name}Tokenizer")(vocab=numbered(words), **options)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    assert isinstance(ours, WordPieceTokenizer)
    assert ours.pair_separators == (2 if name == "MPNet" else 1)
    check_same(theirs, ours)


@pytest.mark.parametrize("prefix", [False, True])
def test_byte_pairs(transformers, tmp_path, prefix):
    vocabulary = numbered(["<s>", "<pad>", "</s>", "<unk>", *BYTES, *MADE, "<mask>"])
    theirs = transformers.RobertaTokenizer(vocab=vocabulary, merges=MERGES, add_prefix_space=prefix)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    assert isinstance(ours, ByteBpeTokenizer)
    assert (ours.add_prefix_space, ours.pair_separators) == (prefix, 2)
    check_same(theirs, ours)


def test_gpt2_has_one_special_token_for_all_tasks(transformers, tmp_path):
    theirs = transformers.GPT2Tokenizer(vocab=numbered([*BYTES, *MADE, "<|endoftext|>"]), merges=MERGES)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    assert set(ours.special_tokens.values()) == {"<|endoftext|>"}
    assert ours.pad_id == ours.cls_id == ours.sep_id == 263
    check_same(theirs, ours)


@pytest.fixture
def pieces(sentencepiece):
    """(piece, score) of a unigram model, and its table of characters."""
    from tfllm.tokenizers.sentencepiece_model import NORMAL, parse_model

    model = parse_model(sentencepiece.model, "the model")
    listed = [(piece.piece, piece.score) for piece in model.pieces if piece.type == NORMAL]
    return listed, model.normalizer_spec.precompiled_charsmap


def test_pieces_of_xlm_roberta(transformers, pieces, tmp_path):
    listed, table = pieces
    first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    theirs = transformers.XLMRobertaTokenizer(vocab=[*first, *listed, ("<mask>", 0.0)], _spm_precompiled_charsmap=table)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    assert isinstance(ours, SentencePieceTokenizer)
    assert [ours.cls_id, ours.pad_id, ours.sep_id, ours.unk_id, ours.mask_id] == [0, 1, 2, 3, 4 + len(listed)]
    check_same(theirs, ours)


@pytest.mark.parametrize("options", [{}, {"do_lower_case": False, "keep_accents": True}])
def test_pieces_of_albert(transformers, pieces, tmp_path, options):
    listed, table = pieces
    first = [(token, 0.0) for token in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    theirs = transformers.AlbertTokenizer(vocab=[*first, *listed], _spm_precompiled_charsmap=table, **options)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    assert (ours.lowercase, ours.strip_accents, ours.join_quotes) == (not options, not options, True)
    assert ours.pair_separators == 1
    check_same(theirs, ours)


def test_without_tokenizer_json_the_other_files_are_read(transformers, tmp_path):
    for name, content in {"a": "\n".join(WORDS), "b": "\r\n".join([*WORDS, ""])}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocab.txt").write_bytes(content.encode())
        assert load_huggingface_tokenizer(tmp_path / name).vocabulary == WORDS
    folder = tmp_path / "c"
    folder.mkdir()
    vocabulary = numbered(["<s>", "<pad>", "</s>", "<unk>", *BYTES, *MADE, "<mask>"])
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    merges = "\n".join(["#version: 0.2", *map(" ".join, MERGES), ""])
    (folder / "merges.txt").write_text(merges, "utf-8")
    ours = load_huggingface_tokenizer(folder)
    assert ours.pair_separators == 2
    check_same(transformers.RobertaTokenizer(vocab=vocabulary, merges=MERGES), ours)


def test_added_tokens_of_slow_tokenizers_follow_the_vocabulary(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    (tmp_path / "special_tokens_map.json").write_text('{"additional_special_tokens": ["[E1]"]}', "utf-8")
    (tmp_path / "added_tokens.json").write_text(f'{{"[E1]": {len(WORDS)}}}', "utf-8")
    assert load_huggingface_tokenizer(tmp_path).vocabulary == [*WORDS, "[E1]"]
    (tmp_path / "special_tokens_map.json").unlink()
    with pytest.raises(InputError, match="searched for the added token"):
        load_huggingface_tokenizer(tmp_path)


def test_a_special_token_that_the_vocabulary_lacks_is_left_out(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(word for word in WORDS if word != "[MASK]"), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"mask_token": "[MASK]"}', "utf-8")
    ours = load_huggingface_tokenizer(tmp_path)
    assert list(ours.special_tokens) == ["pad", "unk", "cls", "sep"]


def test_links_lead_within_the_root_only(tmp_path):
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "a").write_text("\n".join(WORDS), "utf-8")
    (snapshot / "vocab.txt").symlink_to(blobs / "a")
    assert load_huggingface_tokenizer(snapshot, tmp_path / "hub").vocabulary == WORDS
    with pytest.raises(InputError, match="leads out of"):
        load_huggingface_tokenizer(snapshot)


def test_a_loaded_tokenizer_is_saved_and_loaded_as_ours(transformers, tmp_path):
    from tfllm.tokenizers import load_tokenizer

    theirs = transformers.BertTokenizer(vocab=numbered(WORDS), strip_accents=False)
    ours = load_huggingface_tokenizer(save(theirs, tmp_path / "saved"))
    ours.save(tmp_path / "tokenizer")
    again = load_tokenizer(tmp_path / "tokenizer")
    assert again.tokenize(TEXTS).to_list() == ours.tokenize(TEXTS).to_list()
    shutil.rmtree(tmp_path / "tokenizer")
