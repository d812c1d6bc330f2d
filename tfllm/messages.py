"""The messages of a conversation: their roles, and in which order they may come."""

from collections.abc import Mapping

ROLES = ("system", "user", "assistant")


def message_fault(messages: object, *, takes_system: bool = True) -> str:
    """What is wrong with the messages of a conversation; '' when they are good.

    Args:
        messages: a list of {"role", "content"}: perhaps one of the system, then of user and assistant in turn.
        takes_system: whether the model they are for has a place for a message of the system.
    """
    if not isinstance(messages, list | tuple) or not messages:
        return "must be a list of messages, at least one"
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
            return f'message {number} must be {{"role": ..., "content": ...}} with a text as content'
        if message.get("role") not in ROLES:
            return f"message {number} has the role {message.get('role')!r}; there are {', '.join(ROLES)}"
    roles = [message["role"] for message in messages]
    if roles[0] == "system":
        if not takes_system:
            return "the chat template of this model has no place for a system message"
        roles = roles[1:]
    for number, role in enumerate(roles):
        expected = ("user", "assistant")[number % 2]
        if role != expected:
            place = number + 1 + (messages[0]["role"] == "system")
            return f"message {place} is of the role {role}, and one of {expected} is due: they take turns, user first"
    return "" if roles else "has no message of a user"
