"""Tokenizers as Llama has them: SentencePiece that merges the likeliest pair first and falls back to bytes.

In: `tokenizer.json` with such a model, or `tokenizer.model` as SentencePiece stores it. Out: a
`SentencePieceTokenizer`; and the way back to a `tokenizer.json`.
"""

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import Checkpoint, check_tokens, need, shown, tokens_by_id
from tfllm.tokenizers.huggingface.special import Wrapping, read_added, read_special, read_wrapping
from tfllm.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, new_bpe_model, parse_model

FILE = "tokenizer.model"
NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
    ],
}
DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}


def read_document(document: dict, checkpoint: Checkpoint, where: str) -> SentencePieceTokenizer:
    """The tokenizer of a `tokenizer.json` whose model is BPE with byte fallback.

    A piece's score is minus the place of the first merge that makes it.
    """
    model = document["model"]
    if document.get("normalizer") != NORMALIZER or document.get("pre_tokenizer") is not None:
        raise InputError(
            f"{where}: BPE with byte fallback begins every text with {SPACE} and writes spaces so, by Prepend and "
            f"Replace. Received: {shown(document.get('normalizer'))} and {shown(document.get('pre_tokenizer'))}."
        )
    ids = need(model, "vocab", dict, where)
    added = read_added(document, ids, where)
    vocabulary = tokens_by_id({**ids, **added}, where)
    check_tokens(vocabulary, where)
    ranks = {}
    for rank, merge in enumerate(need(model, "merges", list, where)):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if type(parts) is not list or len(parts) != 2 or not all(type(part) is str and part for part in parts):
            raise InputError(f"{where}: a merge must be two tokens. Received: {shown(repr(merge))}.")
        ranks.setdefault("".join(parts), rank)
    unk = need(model, "unk_token", str, where)
    control = {one["content"] for one in document.get("added_tokens") or []} - {unk}
    pieces = [_piece(token, ranks, unk, control, where) for token in vocabulary]
    wrapping = read_wrapping(document.get("post_processor"), where)
    special = read_special(checkpoint, vocabulary, unk, wrapping)
    tokenizer = SentencePieceTokenizer(new_bpe_model(pieces).SerializeToString(), **special)
    tokenizer.set_prompts(begin=wrapping is not None)
    return tokenizer


def _piece(token: str, ranks: dict[str, int], unk: str, control: set[str], where: str) -> tuple[str, float, int]:
    if token == unk or token in control:
        return token, 0.0, UNKNOWN if token == unk else CONTROL
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return token, 0.0, BYTE
    if len(token) > 1 and token not in ranks:
        raise InputError(f"{where}: no merge makes the token {shown(repr(token))}.")
    return token, -float(ranks.get(token, len(ranks))), NORMAL


def read_files(checkpoint: Checkpoint) -> SentencePieceTokenizer:
    """The tokenizer of a `tokenizer.model`."""
    where = str(checkpoint.files.path / FILE)
    model = parse_model(checkpoint.files.read(FILE), where)
    tokens = [piece.piece for piece in model.pieces]
    check_tokens(tokens, where)
    if model.trainer_spec.model_type != BPE or checkpoint.files.find("added_tokens.json") is not None:
        raise InputError(f"{where}: tfllm reads a BPE model without added tokens. Save it as tokenizer.json.")
    special = read_special(checkpoint, tokens, tokens[model.trainer_spec.unk_id], Wrapping("<s>", None, 1))
    tokenizer = SentencePieceTokenizer(model.SerializeToString(), **special)
    tokenizer.set_prompts(begin=checkpoint.option("add_bos_token", bool, True))
    return tokenizer


def document_parts(tokenizer: SentencePieceTokenizer) -> dict:
    """Normalizer, pre-tokenizer, decoder and model of a `tokenizer.json`.

    Merges are all pairs of pieces that make a piece, that of the highest score first.
    """
    model = parse_model(tokenizer.model, "the model")
    spec = model.normalizer_spec
    if not (spec.add_dummy_prefix and not spec.remove_extra_whitespaces and model.trainer_spec.byte_fallback):
        raise InputError(
            "Of SentencePiece models of type BPE, only those are written for transformers that keep all spaces, begin "
            "a text with one, and fall back to bytes."
        )
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    merges = [
        (-score, number, token[:place], token[place:])
        for number, (token, score) in enumerate(scores.items())
        for place in range(1, len(token))
        if token[:place] in scores and token[place:] in scores
    ]
    return {
        "normalizer": NORMALIZER,
        "pre_tokenizer": None,
        "decoder": DECODER,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.special_tokens["unk"],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {token: number for number, token in enumerate(tokenizer.vocabulary)},
            "merges": [[first, second] for _, _, first, second in sorted(merges)],
        },
    }
