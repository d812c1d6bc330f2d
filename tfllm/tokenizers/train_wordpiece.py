"""Train a WordPiece vocabulary with the Rust `tokenizers` trainer, deterministically and in constant memory.

In: texts, read once. Out: a `WordPieceTokenizer`.

The trainer is given words, which costs it half of what texts do, and the alphabet, because left to itself it numbers
the "##" letters in the order of a randomly seeded hash map, and ties between merges are broken by these numbers.
"""

import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, trainers

from tfllm.checks import InputError, check_at_least
from tfllm.tokenizers.base import NO_TEXT, SPECIAL_TOKENS
from tfllm.tokenizers.bert_words import BertWords, CharacterCounts
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

CHARACTER_COVERAGE = 0.9999  # of the text is written in characters that get a place before any tokens are joined
ALPHABET_SHARE = 1 / 8  # of the vocabulary is what these characters may fill even if they are rarer than that
CHARACTERS_AT_ONCE = 1 << 20
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
        InputError: if no text has a visible character, `vocabulary_size` is under 100, or the disk is full.
    """
    check_at_least("vocabulary_size", vocabulary_size, 100)
    check_at_least("min_frequency", min_frequency, 1)
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words.txt"
        counts, insiders = _write_words(texts, words, BertWords(lowercase))
        characters = sorted(counts, key=lambda character: (-counts[character], character))
        if not characters:
            raise InputError(NO_TEXT)
        alphabet = _choose_alphabet(characters, counts, insiders, vocabulary_size)
        rust = RustTokenizer(models.WordPiece(unk_token="[UNK]"))
        rust.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocabulary_size,
            min_frequency=min_frequency,
            special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in alphabet if letter in insiders)],
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        rust.train([str(words)], trainer)
    ids = rust.get_vocab()
    vocabulary = sorted(ids, key=ids.get)
    vocabulary += _forms(characters[len(alphabet) :], insiders)[
        : vocabulary_size - len(vocabulary)
    ]  # where room is left
    if len(vocabulary) < vocabulary_size:
        LOG.warning("The corpus is too small for %d tokens; it gave %d.", vocabulary_size, len(vocabulary))
    return WordPieceTokenizer(vocabulary, lowercase=lowercase)


def _write_words(texts: Iterable[str], file: Path, split: BertWords) -> tuple[Counter, set[str]]:
    """Write the words of the texts to a file, white space between them, and count their characters."""
    counts = CharacterCounts()
    with open(file, "wb", buffering=0) as stream:
        for block in _blocks(texts):
            words = split(block.encode("utf-8", "replace").decode("utf-8"))  # "?" for lone surrogates
            counts.add(words)
            _write(words.tobytes().decode("utf-32-le").encode("utf-8"), stream, file)
    return counts.occurrences()


def _write(data: bytes, stream: io.RawIOBase, file: Path) -> None:
    try:
        while data:
            data = data[stream.write(data) :]
    except OSError as error:
        raise InputError(
            f"{file.parent}: {error.strerror}. The words of all texts are kept there while the vocabulary is trained; "
            "the environment variable TMPDIR names another place."
        ) from None


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each ended by a newline, many together."""
    gathered, size = [], 0
    for text in texts:
        gathered.append(f"{text}\n")
        size += len(text)
        if size > CHARACTERS_AT_ONCE:
            yield "".join(gathered)
            gathered, size = [], 0
    yield "".join(gathered)


def _choose_alphabet(characters: list[str], counts: Counter, insiders: set[str], vocabulary_size: int) -> list[str]:
    """The most frequent of `characters`, which get their places before any tokens are joined."""
    total = sum(counts.values())
    room = vocabulary_size - len(SPECIAL_TOKENS)
    places, covered = 0, 0
    for number, character in enumerate(characters):
        places += len(_forms([character], insiders))
        if places > room or (covered >= CHARACTER_COVERAGE * total and places > ALPHABET_SHARE * vocabulary_size):
            return characters[:number]
        covered += counts[character]
    return characters


def _forms(characters: list[str], insiders: set[str]) -> list[str]:
    """Each character, and after it "##x" if it stands inside words."""
    return [form for one in characters for form in ([one, f"##{one}"] if one in insiders else [one])]
