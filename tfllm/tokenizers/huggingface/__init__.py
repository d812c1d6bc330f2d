"""Tokenizers of published checkpoints, as the Hugging Face libraries store them: read and written."""

from tfllm.tokenizers.huggingface.load import load_huggingface_tokenizer
from tfllm.tokenizers.huggingface.write import write_huggingface_tokenizer

__all__ = ["load_huggingface_tokenizer", "write_huggingface_tokenizer"]
