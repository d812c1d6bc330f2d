"""Our tokenizer becomes files that `transformers.AutoTokenizer` loads, with the same ids.

In: a `Tokenizer`. Out: `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json`, and the vocabulary as the
older classes read it.
"""

import base64
import json
from pathlib import Path

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer
from tfllm.tokenizers.chat import ChatTemplate
from tfllm.tokenizers.huggingface import llama_pieces
from tfllm.tokenizers.huggingface.byte_pairs import EXPRESSIONS
from tfllm.tokenizers.huggingface.files import DOCUMENT, SETTINGS, SPECIAL
from tfllm.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import BPE, CONTROL, UNIGRAM, UNUSED, parse_model
from tfllm.tokenizers.sentencepiece_pair import SentencePiecePairTokenizer
from tfllm.tokenizers.wordpiece import MAX_BYTES_PER_WORD, WordPieceTokenizer


def write_huggingface_tokenizer(
    tokenizer: Tokenizer, directory: str | Path, *, segments: bool = True, writes: bool = False
) -> None:
    """Write the files of a tokenizer into a directory.

    Text gets the ids it has here, except that a typed special token becomes one, and what docs/tokenizers.md lists.

    Args:
        tokenizer: of any kind.
        directory: it must exist.
        segments: the model takes segment ids (`token_type_ids`), where the tokenizer tells segments apart.
        writes: it is for a model that writes: a text begins as prompts do, and ends with nothing.

    Raises:
        InputError: for a SentencePiece model with unused pieces, or one of type "bpe" that changes spaces:
            `tokenizer.json` has no such.
    """
    directory = Path(directory)
    if isinstance(tokenizer, SentencePiecePairTokenizer):
        _write_marian(tokenizer, directory)
        return
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(tokenizer)}
    document |= _parts(tokenizer) | {"post_processor": _beginning(tokenizer) if writes else _wrapping(tokenizer)}
    tokenizer.write_files(directory)
    _write_json(directory / DOCUMENT, document)
    names = {f"{name}_token": token for name, token in tokenizer.special_tokens.items()}
    if not isinstance(tokenizer, WordPieceTokenizer):
        names |= {
            theirs: names[ours]
            for theirs, ours in (("bos_token", "cls_token"), ("eos_token", "sep_token"))
            if ours in names
        }
    _write_json(directory / SPECIAL, names)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    if tokenizer.chat_template is not None:
        settings["chat_template"] = to_jinja(tokenizer.chat_template)
    settings["model_input_names"] = inputs if segments and tokenizer.pair_separators == 1 else inputs[::2]
    _write_json(directory / SETTINGS, settings | names)


def _write_marian(tokenizer: SentencePiecePairTokenizer, directory: Path) -> None:
    tokenizer.write_files(directory)
    names = {"pad": "pad_token", "unk": "unk_token", "sep": "eos_token"}
    names = {names[name]: token for name, token in tokenizer.special_tokens.items() if name in names}
    settings = {"tokenizer_class": "MarianTokenizer", "clean_up_tokenization_spaces": False}
    _write_json(directory / SETTINGS, settings | names)


def _parts(tokenizer: Tokenizer) -> dict:
    """Normalizer, pre-tokenizer, decoder and model."""
    if isinstance(tokenizer, WordPieceTokenizer):
        return _word_pieces(tokenizer)
    if isinstance(tokenizer, ByteBpeTokenizer):
        return _byte_pairs(tokenizer)
    return _pieces(tokenizer)


def _word_pieces(tokenizer: WordPieceTokenizer) -> dict:
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": tokenizer.clean_text,
            "handle_chinese_chars": tokenizer.split_on_cjk,
            "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.special_tokens["unk"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": tokenizer.max_characters_per_word or MAX_BYTES_PER_WORD,
            "vocab": {token: number for number, token in enumerate(tokenizer.vocabulary)},
        },
    }


def _byte_pairs(tokenizer: ByteBpeTokenizer) -> dict:
    level = {
        "type": "ByteLevel",
        "add_prefix_space": tokenizer.add_prefix_space,
        "trim_offsets": True,
        "use_regex": tokenizer.words not in EXPRESSIONS,
    }
    splitter = level
    if tokenizer.words == "gpt2-digits":
        splitter = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]}
    elif tokenizer.words in EXPRESSIONS:
        pattern = {"Regex": EXPRESSIONS[tokenizer.words]}
        split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        splitter = {"type": "Sequence", "pretokenizers": [split, level]}
    return {
        "normalizer": {"type": "NFC"} if tokenizer.compose else None,
        "pre_tokenizer": splitter,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokenizer.special_tokens.get("unk"),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": tokenizer.whole_words,
            "vocab": {token: number for number, token in enumerate(tokenizer.vocabulary)},
            "merges": [" ".join(pair) for pair in tokenizer.merges],
        },
    }


