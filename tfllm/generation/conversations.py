"""Lists of messages -> tensors for a function that answers conversations.

Imports no Keras: a SavedModel is asked by it, too.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfllm.checks import InputError
from tfllm.messages import message_fault


def as_conversations(conversations: Sequence[Sequence[Mapping[str, str]]], *, takes_system: bool = True) -> tf.Tensor:
    """Lists of messages as string (B, 2, N).

    Args:
        conversations: each with a message of the user as its last.
        takes_system: whether the model has a place for a message of the system.

    Raises:
        InputError: for messages that do not take turns, with the reason.
    """
    for number, messages in enumerate(conversations, 1):
        fault = message_fault(messages, takes_system=takes_system)
        if not fault and messages[-1]["role"] != "user":
            fault = "must end with a message of the user, which is to be answered"
        if fault:
            raise InputError(f"Conversation {number} {fault}." if len(conversations) > 1 else f"The chat {fault}.")
    most = max(map(len, conversations), default=0)
    rows = [
        [
            [one[name].encode("utf-8", "replace") for one in messages] + [b""] * (most - len(messages))
            for name in ("role", "content")
        ]
        for messages in conversations
    ]
    return tf.constant(rows, tf.string, [len(conversations), 2, most])
