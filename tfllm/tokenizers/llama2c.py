"""The tokenizer of llama2.c becomes ours, with the same ids.

In: a `tok*.bin` file: an int32 (length of the longest token), and for each token a float32 score, an int32 length and
its bytes, a space written as it is. The first three are the unknown one, the beginning and the end of a text; then come
256 bytes. Out: a `SentencePieceTokenizer`.

Source: `export` of karpathy/llama2.c, `tokenizer.py`.
"""

import struct
from pathlib import Path

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import check_tokens
from tfllm.tokenizers.sentencepiece import SPACE, SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, new_bpe_model

_FIRST = (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL))
_MOST_BYTES = 64_000_000


def load_llama2c_tokenizer(file: str | Path) -> SentencePieceTokenizer:
    """The tokenizer of a llama2.c file.

    Raises:
        InputError: if the file is none, or is damaged.
    """
    file = Path(file)
    if file.stat().st_size > _MOST_BYTES:
        raise InputError(f"{file} has {file.stat().st_size:,} bytes; at most {_MOST_BYTES:,} are read.")
    content, place, tokens = file.read_bytes(), 4, []
    while place < len(content):
        if place + 8 > len(content):
            raise InputError(f"{file} is no tokenizer of llama2.c, or not whole.")
        score, length = struct.unpack_from("<fi", content, place)
        place += 8 + length
        if length <= 0 or place > len(content) or not abs(score) < 1e9:
            raise InputError(f"{file} is no tokenizer of llama2.c, or not whole: token {len(tokens)} is damaged.")
        tokens.append((content[place - length : place], score))
    return SentencePieceTokenizer(_model(tokens, file), {"pad": "</s>", "unk": "<unk>", "cls": "<s>", "sep": "</s>"})


def _model(tokens: list[tuple[bytes, float]], file: Path) -> bytes:
    try:
        texts = [token.decode().replace(" ", SPACE) for token, _ in tokens]
    except UnicodeDecodeError:
        raise InputError(f"{file} has a token that is not UTF-8.") from None
    check_tokens(texts, str(file))
    kinds = [BYTE if 3 <= number < 259 else NORMAL for number in range(len(texts))]
    pieces = [(text, score, kind) for text, (_, score), kind in zip(texts, tokens, kinds, strict=True)]
    pieces[:3] = [(text, 0.0, kind) for text, kind in _FIRST]
    return new_bpe_model(pieces).SerializeToString()
