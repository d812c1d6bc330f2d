"""Conversations -> token ids of which the assistant's answers are learnt -> batches for a model that writes.

N parts of conversations, T tokens of a part or row. Example, `[CLS] [MASK] a [SEP] b [SEP]`, of which `b [SEP]` is
learnt (ids as `data.features` has them):

    token_ids      2   4  10   3  11   3
    padding_mask   1   1   1   1   1   1
    next_ids       4  10   3  11   3   0
    next_weights   0   0   0   1   1   0
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_at_least
from tfllm.data.ahead import mapped
from tfllm.data.batches import Encoded, PackedBatches, TokenTargets
from tfllm.data.features import DECODER_INPUTS
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.chat_encoder import ChatEncoder

log = logging.getLogger("tfllm")
_CHUNK = 500  # conversations tokenized together
_Messages = list[dict[str, str]]


class ChatBatches(PackedBatches):
    """Endless batches of packed rows that can begin at any one; conversations of a row do not see each other.

    The loss is on the assistant's answers only, the token that ends each included. A conversation that is longer than a
    row is parted between turns: each part begins with the system message, and every answer stands in one of them,
    behind as many turns as fit. Of a question and its answer that are too long the end is cut.

    Args:
        conversations: lists of messages, see `read_conversations`.
        tokenizer: with a chat template.
        sequence_length: T at most.
        batch_size: conversations, or parts of long ones, in a batch on average.
        seed: decides the order.

    Raises:
        InputError: if no answer is left to learn, or the tokenizer has no chat template.
    """

    def __init__(
        self,
        conversations: Sequence[_Messages],
        tokenizer: Tokenizer,
        *,
        sequence_length: int = 128,
        batch_size: int = 32,
        seed: int = 0,
    ):
        parts = encode_answers(conversations, tokenizer, sequence_length)
        lengths = [len(part) for part in parts]
        columns = np.concatenate(parts).T.copy(), np.concatenate([np.roll(part, -1, axis=0) for part in parts]).T.copy()
        (ids, _), (next_ids, learnt) = (
            [tf.RaggedTensor.from_row_lengths(column, lengths) for column in pair] for pair in columns
        )
        super().__init__(
            Encoded(ids, tf.zeros_like(ids)),
            TokenTargets(next_ids, tf.cast(learnt, tf.float32)),
            pad_id=tokenizer.pad_id,
            sequence_length=sequence_length,
            batch_size=batch_size,
            seed=seed,
        )

    def __call__(self, start: int = 0) -> tf.data.Dataset:
        """Batches of (inputs, next_ids, next_weights) without end, the first of which has number `start`."""
        return self._for_decoder(super().__call__(start))

    def once(self) -> tf.data.Dataset:
        """Every conversation once."""

        def batches() -> Iterator[tuple]:
            rows = self._pass(0)
            for first in range(0, len(rows), self.rows):
                yield self._filled(rows[first : first + self.rows], self.row_length, None)

        return self._for_decoder(self._dataset(batches, None, self.row_length, None))

    @staticmethod
    def _for_decoder(dataset: tf.data.Dataset) -> tf.data.Dataset:
        def without_segments(inputs, next_ids, weights):
            return {name: inputs[name] for name in DECODER_INPUTS}, next_ids, weights

        return mapped(dataset, without_segments)


def encode_answers(conversations: Sequence[_Messages], tokenizer: Tokenizer, sequence_length: int) -> list[np.ndarray]:
    """The parts of conversations, int32 (T, 2) each: token ids, and 1 where a token belongs to an answer.

    Raises:
        InputError: if no answer is left.
    """
    check_at_least("sequence_length", sequence_length, 3)
    encoder = ChatEncoder(tokenizer)
    whole, long = [], []
    for messages, part in zip(conversations, _encoded(conversations, encoder), strict=True):
        if len(part) > sequence_length:
            long.append((messages, part))
        else:
            whole.append(part)
    pieces = [piece for messages, part in long for piece in _parted(messages, part, encoder, sequence_length)]
    if long:
        log.warning(
            "%d of %d conversations are longer than %d tokens and were parted between turns.",
            len(long),
            len(conversations),
            sequence_length,
        )
    cut = _encoded(pieces, encoder) if pieces else []
    if too_long := sum(len(part) > sequence_length for part in cut):
        log.warning(
            "%d questions with their answers are longer than %d tokens and were cut.", too_long, sequence_length
        )
    parts = [part[:sequence_length] for part in whole + cut]
    kept = [part for part in parts if part[:, 1].any()]
    if not kept:
        raise InputError(
            f"No answer is left to learn: in {sequence_length} tokens there is no room for one. Raise the "
            "`sequence_length` (--sequence-length)."
        )
    return kept


def _encoded(conversations: Sequence[_Messages], encoder: ChatEncoder) -> list[np.ndarray]:
    """Tokens and whether they are learnt, int32 (T, 2), of each conversation as a whole."""
    found = []
    for first in range(0, len(conversations), _CHUNK):
        chunk = [_until_answer(messages) for messages in conversations[first : first + _CHUNK]]
        texts = [encoder.marked(messages, answer=False) for messages in chunk]
        begins = [
            [encoder.marked(messages[:number], answer=True) for number, one in enumerate(messages) if _answers(one)]
            for messages in chunk
        ]
        for row, sizes in _with_prompts(texts, begins, encoder):
            tokens, learnt = np.array(row, np.int32), np.zeros(len(row), np.int32)
            for begin in sizes:
                ends = np.flatnonzero(tokens[begin:] == encoder.end_id)
                learnt[begin : begin + ends[0] + 1] = 1
            found.append(np.stack([tokens, learnt], axis=1))
    return found


def _with_prompts(
    texts: list[bytes], begins: list[list[bytes]], encoder: ChatEncoder
) -> list[tuple[list[int], list[int]]]:
    """The tokens of each conversation, and how many stand before each of its answers.

    Where an answer begins with white space that would be one token with what the template has before it, no prompt has
    that token: such a conversation is tokenized in pieces, each of which begins with an answer.

    Args:
        texts: conversations as the encoder takes them.
        begins: of each the parts up to its answers, which are prompts.
    """
    prompts = iter(encoder.encode(tf.constant([begin for row in begins for begin in row])).to_list())
    found, apart = [], []
    for ids, text, row in zip(encoder.encode(tf.constant(texts)).to_list(), texts, begins, strict=True):
        mine = [next(prompts) for _ in row]
        goes_on = all(ids[: len(prompt)] == prompt for prompt in mine)
        if not goes_on and all(text.startswith(begin) for begin in row):
            apart.append(len(found))
        found.append((ids, [len(prompt) for prompt in mine]))
    cuts = [[0, *map(len, begins[place]), None] for place in apart]
    pieces = [texts[place][start:end] for place, row in zip(apart, cuts, strict=True) for start, end in pairwise(row)]
    encoded = iter(encoder.encode(tf.constant(pieces)).to_list() if pieces else [])
    for place in apart:
        mine = [next(encoded) for _ in range(len(begins[place]) + 1)]
        found[place] = list(chain.from_iterable(mine)), list(accumulate(map(len, mine[:-1])))
    return found


def _until_answer(messages: _Messages) -> _Messages:
    """The messages up to the last answer: nothing is learnt of what follows."""
    last = max(number for number, message in enumerate(messages) if _answers(message))
    return messages[: last + 1]


def _answers(message: dict[str, str]) -> bool:
    return message["role"] == "assistant"


def _parted(messages: _Messages, part: np.ndarray, encoder: ChatEncoder, length: int) -> Iterator[_Messages]:
    """Parts of a conversation that fit, from its end to its beginning, each with the system message."""
    messages = _until_answer(messages)
    system = [message for message in messages[:1] if message["role"] == "system"]
    turns = messages[len(system) :]
    opening = len(encoder.encode(tf.constant([encoder.opening(system[0]["content"] if system else None)]))[0])
    ends = np.flatnonzero(np.diff(part[:, 1], append=0) == -1) + 1  # behind each answer
    starts = np.append(opening, ends[:-1])  # of each question
    last = len(ends)
    while last > 0:
        fits = np.flatnonzero(opening + ends[last - 1] - starts[:last] <= length)
        first = int(fits[0]) if len(fits) else last - 1
        yield system + turns[2 * first : 2 * last]
        last = first
