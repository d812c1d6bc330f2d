"""Chat templates: how the messages of a conversation become one text with marks between them.

In: messages, dicts of `role` ("system", "user" or "assistant") and `content`. Out: what stands around each of them.
A template is data, stored with the tokenizer as `chat_template.json`. The Jinja of a published checkpoint is turned
into it once, when the checkpoint is imported.
"""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfllm.checks import InputError
from tfllm.tokenizers import jinja_probe

FILE = "chat_template.json"
_LOOKS_LIKE_CONTROL = re.compile(r"<\|[^<>\s]+\|>|<[^<>\s]+>|\[/?[A-Z_]+\]")
TIMEOUT_SECONDS = 30  # of rendering, on a machine that has much else to do
_LONGEST = 100_000  # characters of a Jinja template


@dataclasses.dataclass(frozen=True)
class ChatTemplate:
    """What stands around the messages of a conversation.

    After the system message, if there is one, messages of the user and of the assistant take turns, the user first.

    Attributes:
        begin: what comes before the first user's message where there is no system message.
        system: what comes before a system message, and between it and the first user's message; None: there is no
            place for one.
        user: what comes before a user's message that follows an answer, and after every one.
        assistant: what comes before and after an answer. After it stands a control token, which ends the answer.
        answer: what comes after the last user's message, beyond `user`, where an answer is to begin.
        default_system: the system message of a conversation without one; None: none.
        control: strings that are tokens of their own, for tokenizers that have them in their vocabulary; in the others,
            and in messages, they are plain text.
        stripped: roles whose messages lose white space at both ends.

    Example: ChatML has begin "<|im_start|>user\\n", system ("<|im_start|>system\\n",
    "<|im_end|>\\n<|im_start|>user\\n"), user ("<|im_start|>user\\n", "<|im_end|>\\n"), assistant
    ("<|im_start|>assistant\\n", "<|im_end|>\\n"), answer "<|im_start|>assistant\\n".
    """

    begin: str
    system: tuple[str, str] | None
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str
    default_system: str | None = None
    control: tuple[str, ...] = ()
    stripped: tuple[str, ...] = ()

    def render(self, messages: Sequence[Mapping[str, str]], *, answer: bool = True) -> str:
        """The whole conversation as one text, for a person; where `answer`, up to where an answer begins."""
        messages = self.completed(messages)
        pieces = [] if messages[0]["role"] == "system" else [self.begin]
        before = {"system": (self.system or ("", ""))[0], "user": self.user[0], "assistant": self.assistant[0]}
        after = {"system": (self.system or ("", ""))[1], "user": self.user[1], "assistant": self.assistant[1]}
        for number, message in enumerate(messages):
            role, content = message["role"], message["content"]
            opens = role == "user" and (number == 0 or messages[number - 1]["role"] == "system")
            pieces += [
                "" if opens else before[role],
                content.strip() if role in self.stripped else content,
                after[role],
            ]
        return "".join(pieces) + self.answer * answer

    def completed(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """The messages, with the default system message where they have none."""
        messages = [dict(message) for message in messages]
        if self.default_system is not None and (not messages or messages[0]["role"] != "system"):
            return [{"role": "system", "content": self.default_system}, *messages]
        return messages

    def save(self, directory: str | Path) -> None:
        """Write `chat_template.json` into a directory."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)
        Path(directory, FILE).write_text(text + "\n", "utf-8")

    @classmethod
    def read(cls, directory: str | Path) -> "ChatTemplate | None":
        """What `save` wrote; None if there is no such file.

        Raises:
            InputError: if the file holds something else.
        """
        file = Path(directory, FILE)
        if not file.is_file():
            return None
        try:
            values = json.loads(file.read_text("utf-8"))
            template = cls(**{name: tuple(part) if isinstance(part, list) else part for name, part in values.items()})
            template._check()
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{file} is not a chat template: {error}.") from None
        return template

    def _check(self) -> None:
        pairs = [pair for pair in (self.system, self.user, self.assistant) if pair is not None]
        if not all(isinstance(part, tuple) for part in [*pairs, self.control, self.stripped]):
            raise ValueError("`system`, `user`, `assistant`, `control` and `stripped` must be lists of texts")
        texts = [self.begin, self.answer, self.default_system or "", *self.control, *self.stripped]
        if any(len(pair) != 2 for pair in pairs) or not all(isinstance(one, str) for one in [*texts, *sum(pairs, ())]):
            raise ValueError("its parts must be texts, and pairs of texts")


def default_template(special_tokens: Mapping[str, str]) -> ChatTemplate:
    """A template for a tokenizer without one, from the special tokens that it has.

    With [CLS], [SEP] and [MASK], which every tokenizer has that tfllm trains, a conversation is
    `[CLS] system [MASK] user [SEP] answer [SEP] [MASK] user [SEP] ...`. Other tokenizers get marks in plain text.

    Args:
        special_tokens: of the tokenizer, see `Tokenizer.special_tokens`.

    Raises:
        InputError: for a tokenizer without a token that ends a text.
    """
    if not {"cls", "sep"} <= set(special_tokens):
        raise InputError("A conversation needs a tokenizer with a cls and a sep token: they begin it and end answers.")
    begin, end = special_tokens["cls"], special_tokens["sep"]
    if "mask" in special_tokens:
        turn = special_tokens["mask"]
        return ChatTemplate(begin + turn, (begin, turn), (turn, end), ("", end), "", control=(begin, end, turn))
    user, answer = "User:\n", "\nAssistant:\n"
    pairs = {"system": (begin, "\n" + user), "user": (user, answer), "assistant": ("", end + "\n")}
    return ChatTemplate(begin + user, **pairs, answer="", control=tuple(dict.fromkeys((begin, end))))


def from_jinja(template: str, special: Mapping[str, str]) -> ChatTemplate:
    """Turn the Jinja template of a published checkpoint into a `ChatTemplate`.

    Conversations are rendered in a process of their own, by Jinja's sandbox; what stands between their messages becomes
    the template, which must then give other conversations as Jinja does.

    Args:
        template: the source, `chat_template` of `tokenizer_config.json` or the file `chat_template.jinja`.
        special: what the source may name: `bos_token`, `eos_token`, ... -> the token.

    Raises:
        InputError: where it cannot be expressed so: it asks for tools or the date, say, or looks at what messages say.

    Differs: an answer that nothing follows has no empty thoughts before it, which Qwen 3's template puts there. No
    prompt ends with an answer, and in training all answers are alike.
    """
    if not isinstance(template, str) or len(template) > _LONGEST:
        raise InputError(f"A chat template must be a text of at most {_LONGEST:,} characters.")
    special = {name: token for name, token in special.items() if isinstance(token, str)}
    asked = [(_conversation(roles, _WORDS), answer) for roles, answer in _PROBES]
    asked += [(_conversation(roles, _SPACED), answer) for roles, answer in _BLANKS]
    further = [(_conversation(roles, _HOSTILE), answer) for roles, answer in _FURTHER]
    texts = iter(_rendered(template, special, asked + further))
    found = _assemble(*(next(texts) for _ in _PROBES))
    blanks = [next(texts) for _ in _BLANKS]
    stripped = _stripped(blanks[0], ("user", "assistant"))
    if found.system is not None:
        stripped += _stripped(blanks[1], ("system",))
    found = dataclasses.replace(found, stripped=stripped, control=_control(found, special))
    for (messages, answer), reference in zip(further, texts, strict=True):
        if messages[0]["role"] == "system" and found.system is None:
            continue
        if found.render(messages, answer=answer) != reference and not _thinks_last(found, messages, reference):
            raise _not_expressible(f"a conversation of {len(messages)} messages comes out otherwise")
    return found


# Conversations to render, by the first letters of their roles, and whether up to the beginning of an answer.
_PROBES = (("suauau", True), ("uauau", True), ("uau", False), ("ua", False))
_WORDS = ("s0x", "u1x", "a2x", "u3x", "a4x", "u5x")
_BLANKS = (("ua", False), ("su", True))
_SPACED = (" \n q7 \n ", " \n z8 \n ")
_FURTHER = (("u", True), ("su", True), ("uau", True), ("suauauau", True), ("uaua", False), ("sua", False))
_HOSTILE = ('He said "no".\n\n{{ x }}', "<b>é 你好</b>", "1", " \n- a\n- b\t ", "x" * 50, "/no?", "ok", "s")
_LETTERS = {"s": "system", "u": "user", "a": "assistant"}


def _conversation(roles: str, words: Sequence[str]) -> list[dict[str, str]]:
    words = words[1:] if words is _WORDS and roles[0] == "u" else words
    return [{"role": _LETTERS[role], "content": word} for role, word in zip(roles, words, strict=False)]


def _rendered(template: str, special: dict[str, str], asked: list[tuple]) -> list[str | dict]:
    request = json.dumps(
        {"template": template, "names": {"tools": None, "documents": None, **special}, "conversations": asked}
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", jinja_probe.__file__],
            input=request,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
        )
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise InputError("The chat template needs more time or memory than a template may: it is not run.") from None


def _assemble(with_system: str | dict, *others: str | dict) -> ChatTemplate:
    """The template behind four renderings: `suauau` and `uauau` up to an answer, `uau` and `ua` as they are."""
    for text in others:
        if isinstance(text, dict):
            raise _not_expressible(text["error"])
    without, open_end, answered = others
    begin, user_to_answer, answer_to_user, *again, last = _gaps(without, _WORDS[1:6]) or [None] * 6
    gaps = _gaps(with_system, _WORDS) if isinstance(with_system, str) else None
    if begin is None or again[0] != user_to_answer or again[1] != answer_to_user:
        raise _not_expressible("turns are not alike")
    user_end, answer_end = open_end[open_end.rfind("u3x") + 3 :], answered[answered.rfind("a2x") + 3 :]
    ends = (user_to_answer, user_end), (last, user_end), (answer_to_user, answer_end)
    if not all(text.startswith(end) for text, end in ends):
        raise _not_expressible("a turn ends otherwise where nothing follows")
    if gaps and gaps[2:] != [user_to_answer, answer_to_user, user_to_answer, answer_to_user, last]:
        gaps = None  # the system message changes what follows
    default = None
    if gaps and begin.startswith(gaps[0]) and begin.endswith(gaps[1]) and len(begin) >= len(gaps[0]) + len(gaps[1]):
        default = begin[len(gaps[0]) : len(begin) - len(gaps[1])]
    return ChatTemplate(
        begin=begin,
        system=(gaps[0], gaps[1]) if gaps else None,
        user=(answer_to_user.removeprefix(answer_end), user_end),
        assistant=(user_to_answer.removeprefix(user_end), answer_end),
        answer=last.removeprefix(user_end),
        default_system=default,
    )


def _gaps(text: str, words: Sequence[str]) -> list[str] | None:
    """What stands around the words of a text; None unless each is there once, in this order."""
    if any(text.count(word) != 1 for word in words):
        return None
    found = re.fullmatch("(.*)".join(["", *map(re.escape, words), ""]), text, re.DOTALL)
    return list(found.groups()) if found else None


def _stripped(text: str | dict, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The roles whose message came without the white space around it."""
    if isinstance(text, dict):
        raise _not_expressible(text["error"])
    return tuple(role for role, word in zip(roles, ("q7", "z8"), strict=False) if f" \n {word} \n " not in text)


def _thinks_last(template: ChatTemplate, messages: Sequence[Mapping[str, str]], text: str | dict) -> bool:
    """Whether a conversation that ends with an answer differs in nothing but what comes right before that."""
    if messages[-1]["role"] != "assistant" or isinstance(text, dict):
        return False
    whole, begin = template.render(messages, answer=False), template.render(messages[:-1], answer=False)
    end = whole[len(begin + template.assistant[0]) :]
    return len(text) > len(whole) and text.startswith(begin + template.assistant[0]) and text.endswith(end)


def _control(template: ChatTemplate, special: Mapping[str, str]) -> tuple[str, ...]:
    pairs = (template.system or ("", ""), template.user, template.assistant)
    text = "\n".join([template.begin, template.answer, *(part for pair in pairs for part in pair)])
    named = [token for token in special.values() if token and token in text]
    return tuple(dict.fromkeys([*named, *_LOOKS_LIKE_CONTROL.findall(text)]))


def _not_expressible(reason: str) -> InputError:
    return InputError(
        "The chat template of this checkpoint is no fixed text around the messages of user and assistant, which is all "
        f"that tfllm serves: {reason}. Import it without, or write a chat_template.json."
    )
