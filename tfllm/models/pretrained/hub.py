"""`hf:NAME`: the files of a repository on the Hugging Face Hub, from its cache or the network.

In: "org/name" or "org/name@revision". Out: a directory in the cache. Only the files that are read are fetched.
"""

import re
from pathlib import Path

from tfllm.checks import InputError
from tfllm.models.pretrained.files import Folder, open_folder

_FILES = [
    *("config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model"),
    *("source.spm", "target.spm", "generation_config.json", "chat_template.jinja"),
]
_SENTENCES = ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json"]
_SENTENCES += [f"0_Transformer/{name}" for name in (*_FILES, "sentence_bert_config.json")]


def fetch(name: str) -> Folder:
    """The files of a repository.

    Raises:
        InputError: if huggingface_hub is not installed, the name is no name, or the repository is neither in the cache
            nor to be had from the network.
    """
    match = re.fullmatch(r"(\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(\w[\w./-]*))?", name)
    if match is None:
        raise InputError(
            f"After hf: stands the name of a repository, org/name or org/name@revision. Received: {name!r}."
        )
    try:
        import huggingface_hub
    except ImportError:
        raise InputError('hf:NAME needs huggingface_hub, which is not installed: pip install "tfllm[hub]".') from None
    try:
        path = huggingface_hub.snapshot_download(match[1], revision=match[2], allow_patterns=_FILES + _SENTENCES)
    except Exception as error:  # its own, those of its HTTP library, and of the disk
        raise InputError(
            f"hf:{name} could not be fetched, and is not in the cache: {_first_line(error)} "
            "Without a network, copy the repository's files into a directory and import that."
        ) from None
    return open_folder(path, root=Path(path).resolve().parents[1])  # its files are links to the blobs beside


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')[:200]}."
