"""Texts -> rows `[CLS] A [SEP] B [SEP]` where B follows A in its text, or stands in another one.

In: texts. Out: int32 token_ids, segment_ids, padding_mask (rows, T) and label_ids (rows,): 1 where B follows A.
"""

import re

import numpy as np

from tfllm.tokenizers import Tokenizer

_SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, by their final punctuation, Western or Chinese."""
    return [sentence.strip() for sentence in _SENTENCE_END.split(text) if sentence.strip()]


def sentence_pairs(
    texts: list[str], tokenizer: Tokenizer, length: int, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Walk through the texts and make rows of about `length` tokens.

    Sentences of a text are gathered until the row is full and cut in two at a random sentence. With probability one
    half the second part is replaced by sentences from a random other text, and goes back to be used in the next row.

    Source: Devlin et al. 2019, arXiv:1810.04805, appendix A.2. Differs: pairs are drawn anew in every epoch; a text of
    one sentence is cut in the middle.
    """
    documents = [_sentence_ids(text, tokenizer, length) for text in texts]
    documents = [document for document in documents if len(document) > 1]
    rows = [pair for number in range(len(documents)) for pair in _pairs_of(documents, number, length - 3, random)]
    token_ids = np.full((len(rows), length), tokenizer.pad_id, np.int32)
    segment_ids, padding_mask = np.zeros_like(token_ids), np.zeros_like(token_ids)
    for row, (first, second, _) in enumerate(rows):
        middle, end = len(first) + 2, len(first) + len(second) + 3
        token_ids[row, :end] = [tokenizer.cls_id, *first, tokenizer.sep_id, *second, tokenizer.sep_id]
        segment_ids[row, middle:end] = 1
        padding_mask[row, :end] = 1
    labels = np.array([follows for _, _, follows in rows], np.int32)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask, "label_ids": labels}


def _sentence_ids(text: str, tokenizer: Tokenizer, length: int) -> list[list[int]]:
    """Ids of each sentence, none longer than a third of the row so that a pair always fits."""
    longest = max(1, (length - 3) // 3)
    sentences = tokenizer.tokenize(split_sentences(text) or [text]).to_list()
    if len(sentences) == 1:
        middle = len(sentences[0]) // 2
        sentences = [sentences[0][:middle], sentences[0][middle:]]
    return [ids[start : start + longest] for ids in sentences for start in range(0, len(ids), longest)]


def _pairs_of(documents: list, number: int, room: int, random: np.random.Generator):
    """Yield (first ids, second ids, follows) from one document."""
    document, at = documents[number], 0
    while at < len(document) - 1:
        end = at + 1
        while end < len(document) and _total(document[at : end + 1]) <= room:
            end += 1
        end = max(end, at + 2)
        middle = int(random.integers(at + 1, end))
        first, second = _flat(document[at:middle]), _flat(document[middle:end])
        follows = len(documents) == 1 or random.random() < 0.5
        if not follows:
            second, end = _elsewhere(documents, number, room - len(first), random), middle
        yield first[:room], second[: room - len(first)], int(follows)
        at = end


def _elsewhere(documents: list, number: int, room: int, random: np.random.Generator) -> list[int]:
    """Consecutive sentences from a random other document, as many as fit, at least one."""
    other = int(random.integers(len(documents) - 1))
    document = documents[other + (other >= number)]
    start = int(random.integers(len(document)))
    end = start + 1
    while end < len(document) and _total(document[start : end + 1]) <= room:
        end += 1
    return _flat(document[start:end])


def _total(sentences: list[list[int]]) -> int:
    return sum(len(sentence) for sentence in sentences)


def _flat(sentences: list[list[int]]) -> list[int]:
    return [token for sentence in sentences for token in sentence]
