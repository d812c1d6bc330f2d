"""Train a SentencePiece model with the `sentencepiece` trainer, deterministically.

In: texts, read once. Out: a `SentencePieceTokenizer`.
"""

import io
import logging
import re
from collections.abc import Iterable, Iterator

import sentencepiece

from tfllm.checks import InputError, check_at_least, check_one_of
from tfllm.tokenizers.base import NO_TEXT, SPECIAL_TOKENS
from tfllm.tokenizers.sample import draw_sample
from tfllm.tokenizers.sentencepiece import SentencePieceTokenizer

LINE_CHARACTERS = 1000  # longer lines are cut: the trainer skips lines of over 4192 bytes
SAMPLE_LINES = 200_000  # of a longer corpus so many are drawn, of so many bytes: the trainer needs 15 times these
SAMPLE_BYTES = 100_000_000
THREADS = 4  # fixed: sums over threads are rounded differently for another number
LOG = logging.getLogger(__name__)


def train_sentencepiece(
    texts: Iterable[str],
    *,
    vocabulary_size: int = 8000,
    model_type: str = "unigram",
    lowercase: bool = False,
    seed: int = 0,
) -> SentencePieceTokenizer:
    """A SentencePiece tokenizer for texts like these, with byte fallback: no character is unknown.

    Args:
        texts: read once, as a stream. Of more than 200,000 lines or 100 MB, up to so many are drawn at random.
        vocabulary_size: most tokens wanted, the five special ones and 256 bytes included. A small corpus gives fewer;
            this is logged as a warning.
        model_type: "unigram" or "bpe".
        lowercase: fold case (Unicode case folding) besides the usual NFKC normalization.
        seed: of the random draw.

    Returns:
        SentencePieceTokenizer. The same texts and seed give the same model.

    Raises:
        InputError: if there is no text, or `vocabulary_size` is too small for the characters of the corpus.
    """
    check_one_of("model_type", model_type, ["unigram", "bpe"])
    check_at_least("vocabulary_size", vocabulary_size, len(SPECIAL_TOKENS) + 256 + 1)
    lines = draw_sample(_lines(texts), most_bytes=SAMPLE_BYTES, most_texts=SAMPLE_LINES, seed=seed)
    if not lines:
        raise InputError(NO_TEXT)
    pad, unk, cls, sep, mask = SPECIAL_TOKENS
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocabulary_size,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=pad,
            unk_piece=unk,
            bos_piece=cls,
            eos_piece=sep,
            control_symbols=[mask],
            num_threads=THREADS,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(_explain(str(error), vocabulary_size)) from None
    tokenizer = SentencePieceTokenizer(model.getvalue())
    if tokenizer.vocabulary_size < vocabulary_size:
        LOG.warning("The corpus is too small for %d tokens; it gave %d.", vocabulary_size, tokenizer.vocabulary_size)
    return tokenizer


def _explain(error: str, vocabulary_size: int) -> str:
    """What the user can do about an error of the trainer."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", error):
        return (
            f"`vocabulary_size` must be at least {needed[1]}, the number of different characters of this corpus with "
            f"the bytes and special tokens. Received: {vocabulary_size}."
        )
    if "all_chars_count" in error:
        return NO_TEXT
    return f"SentencePiece cannot train on this corpus: {error}"


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of the texts that are not blank, in pieces the trainer takes."""
    for text in texts:
        for line in text.split("\n"):
            for piece in re.findall(rf".{{1,{LINE_CHARACTERS}}}", line):
                if piece.strip():
                    yield piece
