"""Read a tokenizer directory back."""

from pathlib import Path

from tfllm.checks import InputError, check_one_of
from tfllm.manifest import check_files, read_manifest
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer, read_byte_bpe
from tfllm.tokenizers.chat import ChatTemplate
from tfllm.tokenizers.sentencepiece import MODEL_FILE, SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_pair import SentencePiecePairTokenizer, read_sentencepiece_pair
from tfllm.tokenizers.wordpiece import VOCABULARY_FILE, WordPieceTokenizer, read_vocabulary

KINDS = ("wordpiece", "sentencepiece", "sentencepiece-pair", "byte-bpe")


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """The tokenizer of a tokenizer directory, or of a model directory that holds one in `tokenizer/`.

    Raises:
        InputError: if it is not a finished tokenizer directory or a byte of its files has changed.
    """
    directory = Path(directory)
    if (directory / "tokenizer").is_dir():
        directory = directory / "tokenizer"
    manifest = read_manifest(directory, "tokenizer")
    check_files(directory, manifest)
    try:
        arguments = dict(manifest["arguments"])
        kind = arguments.pop("kind")
        check_one_of("kind", kind, KINDS)
        del arguments["vocabulary_size"]
        prompts = arguments.pop("prompts", None)  # older tokenizers say nothing of them
        if kind == "wordpiece":
            tokenizer = WordPieceTokenizer(read_vocabulary(directory / VOCABULARY_FILE), **arguments)
        elif kind == "sentencepiece":
            tokenizer = SentencePieceTokenizer((directory / MODEL_FILE).read_bytes(), **arguments)
        elif kind == "sentencepiece-pair":
            tokenizer = SentencePiecePairTokenizer(*read_sentencepiece_pair(directory), **arguments)
        else:
            tokenizer = ByteBpeTokenizer(*read_byte_bpe(directory), **arguments)
        if prompts is not None:
            tokenizer.set_prompts(**prompts)
    except (KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise InputError(f"{directory} is not a complete tokenizer: {error!r}.") from None
    tokenizer.chat_template = ChatTemplate.read(directory)
    return tokenizer
