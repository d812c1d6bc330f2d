"""`tfllm generate --chat`: a conversation in the terminal, or one whose messages come from a pipe."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfllm.checks import InputError
from tfllm.cli.predict import printable, read_lines

if TYPE_CHECKING:
    from tfllm.export import SavedGenerator
    from tfllm.generation import TextGenerator

_NEW = "/new"
_HELP = "Write a message, and Enter. /new begins anew; Ctrl-D ends."


def chat(
    generator: "TextGenerator | SavedGenerator",
    messages: list[str],
    settings: dict,
    *,
    system: str | None = None,
    as_json: bool = False,
) -> None:
    """Answer messages of a user, each with all that came before.

    Args:
        generator: a model that chats.
        messages: of the user; none: they are read from standard input, a line each.
        settings: how to write.
        system: the system message.
        as_json: print a JSON object for each answer; else its text, while it is written where the model can.
    """
    begin = [] if system is None else [{"role": "system", "content": printable(system)}]
    conversation = list(begin)
    for text in messages or _read():
        if text.strip() == _NEW:
            conversation = list(begin)
        if not text.strip() or text.strip() == _NEW:
            continue
        conversation.append({"role": "user", "content": text})
        answer = (
            _answer_json(generator, conversation, settings) if as_json else _show(generator, conversation, settings)
        )
        conversation.append({"role": "assistant", "content": answer})


def _answer_json(generator, conversation: list[dict], settings: dict) -> str:
    row = generator.chat(conversation, **settings)
    print(json.dumps({"prompt": conversation[-1]["content"], **row}, ensure_ascii=False), flush=True)
    return row["text"]


def _show(generator, conversation: list[dict], settings: dict) -> str:
    """Print the answer, piece by piece where the model can, and give it back."""
    try:
        pieces = generator.stream_chat(conversation, **settings)
    except InputError:  # a SavedModel, or beams: whole texts only; what else is wrong is said again
        pieces = iter([generator.chat(conversation, **settings)["text"]])
    answer = ""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        answer += piece
    sys.stdout.write("\n")
    sys.stdout.flush()
    return answer


def _read() -> Iterator[str]:
    """The lines of standard input; in a terminal with a prompt before each, until Ctrl-D or Ctrl-C."""
    if not sys.stdin.isatty():
        yield from read_lines(Path("-"))
        return
    print(_HELP, file=sys.stderr)
    while True:
        try:
            yield printable(input("> "))
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
