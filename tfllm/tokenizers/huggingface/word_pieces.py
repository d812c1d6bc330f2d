"""WordPiece of published checkpoints: BERT and its kin.

In: `tokenizer.json`, or `vocab.txt`. Out: a `WordPieceTokenizer` with the options the files name.
"""

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import Checkpoint, check_kind, check_tokens, need, shown, tokens_by_id
from tfllm.tokenizers.huggingface.special import read_added, read_added_file, read_special, read_wrapping
from tfllm.tokenizers.wordpiece import VOCABULARY_FILE, WordPieceTokenizer

CHARACTERS = 100  # of a word that BERT does not give up on
_NO_NORMALIZER = {"lowercase": False, "strip_accents": False, "clean_text": False, "handle_chinese_chars": False}


def read_document(document: dict, checkpoint: Checkpoint, where: str) -> WordPieceTokenizer:
    """The tokenizer of a `tokenizer.json` whose model is WordPiece."""
    model = document["model"]
    ids = need(model, "vocab", dict, where)
    vocabulary = tokens_by_id({**ids, **read_added(document, ids, where)}, where)
    if model.get("continuing_subword_prefix", "##") != "##":
        raise InputError(f'{where}: continuations must be marked by "##". Received: {shown(model)}.')
    splitter = document.get("pre_tokenizer")
    if splitter is None or check_kind(splitter, dict, f"{where}: `pre_tokenizer`").get("type") != "BertPreTokenizer":
        raise InputError(f"{where}: words must be split by BertPreTokenizer. Received: {shown(splitter)}.")
    normalizer = _NO_NORMALIZER
    if document.get("normalizer") is not None:
        normalizer = check_kind(document["normalizer"], dict, f"{where}: `normalizer`")
        if normalizer.get("type") != "BertNormalizer":
            raise InputError(f"{where}: text must be normalized by BertNormalizer. Received: {shown(normalizer)}.")
    characters = CHARACTERS
    if model.get("max_input_chars_per_word") is not None:
        characters = need(model, "max_input_chars_per_word", int, where)
    unk = need({"unk_token": "[UNK]", **model}, "unk_token", str, where)
    wrapping = read_wrapping(document.get("post_processor"), where)
    return _build(checkpoint, vocabulary, normalizer, characters, unk, wrapping, where)


def read_files(checkpoint: Checkpoint) -> WordPieceTokenizer:
    """The tokenizer of a `vocab.txt`."""
    where = str(checkpoint.files.path / VOCABULARY_FILE)
    lines = checkpoint.files.read_text(VOCABULARY_FILE).removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines):
        lines = [line[:-1] for line in lines]
    vocabulary = lines + read_added_file(checkpoint, len(lines))
    if not checkpoint.option("do_basic_tokenize", bool, True) or checkpoint.settings.get("never_split"):
        raise InputError(f"{where}: tfllm always splits words as BERT does (`do_basic_tokenize`, `never_split`).")
    normalizer = {"lowercase": True, "strip_accents": None, "clean_text": True, "handle_chinese_chars": True}
    return _build(checkpoint, vocabulary, normalizer, CHARACTERS, None, None, where)


def _build(checkpoint, vocabulary, normalizer, characters, unk, wrapping, where) -> WordPieceTokenizer:
    check_tokens(vocabulary, where)
    if any("\n" in token for token in vocabulary):
        raise InputError(f"{where}: a token must not have a line break inside.")
    if not 1 <= characters <= 10_000:
        raise InputError(f"{where}: `max_input_chars_per_word` must be from 1 to 10,000. Received: {characters}.")
    settings = checkpoint.settings  # what they say goes before `tokenizer.json`, also if it is null
    names = {
        "do_lower_case": "lowercase",
        "strip_accents": "strip_accents",
        "tokenize_chinese_chars": "handle_chinese_chars",
    }
    values = {**normalizer, **{ours: settings[theirs] for theirs, ours in names.items() if theirs in settings}}
    options = {
        name: need(values, name, bool, where)
        for name in ("lowercase", "strip_accents", "clean_text", "handle_chinese_chars")
        if name != "strip_accents" or values.get(name) is not None
    }
    options["split_on_cjk"] = options.pop("handle_chinese_chars")
    special = read_special(checkpoint, vocabulary, unk, wrapping)
    return WordPieceTokenizer(vocabulary, **special, **options, max_characters_per_word=characters)
