"""Train byte-level BPE with the Rust `tokenizers` trainer, deterministically.

In: texts, read once. Out: a `ByteBpeTokenizer`.
"""

import json
import logging
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, trainers

from tfllm.checks import InputError, check_at_least
from tfllm.tokenizers.base import NO_TEXT
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer

# An encoder needs all four. For a decoder <s> begins a text and </s> ends it. No byte is unknown.
SPECIAL_TOKENS = {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
LOG = logging.getLogger(__name__)


def train_byte_bpe(texts: Iterable[str], *, vocabulary_size: int = 8000, min_frequency: int = 2) -> ByteBpeTokenizer:
    """A byte-level BPE tokenizer for texts like these; any other text comes back from its ids as it was, too.

    Args:
        texts: read once, as a stream; the counts of their different words are kept.
        vocabulary_size: most tokens wanted, four special ones and 256 bytes included; with 260 every token is a byte. A
            small corpus gives fewer; this is logged as a warning.
        min_frequency: how often a pair of tokens must occur to be joined.

    Returns:
        ByteBpeTokenizer. The same texts give the same vocabulary and merges.

    Raises:
        InputError: if there is no text, or `vocabulary_size` has no room for the bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    check_at_least("vocabulary_size", vocabulary_size, len(SPECIAL_TOKENS) + len(alphabet))
    check_at_least("min_frequency", min_frequency, 1)
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    rust.train_from_iterator(_with_text(texts), trainer)
    model = json.loads(rust.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    if len(vocabulary) < vocabulary_size:
        LOG.warning("The corpus is too small for %d tokens; it gave %d.", vocabulary_size, len(vocabulary))
    return ByteBpeTokenizer(vocabulary, [tuple(pair) for pair in model["merges"]], SPECIAL_TOKENS)


def _with_text(texts: Iterable[str]) -> Iterator[str]:
    """The texts; InputError at the end if all of them are empty or white space."""
    found = False
    for text in texts:
        found = found or bool(text.strip())
        yield text.encode("utf-8", "replace").decode("utf-8")  # the Rust library takes no lone surrogates
    if not found:
        raise InputError(NO_TEXT)
