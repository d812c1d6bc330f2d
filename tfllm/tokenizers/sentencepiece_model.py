"""SentencePiece models as published checkpoints need them: read with checks, reordered, built from pieces.

In: the bytes of a `.model` file, or pieces. Out: a message with `pieces`, `trainer_spec` and `normalizer_spec`.

The message class that the sentencepiece package ships asks for the protobuf runtime it was generated with, which
TensorFlow may not have. So the fields that are used are declared here; the others are kept as they are.
"""

import math

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from tfllm.checks import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of pieces
UNIGRAM, BPE = 1, 2  # types of models
MOST_BYTES = 16_000_000  # the largest published models have 5 million
MOST_PIECES = 1_000_000

# Source: sentencepiece_model.proto of google/sentencepiece. (name, number, type, default); a type of our own is a name.
_MESSAGES = {
    "SentencePiece": [("piece", 1, "string", None), ("score", 2, "float", None), ("type", 3, "int32", "1")],
    "TrainerSpec": [
        ("model_type", 3, "int32", "1"),
        ("byte_fallback", 35, "bool", None),
        ("unk_id", 40, "int32", "0"),
        ("bos_id", 41, "int32", "1"),
        ("eos_id", 42, "int32", "2"),
        ("pad_id", 43, "int32", "-1"),
        ("unk_piece", 45, "string", "<unk>"),
        ("bos_piece", 46, "string", "<s>"),
        ("eos_piece", 47, "string", "</s>"),
        ("pad_piece", 48, "string", "<pad>"),
    ],
    "NormalizerSpec": [
        ("precompiled_charsmap", 2, "bytes", None),
        ("add_dummy_prefix", 3, "bool", "true"),
        ("remove_extra_whitespaces", 4, "bool", "true"),
        ("escape_whitespaces", 5, "bool", "true"),
    ],
    "ModelProto": [
        ("pieces", 1, "SentencePiece", None),
        ("trainer_spec", 2, "TrainerSpec", None),
        ("normalizer_spec", 3, "NormalizerSpec", None),
    ],
}


def parse_model(content: bytes, name: str) -> Message:
    """The model in the bytes of a file.

    Raises:
        InputError: naming the file, if it is none, is too large, or holds what would lead the library astray.
    """
    if len(content) > MOST_BYTES:
        raise InputError(f"{name} has {len(content):,} bytes; at most {MOST_BYTES:,} are read.")
    try:
        model = ModelProto.FromString(content)
    except DecodeError:
        raise InputError(f"{name} is not a SentencePiece model.") from None
    if not 0 < len(model.pieces) <= MOST_PIECES:
        raise InputError(f"{name} must have 1 to {MOST_PIECES:,} pieces. Received: {len(model.pieces):,}.")
    for number, piece in enumerate(model.pieces):
        if not math.isfinite(piece.score):
            raise InputError(f"{name}: piece {number} must have a finite score. Received: {piece.score}.")
    check_characters_map(model.normalizer_spec.precompiled_charsmap, name)
    return model


def new_model(pieces: list[tuple[str, float, int]], characters_map: bytes, byte_fallback: bool) -> Message:
    """A unigram model of (piece, score, type); runs of spaces become one, and a text begins with a space."""
    model = ModelProto()
    model.trainer_spec.model_type = UNIGRAM
    model.trainer_spec.byte_fallback = byte_fallback
    model.normalizer_spec.precompiled_charsmap = characters_map
    set_pieces(model, pieces)
    return model


def new_bpe_model(pieces: list[tuple[str, float, int]], *, space_first: bool = True) -> Message:
    """A model of (piece, score, type) that merges the pair of highest score first, as Llama's does.

    Text stays as it is, but for the space a text begins with if `space_first`; characters without a piece become bytes.

    Raises:
        InputError: for a piece that is empty or repeated, or a byte that is missing.
    """
    texts = [piece for piece, _, _ in pieces]
    if len({*texts}) < len(texts) or not all(texts):
        raise InputError("The pieces of a SentencePiece model must be distinct and not empty.")
    if {piece for piece, _, kind in pieces if kind == BYTE} != {f"<0x{byte:02X}>" for byte in range(0x100)}:
        raise InputError("A SentencePiece model that falls back to bytes needs a piece for each: <0x00> to <0xFF>.")
    model = ModelProto()
    model.trainer_spec.model_type = BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.add_dummy_prefix = space_first
    model.normalizer_spec.remove_extra_whitespaces = False
    set_pieces(model, pieces)
    return model


def set_pieces(model: Message, pieces: list[tuple[str, float, int]]) -> None:
    """Give a model other pieces, (piece, score, type); the position is the id."""
    del model.pieces[:]
    for piece, score, kind in pieces:
        model.pieces.add(piece=piece, score=score, type=kind)
    unknown = [number for number, (_, _, kind) in enumerate(pieces) if kind == UNKNOWN]
    if len(unknown) != 1:
        raise InputError(f"A SentencePiece model has exactly one unknown piece. Received: {len(unknown)}.")
    model.trainer_spec.unk_id = unknown[0]
    model.trainer_spec.unk_piece = pieces[unknown[0]][0]
    ids = {piece: number for number, (piece, _, _) in enumerate(pieces)}
    for name in ("bos", "eos", "pad"):
        setattr(model.trainer_spec, f"{name}_id", ids.get(getattr(model.trainer_spec, f"{name}_piece"), -1))


def check_characters_map(content: bytes, name: str) -> None:
    """Raise InputError if a table of characters points outside of itself: the library follows it without looking.

    It is the size of a trie in bytes, the trie, and the replacements, each ended by a zero byte. In the trie, unit i
    leads to the unit i ^ offset ^ label for labels up to 255, unless it is a leaf; with a bit set, unit i ^ offset
    holds where a replacement begins.
    Source: `Normalizer::DecodePrecompiledCharsMap` of google/sentencepiece, `darts.h` of darts-clone.
    """
    if not content:
        return
    size = int.from_bytes(content[:4], "little")
    replacements = content[4 + size :]
    if len(content) < 4 or size % 1024 or not 0 < size <= len(content) - 4 or not replacements.endswith(b"\0"):
        raise InputError(f"{name}: its table of characters is damaged.")
    units = np.frombuffer(content, "<u4", size // 4, offset=4).astype(np.int64)
    is_node = units >> 31 == 0
    is_node[0] = True
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    targets = (np.arange(len(units)) ^ offsets)[is_node]
    inside = ((targets | 0xFF) < len(units)).all()
    holders = targets[(units[is_node] >> 8) & 1 == 1]
    if not inside or ((units[holders] & 0x7FFFFFFF) >= len(replacements)).any():
        raise InputError(f"{name}: its table of characters is damaged: it points outside of itself.")


def _message_class(name: str) -> type[Message]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="tfllm/sentencepiece_model.proto", package="tfllm", syntax="proto2")
    for message, fields in _MESSAGES.items():
        declared = file.message_type.add(name=message)
        for field, number, kind, default in fields:
            label = kinds.LABEL_REPEATED if field == "pieces" else kinds.LABEL_OPTIONAL
            added = declared.field.add(name=field, number=number, label=label, default_value=default)
            if kind in _MESSAGES:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".tfllm.{kind}"
            else:
                added.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfllm.{name}"))


ModelProto = _message_class("ModelProto")
