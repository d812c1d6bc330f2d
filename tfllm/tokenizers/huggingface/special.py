"""Which tokens are special, and how they wrap texts and pairs.

In: `tokenizer_config.json`, `special_tokens_map.json`, and the added tokens and post-processor of `tokenizer.json`.
Out: what a `Tokenizer` calls `special_tokens` and `pair_separators`.
"""

import re
from typing import NamedTuple

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import SETTINGS, Checkpoint, check_kind, need, shown

_NAMES = {  # ours -> theirs, and the tokens it usually is, if they do not say
    "pad": (("pad_token",), ("[PAD]", "<pad>")),
    "unk": (("unk_token",), ("[UNK]", "<unk>")),
    "cls": (("cls_token", "bos_token"), ("[CLS]", "<s>", "<|endoftext|>")),
    "sep": (("sep_token", "eos_token"), ("[SEP]", "</s>", "<|endoftext|>")),
    "mask": (("mask_token",), ("[MASK]", "<mask>")),
}


_USUAL = {token for _, tokens in _NAMES.values() for token in tokens}
_MARK = re.compile(r"<[^\s<>]+>")
_MORE = "additional_special_tokens"


class Wrapping(NamedTuple):
    """The tokens before and after a text, and how many of the latter stand between two texts."""

    cls: str | None  # None: nothing comes before a text
    sep: str | None  # None: nothing comes after a text
    pair_separators: int


def read_special(checkpoint: Checkpoint, tokens: list[str], unk: str | None, wrapping: Wrapping | None) -> dict:
    """`special_tokens` and `pair_separators` of a `Tokenizer`.

    Args:
        checkpoint: the files.
        tokens: the vocabulary; a special token that is not in it is left out.
        unk: what the model takes for the unk token; None if it does not say.
        wrapping: what the post-processor says; None = by the special tokens.
    """
    where, vocabulary, found = str(checkpoint.files.path / SETTINGS), set(tokens), {}
    known = {"unk": unk, "cls": wrapping and wrapping.cls, "sep": wrapping and wrapping.sep}
    for name, (keys, usual) in _NAMES.items():
        if name == "cls" and wrapping and wrapping.cls is None:
            continue
        named = [_token(values.get(key), key, where) for key in keys for values in checkpoint.named]
        candidates = [token for token in (known.get(name), *named, *usual) if token in vocabulary]
        if candidates:
            found[name] = candidates[0]
    if "pad" not in found and "sep" in found:
        found["pad"] = found["sep"]  # GPT-2 was not trained on rows that are filled up
    separators = wrapping.pair_separators if wrapping else 2 if found.get("cls") == "<s>" else 1
    return {"special_tokens": found, "pair_separators": separators}


def read_wrapping(processor: dict | None, where: str) -> Wrapping | None:
    """How a post-processor wraps texts; None if it does not.

    Raises:
        InputError: if it does so in a way no `Tokenizer` has.
    """
    if processor is None:
        return None
    check_kind(processor, dict, f"{where}: `post_processor`")
    kind = processor.get("type")
    if kind == "ByteLevel":  # it touches offsets only
        return None
    if kind == "Sequence":
        found = [read_wrapping(part, where) for part in need(processor, "processors", list, where)]
        found = [one for one in found if one is not None]
        if len(found) > 1:
            raise InputError(f"{where}: its post-processor wraps texts {len(found)} times.")
        return found[0] if found else None
    if kind in ("BertProcessing", "RobertaProcessing"):
        cls, sep = (_first(processor.get(name), where) for name in ("cls", "sep"))
        return Wrapping(cls, sep, 1 if kind == "BertProcessing" else 2)
    if kind == "TemplateProcessing":
        return _read_template(processor, where)
    raise InputError(f"{where}: tfllm does not know the post-processor {shown(repr(kind))}.")


