"""A tiny tokenizer and encoder for the evaluation tests."""

import pytest

from tfllm.models import build_encoder
from tfllm.tokenizers import WordPieceTokenizer

WORDS = ["good", "bad", "tea", "cup", "book", "rain", "warm", "cold", "and", "a"]


@pytest.fixture(scope="session")
def tokenizer():
    """15 tokens: five special ones and ten words."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


@pytest.fixture
def encoder(tokenizer):
    """One layer of width 8, rows of up to 32 tokens."""
    return build_encoder(
        tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=32,
        dropout=0.0,
    )
