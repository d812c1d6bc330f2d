"""Tokenizers of published checkpoints, as the Hugging Face libraries store them: read and written."""

from tfllm.tokenizers.huggingface.load import load_huggingface_tokenizer
from tfllm.tokenizers.huggingface.prompts import add_chat_template
from tfllm.tokenizers.huggingface.write import write_huggingface_tokenizer

__all__ = ["add_chat_template", "load_huggingface_tokenizer", "write_huggingface_tokenizer"]
