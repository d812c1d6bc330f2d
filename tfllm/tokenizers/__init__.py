"""Text <-> token ids by TensorFlow ops: WordPiece, SentencePiece, byte-level BPE, and their training."""

from tfllm.tokenizers.base import SPECIAL_TOKENS, Tokenizer, Tokens
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer
from tfllm.tokenizers.load import load_tokenizer
from tfllm.tokenizers.report import report
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer
from tfllm.tokenizers.train_byte_bpe import train_byte_bpe
from tfllm.tokenizers.train_sentencepiece import train_sentencepiece
from tfllm.tokenizers.train_wordpiece import train_wordpiece
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

__all__ = [
    "SPECIAL_TOKENS",
    "ByteBpeTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "Tokens",
    "WordPieceTokenizer",
    "load_tokenizer",
    "report",
    "train_byte_bpe",
    "train_sentencepiece",
    "train_wordpiece",
]
