"""Byte-level BPE of published checkpoints: GPT-2, RoBERTa and their kin.

In: `tokenizer.json`, or `vocab.json` and `merges.txt`. Out: a `ByteBpeTokenizer`.
"""

from tfllm.checks import InputError
from tfllm.tokenizers.byte_bpe import MERGES_FILE, VOCABULARY_FILE, ByteBpeTokenizer
from tfllm.tokenizers.huggingface.files import Checkpoint, check_kind, check_tokens, need, shown, tokens_by_id
from tfllm.tokenizers.huggingface.special import Wrapping, read_added, read_added_file, read_special, read_wrapping
from tfllm.tokenizers.recover_merges import recover_merges

GPT2_END = "<|endoftext|>"
_LLAMA3 = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
)
EXPRESSIONS = {"llama3": _LLAMA3, "qwen2": _LLAMA3.replace("{1,3}", "")}  # by the names in `WORDS`
MOST_CHARACTERS = 4_000_000  # of all tokens; the largest published vocabularies have 2 million
_USUAL = {  # options of the model, and the values with which it is the usual one
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}


def read_document(document: dict, checkpoint: Checkpoint, where: str) -> ByteBpeTokenizer:
    """The tokenizer of a `tokenizer.json` whose model is BPE."""
    model = document["model"]
    for name, usual in _USUAL.items():
        if model.get(name) not in usual:
            raise InputError(f"{where}: tfllm has no BPE with `{name}` {shown(repr(model[name]))}.")
    if document.get("normalizer") not in (None, {"type": "NFC"}):
        raise InputError(
            f"{where}: byte-level BPE takes text as it is, or in form NFC. Received: {shown(document['normalizer'])}."
        )
    words, level = _read_splitter(document.get("pre_tokenizer"), where)
    ids = need(model, "vocab", dict, where)
    added = read_added(document, ids, where, marks=True)
    vocabulary = tokens_by_id({**ids, **added}, where)
    merges = [_pair(merge, where) for merge in need(model, "merges", list, where)]
    whole_words = model.get("ignore_merges") is not None and need(model, "ignore_merges", bool, where)
    if whole_words and (bare := [token for token in added if not any(map(str.isalnum, token))]):
        raise InputError(f"{where}: with `ignore_merges`, text would become the added token {shown(repr(bare[0]))}.")
    prefix = need({"add_prefix_space": False, **level}, "add_prefix_space", bool, where)
    unk = model.get("unk_token") and need(model, "unk_token", str, where)
    wrapping = read_wrapping(document.get("post_processor"), where)
    options = {"words": words, "compose": document.get("normalizer") is not None, "whole_words": whole_words}
    tokenizer = _build(checkpoint, vocabulary, merges, prefix, unk, wrapping, where, **options)
    tokenizer.set_prompts(begin=wrapping is not None)
    return tokenizer


def _read_splitter(splitter: object, where: str) -> tuple[str, dict]:
    """How words are split, by a name in `WORDS`, and the ByteLevel part; InputError for another way.

    An expression in the file is compared with the known ones, and never run.
    """
    check_kind(splitter, dict, f"{where}: `pre_tokenizer`")
    parts = need(splitter, "pretokenizers", list, where) if splitter.get("type") == "Sequence" else [splitter]
    kinds = [check_kind(part, dict, f"{where}: a pre-tokenizer").get("type") for part in parts]
    level, splits = parts[-1] if parts else {}, parts[-1:] and parts[-1].get("use_regex", True) is True
    if kinds == ["ByteLevel"] and splits:
        return "gpt2", level
    if kinds == ["Digits", "ByteLevel"] and splits and parts[0].get("individual_digits") is True:
        return "gpt2-digits", level
    if kinds == ["Split", "ByteLevel"] and not splits:
        split = {"behavior": "Isolated", "invert": False, **parts[0]}
        pattern = check_kind(split.get("pattern"), dict, f"{where}: `pattern`").get("Regex")
        for name, known in EXPRESSIONS.items():
            if pattern == known and split["behavior"] == "Isolated" and split["invert"] is False:
                return name, level
    raise InputError(
        f"{where}: words must be split as GPT-2, SmolLM2, Llama 3 or Qwen 2 do, by ByteLevel. Received: "
        f"{shown(splitter)}."
    )


def read_files(checkpoint: Checkpoint) -> ByteBpeTokenizer:
    """The tokenizer of a `vocab.json` and a `merges.txt`."""
    where = str(checkpoint.files.path / VOCABULARY_FILE)
    vocabulary = tokens_by_id(checkpoint.files.read_json(VOCABULARY_FILE), where)
    vocabulary += read_added_file(checkpoint, len(vocabulary))
    text = checkpoint.files.read_text(MERGES_FILE)
    if text is None:
        raise InputError(f"{where}: there is no {MERGES_FILE} beside it, which says how words are put together.")
    lines = text.rstrip("\n").split("\n")
    merges = [line.removesuffix("\r") for line in lines[lines[0].startswith("#version") :]]
    pairs = [_pair(merge, str(checkpoint.files.path / MERGES_FILE)) for merge in merges]
    tokenizer = _build(checkpoint, vocabulary, pairs, False, None, None, where)
    tokenizer.set_prompts(begin=tokenizer.special_tokens.get("cls") != GPT2_END)
    return tokenizer


def _build(
    checkpoint: Checkpoint,
    vocabulary: list[str],
    merges: list[tuple[str, str]],
    prefix: bool,
    unk: str | None,
    wrapping: Wrapping | None,
    where: str,
    **options,
) -> ByteBpeTokenizer:
    check_tokens(vocabulary, where)
    characters = sum(map(len, vocabulary))
    if characters > MOST_CHARACTERS:
        raise InputError(f"{where}: its tokens have {characters:,} characters; at most {MOST_CHARACTERS:,} are read.")
    if options.get("whole_words"):
        merges = recover_merges(merges, vocabulary)
    special = read_special(checkpoint, vocabulary, unk, wrapping)
    prefix = checkpoint.option("add_prefix_space", bool, prefix)
    return ByteBpeTokenizer(vocabulary, merges, **special, add_prefix_space=prefix, **options)


def _pair(merge: object, where: str) -> tuple[str, str]:
    """The two tokens of a merge, written as "a b" or ["a", "b"]."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if type(parts) is not list or len(parts) != 2 or not all(type(part) is str and part for part in parts):
        raise InputError(f"{where}: a merge must be two tokens. Received: {shown(repr(merge))}.")
    return parts[0], parts[1]
