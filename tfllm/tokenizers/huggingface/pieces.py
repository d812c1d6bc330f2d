"""SentencePiece of published checkpoints: XLM-RoBERTa, ALBERT and their kin.

In: `tokenizer.json` with a unigram model, or the model as SentencePiece stores it. Out: a `SentencePieceTokenizer`,
whose model has its pieces in the order of the checkpoint's ids.
"""

import base64
import binascii
import math

from google.protobuf.message import Message

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import Checkpoint, check_kind, check_tokens, need, shown
from tfllm.tokenizers.huggingface.special import Wrapping, read_added, read_special, read_wrapping
from tfllm.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    check_characters_map,
    new_model,
    parse_model,
    set_pieces,
)

SENTINELS, _MOST_SENTINELS = 100, 10_000
_UNLIKELY = -100.0  # added to the score of a piece that shall not be used
_FAIRSEQ = [("<s>", 0.0, CONTROL), ("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
_SPACES = [{"Regex": " {2,}"}, {"Regex": " +"}]  # runs of spaces


def read_document(document: dict, checkpoint: Checkpoint, where: str) -> SentencePieceTokenizer:
    """The tokenizer of a `tokenizer.json` whose model is Unigram."""
    model = document["model"]
    listed = [_scored(piece, where) for piece in need(model, "vocab", list, where)]
    ids = {piece: number for number, (piece, _) in enumerate(listed)}
    added = read_added(document, ids, where)
    if sorted(added.values()) != list(range(len(listed), len(listed) + len(added))):
        raise InputError(f"{where}: the ids of the added tokens must follow those of the vocabulary.")
    listed += [(piece, 0.0) for piece in sorted(added, key=added.__getitem__)]
    vocabulary = [piece for piece, _ in listed]
    check_tokens(vocabulary, where)
    unk_id = need(model, "unk_id", int, where)
    if not 0 <= unk_id < len(listed):
        raise InputError(f"{where}: `unk_id` must be the id of a token. Received: {unk_id}.")
    options, characters_map, one_space = _read_normalizer(document.get("normalizer"), where)
    if not (_read_splitter(document.get("pre_tokenizer"), where) or one_space):
        raise InputError(f"{where}: tfllm's SentencePiece takes runs of spaces for one, and this tokenizer does not.")
    special = read_special(
        checkpoint, vocabulary, vocabulary[unk_id], read_wrapping(document.get("post_processor"), where)
    )
    bytes_known = need({"byte_fallback": False, **model}, "byte_fallback", bool, where)
    control = {*special["special_tokens"].values(), *(one["content"] for one in document.get("added_tokens") or [])}
    kinds = [_kind(piece, control, bytes_known) for piece in vocabulary]
    kinds[unk_id] = UNKNOWN
    pieces = [(piece, score, kind) for (piece, score), kind in zip(listed, kinds, strict=True)]
    built = new_model(pieces, characters_map, bytes_known)
    return SentencePieceTokenizer(built.SerializeToString(), **special, **options)


def read_xlm_roberta(checkpoint: Checkpoint) -> SentencePieceTokenizer:
    """The tokenizer of a `sentencepiece.bpe.model`, whose ids fairseq shifted."""
    model, where = _read_model(checkpoint, "sentencepiece.bpe.model")
    pieces = [(piece.piece, piece.score, piece.type) for piece in model.pieces]
    if [piece for piece, *_ in pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise InputError(f"{where} must begin with <unk>, <s> and </s>, as XLM-RoBERTa's does.")
    set_pieces(model, [*_FAIRSEQ, *pieces[3:], ("<mask>", 0.0, CONTROL)])
    special = read_special(checkpoint, [piece.piece for piece in model.pieces], "<unk>", Wrapping("<s>", "</s>", 2))
    return SentencePieceTokenizer(model.SerializeToString(), **special)


def read_spiece(checkpoint: Checkpoint) -> SentencePieceTokenizer:
    """The tokenizer of a `spiece.model`: T5's, if a file says so, or ALBERT's."""
    named = checkpoint.option("tokenizer_class", str, "")
    model_type = (checkpoint.files.read_json("config.json") or {}).get("model_type")
    is_t5 = named.startswith("T5") or (not named and model_type == "t5")
    return _read_t5(checkpoint) if is_t5 else _read_albert(checkpoint)


def _read_t5(checkpoint: Checkpoint) -> SentencePieceTokenizer:
    """T5's, whose sentinels stand behind the pieces of the file, the first of them last."""
    model, where = _read_model(checkpoint, "spiece.model")
    count = checkpoint.option("extra_ids", int, SENTINELS)
    if not 0 <= count <= _MOST_SENTINELS:
        raise InputError(f"{where}: `extra_ids` must be a number from 0 to {_MOST_SENTINELS:,}. Received: {count}.")
    for number in reversed(range(count)):
        model.pieces.add(piece=f"<extra_id_{number}>", score=0.0, type=CONTROL)
    vocabulary = [piece.piece for piece in model.pieces]
    if len({*vocabulary}) < len(vocabulary):
        raise InputError(f"{where}: it names the sentinels that T5's tokenizer adds to it (`extra_ids`).")
    special = read_special(checkpoint, vocabulary, "<unk>", Wrapping(None, "</s>", 1))
    return SentencePieceTokenizer(model.SerializeToString(), **special)


def _read_albert(checkpoint: Checkpoint) -> SentencePieceTokenizer:
    """ALBERT's."""
    model, _ = _read_model(checkpoint, "spiece.model")
    special = read_special(checkpoint, [piece.piece for piece in model.pieces], "<unk>", None)
    for piece in model.pieces:
        if len(piece.piece) > 1 and piece.piece[-1] == "," and piece.piece[-2].isdigit():
            piece.score += _UNLIKELY  # ALBERT splits the comma off a number
        if piece.piece in special["special_tokens"].values() and piece.type != UNKNOWN:
            piece.type = CONTROL
    return SentencePieceTokenizer(
        model.SerializeToString(),
        **special,
        lowercase=checkpoint.option("do_lower_case", bool, True),
        strip_accents=not checkpoint.option("keep_accents", bool, False),
        join_quotes=True,
    )


def _read_model(checkpoint: Checkpoint, name: str) -> tuple[Message, str]:
    where = str(checkpoint.files.path / name)
    model = parse_model(checkpoint.files.read(name), where)
    check_tokens([piece.piece for piece in model.pieces], where)
    if checkpoint.files.find("added_tokens.json") is not None:
        raise InputError(f"{where}: tfllm does not add the tokens of added_tokens.json to a SentencePiece model.")
    return model, where


def _scored(piece: object, where: str) -> tuple[str, float]:
    """A piece and its score."""
    if type(piece) is not list or len(piece) != 2 or type(piece[0]) is not str or type(piece[1]) not in (int, float):
        raise InputError(f"{where}: a piece must be a token and its score. Received: {shown(repr(piece))}.")
    if not math.isfinite(piece[1]) or abs(piece[1]) > 1e6:
        raise InputError(f"{where}: the score of a piece must be a number. Received: {shown(repr(piece))}.")
    return piece[0], float(piece[1])


def _kind(piece: str, control: set[str], bytes_known: bool) -> int:
    if piece in control:
        return CONTROL
    is_byte = bytes_known and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
    return BYTE if is_byte else NORMAL


def _read_normalizer(normalizer: object, where: str) -> tuple[dict[str, bool], bytes, bool]:
    """What ALBERT does to a text, SentencePiece's table of characters, and whether runs of spaces become one."""
    if normalizer is None:
        return {}, b"", False
    check_kind(normalizer, dict, f"{where}: `normalizer`")
    parts = need(normalizer, "normalizers", list, where) if normalizer.get("type") == "Sequence" else [normalizer]
    found = [_name_part(check_kind(part, dict, f"{where}: a normalizer"), where) for part in parts]
    order = ["``", "''", "NFKD", "StripAccents", "Lowercase", "Precompiled", "Strip", "spaces"]
    places = [order.index(name) for name in found]
    for pair in (("``", "''"), ("NFKD", "StripAccents")):
        if (pair[0] in found) != (pair[1] in found):
            raise InputError(f"{where}: tfllm normalizes with {' and '.join(pair)} together, or with neither.")
    if places != sorted(set(places)):
        raise InputError(f"{where}: tfllm does not normalize in this order: {shown(', '.join(found))}.")
    characters_map = b""
    if "Precompiled" in found:
        characters_map = _decode(parts[found.index("Precompiled")].get("precompiled_charsmap") or "", where)
    options = {"lowercase": "Lowercase" in found, "strip_accents": "NFKD" in found, "join_quotes": "``" in found}
    return options, characters_map, "spaces" in found


def _name_part(part: dict, where: str) -> str:
    """Which of the normalizations of SentencePiece and ALBERT it is."""
    kind = part.get("type")
    if kind in ("NFKD", "StripAccents", "Lowercase", "Precompiled", "Strip"):
        return kind
    if kind == "Replace" and part.get("pattern") in ({"String": "``"}, {"String": "''"}) and part.get("content") == '"':
        return part["pattern"]["String"]
    if kind == "Replace" and part.get("pattern") in _SPACES and part.get("content") in (" ", SPACE):
        return "spaces"
    raise InputError(f"{where}: tfllm does not know this normalizer: {shown(part)}.")


def _decode(text: object, where: str) -> bytes:
    try:
        content = base64.b64decode(check_kind(text, str, f"{where}: `precompiled_charsmap`"), validate=True)
    except binascii.Error as error:
        raise InputError(f"{where}: `precompiled_charsmap` is not base64: {error}.") from None
    check_characters_map(content, where)
    return content


def _read_splitter(splitter: object, where: str) -> bool:
    """Whether text is split at white space before pieces are looked for; InputError for another splitter."""
    check_kind(splitter, dict, f"{where}: `pre_tokenizer`")
    parts = need(splitter, "pretokenizers", list, where) if splitter.get("type") == "Sequence" else [splitter]
    kinds = [check_kind(part, dict, f"{where}: a pre-tokenizer").get("type") for part in parts]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise InputError(f"{where}: words must be split by WhitespaceSplit and Metaspace. Received: {shown(splitter)}.")
    marks = parts[-1]
    prepends = marks.get("prepend_scheme", "always" if marks.get("add_prefix_space") else "never")
    if marks.get("replacement") != SPACE or prepends != "always" or marks.get("split", True) is not True:
        raise InputError(f"{where}: every text must begin with the mark {SPACE}. Received: {shown(marks)}.")
    return len(parts) == 2
