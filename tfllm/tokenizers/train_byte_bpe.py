"""Train byte-level BPE with the Rust `tokenizers` trainer, deterministically.

In: texts, read once. Out: a `ByteBpeTokenizer`.

The Rust trainer holds every different word, and for it a Chinese clause is a word: hardly any occurs twice, and memory
grows by 85 times the text. So it is given a sample of a large corpus.
"""

import json
import logging
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, trainers

from tfllm.checks import InputError, check_at_least
from tfllm.tokenizers.base import NO_TEXT
from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer
from tfllm.tokenizers.sample import draw_sample

# An encoder needs all four. For a decoder <s> begins a text and </s> ends it. No byte is unknown.
SPECIAL_TOKENS = {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
SAMPLE_BYTES = 25_000_000  # of a larger corpus so many are drawn: of Chinese about 2.2 GB of memory, by what 5 MB take
LOG = logging.getLogger(__name__)


def train_byte_bpe(
    texts: Iterable[str], *, vocabulary_size: int = 8000, min_frequency: int = 2, seed: int = 0
) -> ByteBpeTokenizer:
    """A byte-level BPE tokenizer for texts like these; any other text comes back from its ids as it was, too.

    Args:
        texts: read once, as a stream. Of more than 25 MB, up to 25 MB are drawn at random.
        vocabulary_size: most tokens wanted, four special ones and 256 bytes included; with 260 every token is a byte. A
            small corpus gives fewer; this is logged as a warning.
        min_frequency: how often a pair of tokens must occur to be joined.
        seed: of the random draw.

    Returns:
        ByteBpeTokenizer. The same texts and seed give the same vocabulary and merges.

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
    rust.train_from_iterator(draw_sample(_with_text(texts), most_bytes=SAMPLE_BYTES, seed=seed), trainer)
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
        yield text
    if not found:
        raise InputError(NO_TEXT)
