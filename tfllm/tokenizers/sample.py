"""As much of a corpus as a trainer can hold, drawn at random and spread over all of it.

In: a stream of texts. Out: a list of pieces of them, in their order.
"""

import logging
import random
from collections.abc import Iterable

PIECE_CHARACTERS = 100_000  # longer texts are cut: a single one must not be all of the sample
_STAY = 0.8  # of the pieces stay when there are too many
LOG = logging.getLogger(__name__)


def draw_sample(texts: Iterable[str], *, most_bytes: int, most_texts: float = float("inf"), seed: int = 0) -> list[str]:
    """All the texts if they are few; of more, a random sample that fills at least three quarters of what may be held.

    Every piece is as likely to be in it as any other, wherever it stands: whenever there is too much, each piece held
    stays with a chance of 0.8, and of those to come as large a share is taken.

    Args:
        texts: read once, as a stream. Lone surrogates come out as question marks: no trainer takes them.
        most_bytes: of UTF-8, all pieces together.
        most_texts: how many pieces.
        seed: of the draw. The same texts and seed give the same sample.

    Returns:
        The texts, those of over 100,000 characters in pieces. A line of the log says if they are a sample.
    """
    draw, share = random.Random(seed), 1.0
    sample, held, read = [], 0, 0
    for text in texts:
        for start in range(0, len(text), PIECE_CHARACTERS):
            content = text[start : start + PIECE_CHARACTERS].encode("utf-8", "replace")
            read += len(content)
            if share < 1 and draw.random() >= share:
                continue
            sample.append(content.decode("utf-8"))
            held += len(content)
            while held > most_bytes or len(sample) > most_texts:
                sample = [piece for piece in sample if draw.random() < _STAY]
                held, share = sum(len(piece.encode("utf-8")) for piece in sample), share * _STAY
    if share < 1:
        told = "The trainer would not hold the whole corpus: it is given %.4g of %.4g MB, drawn at random."
        LOG.info(told, held / 1e6, read / 1e6)
    return sample
