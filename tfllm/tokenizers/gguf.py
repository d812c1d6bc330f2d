"""The tokenizer that a GGUF file holds becomes ours, with the same ids.

In: the values of the file by name. Out: a `ByteBpeTokenizer`, or a `SentencePieceTokenizer` with byte fallback.
"""

from typing import Any

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer
from tfllm.tokenizers.huggingface.files import check_tokens
from tfllm.tokenizers.huggingface.prompts import add_chat_template
from tfllm.tokenizers.recover_merges import recover_merges
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, new_bpe_model

_PREFIX = "tokenizer.ggml."
_WORDS = {"smollm": "gpt2-digits", "gpt-2": "gpt2", "llama-bpe": "llama3", "qwen2": "qwen2"}  # of `byte_bpe.WORDS`
_SPECIAL = {"pad": "padding", "unk": "unknown", "cls": "bos", "sep": "eos", "mask": "mask"}
_MORE_ENDS = ("eot",)


def load_gguf_tokenizer(values: dict[str, Any], where: str) -> Tokenizer:
    """The tokenizer of a GGUF file.

    Args:
        values: all of the file, by name.
        where: the file.

    Raises:
        InputError: for one that is not known here, or whose parts do not fit together.
    """
    kind = values.get(f"{_PREFIX}model")
    tokens = _without_filling(values, _list(values, "tokens", str, where))
    check_tokens(tokens, where)
    special = _special(values, tokens, where)
    if kind == "gpt2":
        tokenizer = _byte_pairs(values, tokens, special, where)
    elif kind == "llama":
        tokenizer = _pieces(values, tokens, special, where)
    else:
        raise InputError(f"{where}: tfllm reads the tokenizers gpt2 and llama of GGUF. Received: {kind!r:.100}.")
    names = {f"{name}_token": _token(values, name, tokens, where) for name in ("bos", "eos", "unknown", "padding")}
    add_chat_template(tokenizer, values.get("tokenizer.chat_template"), names)
    ends = [_token(values, name, tokens, where) for name in _MORE_ENDS]
    begin = values.get(f"{_PREFIX}add_bos_token", kind == "llama" or values.get(f"{_PREFIX}pre") == "llama-bpe")
    tokenizer.set_prompts(begin=begin is True, ends=[token for token in ends if token is not None])
    return tokenizer


def _byte_pairs(values: dict, tokens: list[str], special: dict[str, str], where: str) -> ByteBpeTokenizer:
    words = values.get(f"{_PREFIX}pre")
    if not isinstance(words, str) or words not in _WORDS:
        raise InputError(f"{where}: words are split as by {', '.join(_WORDS)}. Received: {words!r:.100}.")
    merges = [tuple(merge.split(" ")) for merge in _list(values, "merges", str, where)]
    whole_words = _WORDS[words] == "llama3"
    merges = recover_merges(merges, tokens) if whole_words and all(len(pair) == 2 for pair in merges) else merges
    return ByteBpeTokenizer(
        tokens, merges, special, words=_WORDS[words], compose=words == "qwen2", whole_words=whole_words
    )


def _without_filling(values: dict, tokens: list[str]) -> list[str]:
    """The tokens up to the last that is in use: behind it a model may have embeddings that stand for nothing."""
    kinds = values.get(f"{_PREFIX}token_type")
    if values.get(f"{_PREFIX}model") != "gpt2" or not isinstance(kinds, list) or len(kinds) != len(tokens):
        return tokens
    return tokens[: max((place + 1 for place, kind in enumerate(kinds) if kind != UNUSED), default=0)]


def _pieces(values: dict, tokens: list[str], special: dict[str, str], where: str) -> SentencePieceTokenizer:
    scores, kinds = _list(values, "scores", float, where), _list(values, "token_type", int, where)
    if not len(tokens) == len(scores) == len(kinds):
        raise InputError(f"{where}: {len(tokens):,} tokens have {len(scores):,} scores and {len(kinds):,} types.")
    if not {*kinds} <= {NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE}:
        raise InputError(f"{where}: a token has an unknown type.")
    space = values.get(f"{_PREFIX}add_space_prefix", True) is True
    model = new_bpe_model(list(zip(tokens, scores, kinds, strict=True)), space_first=space)
    return SentencePieceTokenizer(model.SerializeToString(), special)


def _special(values: dict, tokens: list[str], where: str) -> dict[str, str]:
    found = {ours: _token(values, theirs, tokens, where) for ours, theirs in _SPECIAL.items()}
    found = {name: token for name, token in found.items() if token is not None}
    if "sep" not in found:
        raise InputError(f"{where} does not name the token that ends a text.")
    return {"pad": found["sep"], "cls": found["sep"], **found}


def _token(values: dict, name: str, tokens: list[str], where: str) -> str | None:
    number = values.get(f"{_PREFIX}{name}_token_id")
    if number is None:
        return None
    if type(number) is not int or not 0 <= number < len(tokens):
        raise InputError(f"{where}: the {name} token must be one of {len(tokens):,}. Received: {number!r:.100}.")
    return tokens[number]


def _list(values: dict, name: str, kind: type, where: str) -> list:
    found = values.get(_PREFIX + name)
    if not isinstance(found, list) or not all(type(one) is kind for one in found):
        raise InputError(f"{where}: `{_PREFIX}{name}` must be a list.")
    return found
