"""Train a WordPiece vocabulary with the Rust `tokenizers` trainer, deterministically and in constant memory.

In: texts, read once. Out: a `WordPieceTokenizer`.

Two passes over the normalized text. The first counts characters. The second trains with the alphabet given, because
left to itself the trainer numbers the "##" letters in the order of a randomly seeded hash map, and ties between merges
are broken by these numbers.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers

from tfllm.checks import InputError, check_at_least
from tfllm.tokenizers.base import NO_TEXT, SPECIAL_TOKENS
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

CHARACTER_COVERAGE = 0.9999  # of the text is written in characters that get a place before any tokens are joined
ALPHABET_SHARE = 1 / 8  # of the vocabulary is what these characters may fill even if they are rarer than that
LOG = logging.getLogger(__name__)


def train_wordpiece(
    texts: Iterable[str], *, vocabulary_size: int = 8000, lowercase: bool = True, min_frequency: int = 2
) -> WordPieceTokenizer:
    """A WordPiece tokenizer for texts like these, by BERT's splitting rules.

    Args:
        texts: read once, as a stream; a copy is kept in a temporary file while this runs.
        vocabulary_size: most tokens wanted, the five special ones included. A small corpus gives fewer; this is logged
            as a warning.
        lowercase: lower-case and strip accents, as `WordPieceTokenizer` will.
        min_frequency: how often a pair of tokens must occur to be joined.

    Returns:
        WordPieceTokenizer. The same texts give the same vocabulary.

    Raises:
        InputError: if no text has a visible character, or `vocabulary_size` is under 100.
    """
    check_at_least("vocabulary_size", vocabulary_size, 100)
    check_at_least("min_frequency", min_frequency, 1)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        counts = Counter()
        forms = set(_train(_normalize(texts, lowercase, spool, counts), vocab_size=0, special_tokens=[]))
        characters = _by_frequency(counts, forms)
        alphabet = _choose_alphabet(characters, counts, forms, vocabulary_size)
        continuations = [form for form in _forms(alphabet, forms) if form.startswith("##")]
        spool.seek(0)
        vocabulary = _train(
            spool,
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=[*SPECIAL_TOKENS, *continuations],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
        )
    vocabulary += _forms(characters[len(alphabet) :], forms)[: vocabulary_size - len(vocabulary)]  # where room is left
    if len(vocabulary) < vocabulary_size:
        LOG.warning("The corpus is too small for %d tokens; it gave %d.", vocabulary_size, len(vocabulary))
    return WordPieceTokenizer(vocabulary, lowercase=lowercase)


def _normalize(texts: Iterable[str], lowercase: bool, spool, counts: Counter) -> Iterator[str]:
    """Yield each text as BERT normalizes it, counting its characters and copying it to `spool`."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    for text in texts:
        text = text.encode("utf-8", "replace").decode("utf-8")  # the Rust library takes no lone surrogates
        for line in normalizer.normalize_str(text).split("\n"):
            counts.update(line)
            spool.write(f"{line}\n")
            yield line


def _train(texts: Iterable[str], **options) -> list[str]:
    """The vocabulary the Rust trainer finds, in the order of its ids."""
    rust = RustTokenizer(models.WordPiece(unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.train_from_iterator(texts, trainers.WordPieceTrainer(show_progress=False, **options))
    vocabulary = rust.get_vocab()
    return sorted(vocabulary, key=vocabulary.get)


def _by_frequency(counts: Counter, forms: set[str]) -> list[str]:
    """The characters in `forms`, most frequent first; ties by code point."""
    characters = sorted((form for form in forms if len(form) == 1), key=lambda form: (-counts[form], form))
    if not characters:
        raise InputError(NO_TEXT)
    return characters


def _choose_alphabet(characters: list[str], counts: Counter, forms: set[str], vocabulary_size: int) -> list[str]:
    """The most frequent of `characters`, which get their places before any tokens are joined."""
    total = sum(counts[character] for character in characters)
    room = vocabulary_size - len(SPECIAL_TOKENS)
    places, covered = 0, 0
    for number, character in enumerate(characters):
        places += len(_forms([character], forms))
        if places > room or (covered >= CHARACTER_COVERAGE * total and places > ALPHABET_SHARE * vocabulary_size):
            return characters[:number]
        covered += counts[character]
    return characters


def _forms(characters: list[str], forms: set[str]) -> list[str]:
    """The ways `characters` occur: "x" at the beginning of words, "##x" inside them."""
    return [form for character in characters for form in (character, f"##{character}") if form in forms]
