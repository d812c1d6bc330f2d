"""The tokenizer of a published checkpoint becomes ours, with the same ids.

In: a directory with `tokenizer.json`, or `vocab.txt`, or `vocab.json` and `merges.txt`, or a SentencePiece model; and
`tokenizer_config.json` and `special_tokens_map.json`, if they are there. Out: a `Tokenizer`.

Only vocabularies, merges and options that are known are taken over; no regular expression and no code is.
"""

from pathlib import Path

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.huggingface import byte_pairs, llama_pieces, marian, pieces, word_pieces
from tfllm.tokenizers.huggingface.files import DOCUMENT, SETTINGS, SPECIAL, Checkpoint, Files, need, shown
from tfllm.tokenizers.huggingface.prompts import add_prompts

_MODELS = {"WordPiece": word_pieces, "BPE": byte_pairs, "Unigram": pieces}  # of tokenizer.json
# Other files, how they are read, and the classes that read them so.
_FILES = {
    "source.spm": (marian.read_files, ("Marian",)),  # beside a vocab.json of its own
    "vocab.txt": (word_pieces.read_files, ("Bert", "DistilBert", "Electra", "MPNet", "MobileBert")),
    "vocab.json": (byte_pairs.read_files, ("Roberta", "GPT2", "Longformer", "Bart")),
    "sentencepiece.bpe.model": (pieces.read_xlm_roberta, ("XLMRoberta",)),
    "spiece.model": (pieces.read_spiece, ("Albert", "T5")),
    llama_pieces.FILE: (llama_pieces.read_files, ("Llama",)),
}


def load_huggingface_tokenizer(directory: str | Path, root: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a directory that the Hugging Face libraries wrote.

    Args:
        directory: with WordPiece as BERT has it, byte-level BPE as GPT-2 has it, or SentencePiece.
        root: links may lead anywhere within it, and no further; None = `directory`.

    Returns:
        A tokenizer with the ids of the reference; docs/tokenizers.md lists what is different. Unlike there, text never
        becomes a special token: a typed "[MASK]" is ordinary text.

    Raises:
        InputError: naming the file and what is amiss, or what about this tokenizer is not known here.
    """
    files = Files(Path(directory), Path(root or directory))
    if not files.path.is_dir():
        raise InputError(f"{files.path}: no such directory.")
    settings = files.read_json(SETTINGS) or {}
    if settings.get("auto_map"):
        raise InputError(f"{files.path / SETTINGS}: its tokenizer has code of its own (`auto_map`), which is not run.")
    checkpoint = Checkpoint(files, settings, [settings, files.read_json(SPECIAL) or {}])
    document = files.read_json(DOCUMENT)
    tokenizer = _read_files(checkpoint) if document is None else _read_document(document, checkpoint)
    if "sep" in tokenizer.special_tokens:
        add_prompts(tokenizer, checkpoint)
    return tokenizer


def _read_files(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of other files than `tokenizer.json`."""
    files = checkpoint.files
    for name, (read, classes) in _FILES.items():
        if files.find(name) is not None:
            _check_class(checkpoint, name, classes)
            return read(checkpoint)
    raise InputError(f"{files.path} has no tokenizer that tfllm reads: neither {DOCUMENT} nor {', '.join(_FILES)}.")


def _read_document(document: dict, checkpoint: Checkpoint) -> Tokenizer:
    where = str(checkpoint.files.path / DOCUMENT)
    model = need(document, "model", dict, where)
    # Old versions of the library did not write the type.
    guess = "BPE" if "merges" in model else "Unigram" if isinstance(model.get("vocab"), list) else "WordPiece"
    kind = model.get("type") or guess
    if not isinstance(kind, str) or kind not in _MODELS:
        raise InputError(f"{where}: its model must be one of {', '.join(_MODELS)}. Received: {shown(repr(kind))}.")
    reader = llama_pieces if kind == "BPE" and model.get("byte_fallback") is True else _MODELS[kind]
    return reader.read_document(document, checkpoint, where)


def _check_class(checkpoint: Checkpoint, name: str, classes: tuple[str, ...]) -> None:
    """Raise InputError for a class that splits text in a way of its own."""
    named = checkpoint.option("tokenizer_class", str, f"{classes[0]}Tokenizer")
    if named.removesuffix("Fast").removesuffix("Tokenizer") not in classes:
        raise InputError(
            f"{checkpoint.files.path / name}: tfllm reads it as the tokenizer of {', '.join(classes)}. Received: "
            f"{shown(named)}. Save it with transformers as {DOCUMENT}."
        )