def _read_template(processor: dict, where: str) -> Wrapping | None:
    single, pair = (_template(need(processor, name, list, where), where) for name in ("single", "pair"))
    if single == [("Sequence", "A")] and pair == [*single, ("Sequence", "B")]:
        return None  # as GPT-2 has it
    begins = len(single) == 2 and single[0][0] == "SpecialToken" and single[1] == ("Sequence", "A")
    if begins and pair in ([*single, ("Sequence", "B")], [*single, single[0], ("Sequence", "B")]):
        return Wrapping(single[0][1], None, 1)  # as Llama has it
    ends = len(single) == 2 and single[0] == ("Sequence", "A") and single[1][0] == "SpecialToken"
    if ends and pair == [*single, ("Sequence", "B"), single[1]]:
        return Wrapping(None, single[1][1], 1)  # as T5 has it
    if len(single) == 3 and single[1] == ("Sequence", "A"):
        cls, _, sep = single
        for count in (1, 2):
            if pair == [*single, *[sep] * (count - 1), ("Sequence", "B"), sep] and cls[0] == sep[0] == "SpecialToken":
                return Wrapping(cls[1], sep[1], count)
    raise InputError(
        f"{where}: tfllm wraps pairs as [CLS] A [SEP] B [SEP] or [CLS] A [SEP] [SEP] B [SEP]. Received: "
        f"{shown(' '.join(name for _, name in pair))}."
    )


def _template(items: list, where: str) -> list[tuple[str, str]]:
    """("SpecialToken" or "Sequence", its name) of each item of a template."""
    found = []
    for item in items:
        kind = next(iter(check_kind(item, dict, f"{where}: a part of its template")), "")
        found.append((kind, need(need(item, kind, dict, where), "id", str, where)))
    return found


def read_added(document: dict, ids: dict[str, int], where: str, *, marks: bool = False) -> dict[str, int]:
    """Token -> id of the special tokens of a `tokenizer.json` that were added to the vocabulary, which is `ids`.

    Args:
        document, ids: see above.
        where: the file.
        marks: such as are not special are taken in, too, if they look like <this>; text becomes none of them here.

    Raises:
        InputError: for one with another id than in the vocabulary, and for one that is no special token: text is
            searched for it before anything else.
    """
    new = {}
    for one in check_kind(document.get("added_tokens") or [], list, f"{where}: `added_tokens`"):
        check_kind(one, dict, f"{where}: an added token")
        content, token_id = need(one, "content", str, where), need(one, "id", int, where)
        if ids.get(content, token_id) != token_id:
            raise InputError(f"{where}: {shown(repr(content))} has the ids {shown(ids[content])} and {token_id}.")
        if not need(one, "special", bool, where) and content not in _USUAL and not (marks and _MARK.fullmatch(content)):
            raise _ordinary(content, where)
        if content not in ids:
            new[content] = token_id
    return new


def read_added_file(checkpoint: Checkpoint, count: int) -> list[str]:
    """The special tokens that `added_tokens.json` adds to a vocabulary of `count` tokens, in the order of their ids."""
    ids = checkpoint.files.read_json("added_tokens.json") or {}
    where = str(checkpoint.files.path / "added_tokens.json")
    more = [
        one for values in checkpoint.named for one in check_kind(values.get(_MORE) or [], list, f"{where}: {_MORE}")
    ]
    named = {
        _token(values.get(key), key, where)
        for keys, _ in _NAMES.values()
        for key in keys
        for values in checkpoint.named
    }
    special = _USUAL | named | {_token(one, _MORE, where) for one in more}
    for token in ids:
        if token not in special:
            raise _ordinary(token, where)
    if sorted(map(str, ids.values())) != sorted(str(count + number) for number in range(len(ids))):
        raise InputError(f"{where}: the ids of {len(ids)} added tokens are {count} and those that follow.")
    return sorted(ids, key=ids.__getitem__)


def _ordinary(token: str, where: str) -> InputError:
    return InputError(
        f"{where}: text is searched for the added token {shown(repr(token))} before it is split; tfllm does not."
    )


def _token(value: object, name: str, where: str) -> str | None:
    """The text of a token that is given as a string or an object."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = value.get("content")
    return check_kind(value, str, f"{where}: `{name}`")


def _first(pair: object, where: str) -> str:
    """The token of a (token, id) pair."""
    pair = check_kind(pair, list, f"{where}: a token of its post-processor")
    return check_kind(pair[0] if pair else None, str, f"{where}: a token of its post-processor")