def _pieces(tokenizer: SentencePieceTokenizer) -> dict:
    model = parse_model(tokenizer.model, "the model")
    if model.trainer_spec.model_type not in (UNIGRAM, BPE) or any(piece.type == UNUSED for piece in model.pieces):
        raise InputError(
            "Only a SentencePiece model of type unigram or BPE, without unused pieces, is written for transformers."
        )
    if model.trainer_spec.model_type == BPE:
        return llama_pieces.document_parts(tokenizer)
    quotes = [{"type": "Replace", "pattern": {"String": two}, "content": '"'} for two in ("``", "''")]
    accents = [{"type": "NFKD"}, {"type": "StripAccents"}]
    characters_map = base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()
    normalizers = quotes * tokenizer.join_quotes + accents * tokenizer.strip_accents
    normalizers += [{"type": "Lowercase"}] * tokenizer.lowercase
    normalizers += [{"type": "Precompiled", "precompiled_charsmap": characters_map}] * bool(characters_map)
    normalizers += [
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    marks = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
    bytes_first = [{"type": "ByteFallback"}] * model.trainer_spec.byte_fallback
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": marks,
        "decoder": {"type": "Sequence", "decoders": [*bytes_first, marks]} if bytes_first else marks,
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer.unk_id,
            "vocab": [[piece.piece, piece.score] for piece in model.pieces],
            "byte_fallback": model.trainer_spec.byte_fallback,
        },
    }


def _added(tokenizer: Tokenizer) -> list[dict]:
    """The special tokens; a mask takes the space before it along where tokens begin with their space."""
    mask = None if isinstance(tokenizer, WordPieceTokenizer) else tokenizer.special_tokens.get("mask")
    vocabulary, special_ids = tokenizer.vocabulary, set(tokenizer.special_ids)
    special_ids |= set(tokenizer.end_ids) if "sep" in tokenizer.special_tokens else set()
    marks = set(tokenizer.chat_template.control) if tokenizer.chat_template else set()
    special_ids |= {number for number, token in enumerate(vocabulary) if token in marks}
    if isinstance(tokenizer, SentencePieceTokenizer):
        pieces = parse_model(tokenizer.model, "the model").pieces
        special_ids |= {number for number, piece in enumerate(pieces) if piece.type == CONTROL}
    return [
        {
            "id": token_id,
            "content": vocabulary[token_id],
            "single_word": False,
            "lstrip": vocabulary[token_id] == mask,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token_id in sorted(special_ids)
    ]


def _wrapping(tokenizer: Tokenizer) -> dict | None:
    """How texts and pairs are wrapped; not at all where one token begins and ends a text, as in GPT-2."""
    names = tokenizer.special_tokens
    cls, sep = names.get("cls"), names.get("sep")
    if sep is None or cls == sep:
        return None
    second = 1 if tokenizer.pair_separators == 1 else 0
    ids = {names[name]: tokenizer.ids_of(name)[0] for name in ("cls", "sep") if name in names}
    begin = [] if cls is None else [_special(cls, 0)]
    first_text = [*begin, _text("A", 0), _special(sep, 0)]
    between = [_special(sep, 0)] * (tokenizer.pair_separators - 1)
    return {
        "type": "TemplateProcessing",
        "single": first_text,
        "pair": [*first_text, *between, _text("B", second), _special(sep, second)],
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ids},
    }


def _beginning(tokenizer: Tokenizer) -> dict | None:
    """What stands before a text that a model is to go on with."""
    if not tokenizer.begins_prompts:
        return None
    cls = tokenizer.special_tokens["cls"]
    first = [_special(cls, 0), _text("A", 0)]
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, _text("B", 0)],
        "special_tokens": {cls: {"id": cls, "ids": [tokenizer.cls_id], "tokens": [cls]}},
    }


def to_jinja(template: ChatTemplate) -> str:
    """A chat template as `tokenizer_config.json` has it; what is no text around messages it does not say."""
    before = {"system": (template.system or ("", ""))[0], "user": template.user[0], "assistant": template.assistant[0]}
    after = {"system": (template.system or ("", ""))[1], "user": template.user[1], "assistant": template.assistant[1]}
    first = "loop.index0 == (1 if messages[0]['role'] == 'system' else 0) and message['role'] == 'user'"
    parts = []
    for role in before:
        content = "message['content']" + (" | trim" if role in template.stripped else "")
        opens = f"('' if {first} else {before[role]!r})" if role == "user" else repr(before[role])
        parts.append(f"message['role'] == {role!r} %}}{{{{ {opens} + ({content}) + {after[role]!r} }}}}")
    begin = template.begin
    if template.default_system is not None:
        begin = before["system"] + template.default_system + after["system"]
    return (
        "{% if messages[0]['role'] != 'system' %}{{ " + repr(begin) + " }}{% endif %}"
        "{% for message in messages %}{% if " + "{% elif ".join(parts) + "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ " + repr(template.answer) + " }}{% endif %}"
    )


def _special(token: str, segment: int) -> dict:
    return {"SpecialToken": {"id": token, "type_id": segment}}


def _text(name: str, segment: int) -> dict:
    return {"Sequence": {"id": name, "type_id": segment}}


def _write_json(file: Path, value: dict) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8", newline="\n")
