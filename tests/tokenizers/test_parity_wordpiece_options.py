"""WordPiece with the options of published checkpoints against the Rust `tokenizers`: the same ids, no exception."""

import gzip
import random

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.wordpiece import read_vocabulary

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x20000), *range(0x2A6D0, 0x2BC00), *range(0x2F800, 0x2FA20)]
OPTIONS = {
    "uncased": {"lowercase": True},
    "cased": {"lowercase": False},
    "accents_kept": {"lowercase": True, "strip_accents": False},
    "accents_stripped": {"lowercase": False, "strip_accents": True},
    "not_cleaned": {"lowercase": True, "clean_text": False},
    "chinese_words": {"lowercase": True, "split_on_cjk": False},
    "short_words": {"lowercase": True, "max_characters_per_word": 5},
}


@pytest.fixture(scope="module")
def vocabulary(shared_models):
    return read_vocabulary(shared_models / "bert-base-uncased" / "vocab.txt")


@pytest.fixture(scope="module", params=OPTIONS)
def pair(request, vocabulary):
    """(ours, theirs): the tokenizer, and a function from texts to lists of ids."""
    options = {"max_characters_per_word": 100, "strip_accents": None, **OPTIONS[request.param]}
    most = options["max_characters_per_word"]
    ids = {token: i for i, token in enumerate(vocabulary)}
    rust = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=most))
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=options.get("clean_text", True),
        handle_chinese_chars=options.get("split_on_cjk", True),
        strip_accents=options["strip_accents"],
        lowercase=options["lowercase"],
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ours = WordPieceTokenizer(vocabulary, **options)
    return ours, lambda texts: [encoding.ids for encoding in rust.encode_batch(texts, add_special_tokens=False)]


def test_every_character_inside_a_word_has_the_same_ids(pair):
    ours, theirs = pair
    texts = [
        "".join(f"a{chr(c)}b " for c in CODE_POINTS[first : first + 64]) for first in range(0, len(CODE_POINTS), 64)
    ]
    assert ours.tokenize(texts).to_list() == theirs(texts)


def test_random_strings_have_the_same_ids_with_and_without_offsets(pair):
    ours, theirs = pair
    generator = random.Random(0)
    fragments = [chr(generator.choice(CODE_POINTS)) for _ in range(1000)]
    fragments += 50 * ["a", "Wort", " ", "\u0301", "中", "é", "É", "한", "x" * 100, "x" * 101, "-", "\0", "\x85", "\t"]
    texts = ["".join(generator.choices(fragments, k=generator.randrange(10))) for _ in range(5000)]
    ids = ours.tokenize(texts).to_list()
    assert ids == theirs(texts)
    assert ours.tokenize_with_offsets(texts).ids.to_list() == ids


def test_chinese_text_has_the_same_ids(pair, shared_data):
    ours, theirs = pair
    with gzip.open(shared_data / "tatoeba_en_zh" / "cmn.txt.gz", "rt", encoding="utf-8") as stream:
        texts = stream.read().split("\n")[:3000]
    assert ours.tokenize(texts).to_list() == theirs(texts)
