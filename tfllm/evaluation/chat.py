"""A model that chats and conversations -> loss and perplexity of the answers, and how near its own answers are.

In: what `add_causal_lm_head` returns, and a tokenizer with a chat template. Out: a dict of JSON values.
"""

from collections.abc import Sequence

import keras

from tfllm.data.chat import ChatBatches
from tfllm.evaluation.causal_lm import mean_loss
from tfllm.evaluation.seq2seq import text_scores
from tfllm.generation import TextGenerator
from tfllm.tokenizers import Tokenizer


def evaluate_chat(
    model: keras.Model,
    tokenizer: Tokenizer,
    conversations: Sequence[list[dict[str, str]]],
    *,
    sequence_length: int,
    batch_size: int = 32,
    **settings,
) -> dict:
    """How probable a model holds the answers of conversations, and what it answers itself.

    Args:
        model, tokenizer: the model, and the tokenizer it was trained with.
        conversations: lists of messages, see `read_conversations`.
        sequence_length: tokens of a conversation at most; of a longer one the oldest turns are left out.
        batch_size: conversations that go through the model together.
        settings: how to write, see `tfllm.writing`; what is not given is as the model says.

    Returns:
        `tokens`, `loss`, `perplexity`: of the tokens of all answers, their ends included. `examples`, and what
        `text_scores` gives, of the model's own answer in place of the last one of each conversation. `predictions`:
        these answers.

    Raises:
        InputError: if the tokenizer has no chat template, or no answer fits.
    """
    batches = ChatBatches(conversations, tokenizer, sequence_length=sequence_length, batch_size=batch_size)
    scores = mean_loss(model)(batches.once())
    asked, right = zip(*map(last_answer, conversations), strict=True)
    answers = TextGenerator(model, tokenizer, sequence_length).answers(asked, **settings)
    texts = [answer["text"] for answer in answers]
    return {**scores, "examples": len(texts), **text_scores(texts, right), "predictions": texts}


def last_answer(messages: list[dict[str, str]]) -> tuple[list[dict[str, str]], str]:
    """The messages before the last answer of a conversation, and that answer."""
    last = max(number for number, message in enumerate(messages) if message["role"] == "assistant")
    return messages[:last], messages[last]["content"]
