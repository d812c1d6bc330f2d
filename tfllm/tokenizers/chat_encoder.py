"""`ChatEncoder`: conversations -> token ids by TensorFlow ops, the same in training, in Python and in a SavedModel.

A conversation is rendered as one string in which control tokens stand as `0xFF id 0xFF`, and then split there: 0xFF
occurs in no valid UTF-8, so no message can bring a control token with it.
B conversations, N turns, P pieces of all of them, T tokens.
"""

import re

import tensorflow as tf

from tfllm.checks import InputError
from tfllm.messages import ROLES
from tfllm.tokenizers.base import Tokenizer, valid_utf8

_MARK = b"\xff"
_BLANKS = r"[\pZ\t-\r\x{1c}-\x{1f}\x{85}]+"  # what Python's `strip` takes away
_NO_SYSTEM = "The chat template of this model has no place for a system message."
_NO_ROLE = 'Roles are "system", "user", "assistant", and "" where there is no turn.'


class ChatEncoder:
    """Encodes conversations for one tokenizer, by its `chat_template`.

    Attributes:
        end_id: the token that ends an answer.
        control_ids: those of the template that are tokens of their own; no message becomes one of them.

    Raises:
        InputError: if the tokenizer has no template, makes a control token of typed text, or answers have no end.
    """

    def __init__(self, tokenizer: Tokenizer):
        template = tokenizer.chat_template
        if template is None:
            raise InputError("This model holds no conversations: its tokenizer has no chat template.")
        ids = {token: token_id for token_id, token in enumerate(tokenizer.vocabulary)}
        self._ids = {token: ids[token] for token in template.control if token in ids}
        self._tokenizer, self._template = tokenizer, template
        self.control_ids = list(self._ids.values())
        _check_typed(tokenizer, self._ids)
        found = re.search(_MARK + rb"(\d+)" + _MARK, self._marked(template.assistant[1]))
        if not found:
            raise InputError(
                "Behind an answer the chat template must have a control token that ends it. Received: "
                f"{template.assistant[1]!r}, and of the control tokens the vocabulary holds {list(self._ids)}."
            )
        self.end_id = int(found[1])

    def __call__(self, roles: tf.Tensor, contents: tf.Tensor, room: tf.Tensor | int) -> tf.RaggedTensor:
        """The tokens of each conversation up to where an answer begins.

        Args:
            roles: string (B, N), "system", "user" or "assistant"; "" where there is no turn.
            contents: string (B, N), any bytes.
            room: int32, scalar or (B,), how many tokens there may be. The oldest turns are left out of a longer
                conversation, its system message kept; of a last turn that is too long by itself, its end is kept.

        Returns:
            RaggedTensor int32 (B, (T)).
        """
        kinds = self._kinds(roles)
        contents = self._cleaned(kinds, contents)
        opening = self._opening(kinds, contents)
        turns = self._turns(kinds, contents, first=False)
        kept, first = self._kept(kinds, self._count(opening), self._count(turns), room)
        turns = tf.where(first, self._turns(kinds, contents, first=True), turns)
        text = tf.strings.reduce_join(tf.where(kept, turns, ""), axis=1)
        ids = self.encode(tf.strings.join([opening, text, self._marked(self._template.answer)]))
        return _ends(ids, room)

    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of rendered conversations, string (B,), in which control tokens are marked: int32 (B, (T))."""
        pieces = tf.strings.split(text, _MARK)  # (B, (P)): text and ids in turn
        flat = pieces.flat_values
        odd = tf.ragged.range(pieces.row_lengths()).flat_values % 2 == 1
        plain = self._tokenizer.tokenize(tf.where(odd, "", flat))  # (P, (T))
        ids = tf.strings.to_number(tf.where(odd, flat, "0"), tf.int32)
        marked = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ids, odd), tf.cast(odd, tf.int64), validate=False)
        tokens = tf.concat([plain, marked], axis=1)
        return pieces.with_flat_values(tokens).merge_dims(1, 2)

    def marked(self, messages: list[dict[str, str]], *, answer: bool) -> bytes:
        """One conversation as `encode` takes it; see `ChatTemplate.render`."""
        begins = messages[:1] and messages[0]["role"] == "system"
        text = self.opening(messages[0]["content"] if begins else None)
        for number, message in enumerate(messages[1:] if begins else messages):
            before, after = map(self._marked, getattr(self._template, message["role"]))
            text += (before if number else b"") + self._bare(message) + after
        return text + self._marked(self._template.answer) * answer

    def opening(self, system: str | None) -> bytes:
        """What comes before the first user's message, as `encode` takes it.

        Args:
            system: the system message; None: the template's own, if it has one.
        """
        system = self._template.default_system if system is None else system
        if system is None:
            return self._marked(self._template.begin)
        if self._template.system is None:
            raise InputError(_NO_SYSTEM)
        before, after = map(self._marked, self._template.system)
        return before + self._bare({"role": "system", "content": system}) + after

    def _bare(self, message: dict[str, str]) -> bytes:
        content = message["content"].strip() if message["role"] in self._template.stripped else message["content"]
        return content.encode("utf-8", "replace")

    def _marked(self, text: str) -> bytes:
        """A part of the template with its control tokens as `0xFF id 0xFF`."""
        tokens = sorted(self._ids, key=len, reverse=True)
        parts = re.split("(" + "|".join(map(re.escape, tokens)) + ")", text) if tokens else [text]
        return b"".join(
            _MARK + str(self._ids[part]).encode() + _MARK if number % 2 else part.encode()
            for number, part in enumerate(parts)
        )

    def _kinds(self, roles: tf.Tensor) -> tf.Tensor:
        """int32 (B, N): the number of each role, -1 where there is no turn."""
        kinds = tf.fill(tf.shape(roles), -1)
        for number, role in enumerate(ROLES):
            kinds = tf.where(roles == role, number, kinds)
        checks = [tf.debugging.Assert(tf.reduce_all((kinds >= 0) | (roles == "")), [_NO_ROLE])]
        if self._template.system is None:
            checks.append(tf.debugging.Assert(tf.reduce_all(kinds != ROLES.index("system")), [_NO_SYSTEM]))
        with tf.control_dependencies([check for check in checks if check is not None]):
            return tf.identity(kinds)

    def _cleaned(self, kinds: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
        """The messages as valid UTF-8, stripped where the template does it."""
        contents = valid_utf8(contents)
        bare = tf.strings.regex_replace(contents, f"^{_BLANKS}|{_BLANKS}$", "")
        for role in self._template.stripped:
            contents = tf.where(kinds == ROLES.index(role), bare, contents)
        return contents

    def _opening(self, kinds: tf.Tensor, contents: tf.Tensor) -> tf.Tensor:
        """string (B,): what comes before the first user's message."""
        template, rows = self._template, tf.shape(kinds)[:1]
        without = tf.fill(rows, self.opening(None))
        if template.system is None:
            return without
        is_system = kinds == ROLES.index("system")
        system = tf.strings.reduce_join(tf.where(is_system, contents, ""), axis=1)
        before, after = map(self._marked, template.system)
        given = tf.strings.join([before, system, after])
        return tf.where(tf.reduce_any(is_system, axis=1), given, without)

    def _turns(self, kinds: tf.Tensor, contents: tf.Tensor, *, first: bool) -> tf.Tensor:
        """string (B, N): the turns of user and assistant with what stands around them; "" elsewhere."""
        turns = tf.zeros_like(contents)
        for role in ("user", "assistant"):
            before, after = map(self._marked, getattr(self._template, role))
            whole = tf.strings.join([b"" if first else before, contents, after])
            turns = tf.where(kinds == ROLES.index(role), whole, turns)
        return turns

    def _kept(
        self, kinds: tf.Tensor, opening: tf.Tensor, sizes: tf.Tensor, room: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """bool (B, N): which turns fit, from the last one back to one of the user; and that one."""
        # What comes before the first user's message is in `opening`.
        parts = self._marked(self._template.answer), self._marked(self._template.user[0])
        answer, before = tf.unstack(self._count(tf.constant(parts)))
        following = tf.cumsum(sizes, axis=1, reverse=True)  # (B, N), of a turn and all after it
        total = opening[:, tf.newaxis] + following + answer - before
        of_user = kinds == ROLES.index("user")
        fits = of_user & (total <= tf.reshape(room, [-1, 1]))
        places = tf.broadcast_to(tf.range(tf.shape(kinds)[1]), tf.shape(kinds))
        most = tf.shape(kinds)[1]
        start = tf.reduce_min(tf.where(fits, places, most), axis=1, keepdims=True)
        last = tf.reduce_max(tf.where(of_user, places, 0), axis=1, keepdims=True)
        start = tf.minimum(start, last)
        return places >= start, places == start

    def _count(self, text: tf.Tensor) -> tf.Tensor:
        """int32, tokens of each marked text of any shape."""
        counts = tf.cast(self.encode(tf.reshape(text, [-1])).row_lengths(), tf.int32)
        return tf.reshape(counts, tf.shape(text))


def _ends(ids: tf.RaggedTensor, room: tf.Tensor | int) -> tf.RaggedTensor:
    """The first and the last tokens of each row, `room` together."""
    room = tf.cast(room, ids.row_splits.dtype)
    begin = tf.maximum(ids.row_lengths() - room, 0)  # how many are left out behind the first
    places = tf.ragged.range(ids.row_lengths())
    left_out = (places > 0) & (places <= tf.expand_dims(begin, 1))
    return tf.ragged.boolean_mask(ids, ~left_out)


def _check_typed(tokenizer: Tokenizer, control: dict[str, int]) -> None:
    """Raise InputError if text that is typed becomes a control token."""
    if not control:
        return
    for token, ids in zip(control, tokenizer.tokenize(list(control)).to_list(), strict=True):
        if control[token] in ids:
            raise InputError(
                f"This tokenizer makes the control token {token!r} of a text in which somebody typed it: everybody "
                "could speak for the assistant."
            )
