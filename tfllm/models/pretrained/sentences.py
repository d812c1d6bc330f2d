"""Directories of sentence-transformers: an encoder, how a text's vector is made of its tokens, where texts are cut.

In: `modules.json` and what it names. Out: the encoder's directory, and what `add_embedding_head` asks.
"""

from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError
from tfllm.models.pretrained.files import Folder, read_json

MODULES = "modules.json"
POOLING = "config.json"
_LENGTHS = (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length"))
_POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


class Sentences(NamedTuple):
    """What `modules.json` says."""

    encoder: Folder
    pooling: str
    normalize: bool


def read_modules(folder: Folder) -> Sentences | None:
    """The parts of a sentence-transformers directory; None if it is none.

    Raises:
        InputError: if it has other parts than an encoder, a pooling by mean or first token, and a normalisation.
    """
    file = folder.find(MODULES)
    if file is None:
        return None
    modules = read_json(file, list)
    try:
        parts = [(module["type"].rpartition(".")[2], module["path"]) for module in modules]
        known = all(isinstance(path, str) for _, path in parts)
    except (TypeError, KeyError, AttributeError):
        known = False
    kinds = [kind for kind, _ in parts] if known else []
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InputError(
            f"{file}: the parts must be Transformer, Pooling and, if there is a third, Normalize. "
            f"Received: {', '.join(kinds) or 'something else'}."
        )
    pooling = folder.need(str(Path(parts[1][1], POOLING)))
    return Sentences(_inner(folder, parts[0][1]), _read_pooling(pooling), len(kinds) == 3)


def encoder_folder(folder: Folder) -> Folder:
    """Where the encoder stands and its tokenizer: a part of a sentence-transformers directory, or the directory."""
    sentences = read_modules(folder)
    return folder if sentences is None else sentences.encoder


def read_length(folder: Folder, longest: int) -> int:
    """Where texts are cut, in tokens: as the directory says, but at `longest`, if it allows more."""
    for name, key in _LENGTHS:
        file = folder.find(name)
        value = read_json(file).get(key) if file is not None else None
        if type(value) is int and value >= 3:
            return min(value, longest)
    return longest


def _inner(folder: Folder, name: str) -> Folder:
    inner = Folder(folder.path / name, folder.root)
    inner.need("config.json")
    return inner


def _read_pooling(file: Path) -> str:
    values = read_json(file)
    modes = [mode for mode, wanted in values.items() if mode.startswith("pooling_mode_") and wanted is True]
    if isinstance(values.get("pooling_mode"), str):  # as newer versions write it
        modes = [f"pooling_mode_{values['pooling_mode']}", f"pooling_mode_{values['pooling_mode']}_tokens"]
    found = [_POOLINGS[mode] for mode in modes if mode in _POOLINGS]
    if len(found) != 1 or ("pooling_mode" not in values and len(modes) != 1):
        raise InputError(f"{file}: tfllm pools by the mean of the tokens or the first one (cls). Received: {modes}.")
    return found[0]
