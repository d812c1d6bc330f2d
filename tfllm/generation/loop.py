"""The loop that writes: one token of every row at a time until all rows are done.

In: prompts as token ids. Out: new tokens, how many, why each row ended, how probable it was.
Shapes: B rows, P tokens of the longest prompt, N new tokens of the longest row, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.beams import BeamWriter
from tfllm.generation.choose import Sampling, allowed, choose, draw_uniform, history_of
from tfllm.generation.steps import DecoderSteps
from tfllm.generation.written import GOES_ON, LENGTH, STOP, Written, room_of
from tfllm.writing import Rules


class State(NamedTuple):
    """All that changes from token to token."""

    number: tf.Tensor  # int32 scalar, how many tokens were chosen for a row that goes on
    written: Written
    logits: tf.Tensor  # float32 (B, V), of the next token
    cache: list


class Writer:
    """Writes with one model.

    Args:
        steps: the model.
        end_ids: tokens that end a text.
        barred_ids: tokens that never come.
        pad_id: what stands behind the tokens of a row.
        vocabulary_size: V.
        rules: what is decided once.
        stops: token ids int32 (B, M), the last ones of each row, and int32 scalar, how many of them come too early ->
            bool (B,), whether a stop string ends in the others.
        stop_width: M.
    """

    def __init__(
        self,
        steps: DecoderSteps,
        *,
        end_ids: list[int],
        barred_ids: list[int],
        pad_id: int,
        vocabulary_size: int,
        rules: Rules,
        stops: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
        stop_width: int = 0,
    ):
        self._steps, self._rules, self._pad_id = steps, rules, pad_id
        self._stops, self._stop_width = stops, stop_width
        self._end = _among(end_ids, vocabulary_size)
        self._barred = _among(barred_ids, vocabulary_size)

    def write(self, prompts: tf.Tensor, lengths: tf.Tensor, limits: tf.Tensor, sampling: Sampling) -> Written:
        """Write after each prompt.

        Args:
            prompts: int32 (B, P), filled up at the end.
            lengths: int32 (B,), their tokens, at least 1.
            limits: int32 (B,), how many new tokens each row may have.
            sampling: of each row.
        """
        if self._rules.num_beams > 1:
            beams = BeamWriter(self._steps, self._rules, self._end, self._barred, self._pad_id)
            return beams.write(prompts, lengths, limits)
        uniform = draw_uniform(sampling.seed, room_of(limits))

        def body(state):
            return [self.advance(state, prompts, lengths, limits, sampling, uniform)]

        state = self.begin(prompts, lengths, limits, sampling, uniform)
        return tf.while_loop(goes_on, body, [state])[0].written

    def begin(self, prompts, lengths, limits, sampling, uniform) -> State:
        """The state after the first new token, which needs no step of the model: its logits come with the prompt."""
        rows, room = tf.shape(prompts)[0], room_of(limits)
        logits, cache = self._steps.begin(prompts, lengths, room)
        written = Written(
            token_ids=tf.ensure_shape(tf.fill([rows, room], self._pad_id), [None, None]),
            count=tf.zeros([rows], tf.int32),
            reason=tf.where(limits > 0, GOES_ON, LENGTH),
            log_prob=tf.zeros([rows], tf.float32),
        )
        state = State(tf.constant(0), written, logits, cache)
        return self._take(state, prompts, lengths, limits, sampling, uniform)

    def advance(self, state, prompts, lengths, limits, sampling, uniform) -> State:
        """The state one token later: the model reads the last new token, and the next is taken."""
        number = state.number - 1
        last = tf.gather(state.written.token_ids, number, axis=1)
        logits, cache = self._steps.step(last, lengths, tf.shape(prompts)[1], number, state.cache)
        state = state._replace(logits=logits, cache=cache)
        return self._take(state, prompts, lengths, limits, sampling, uniform)

    def _take(self, state, prompts, lengths, limits, sampling, uniform) -> State:
        """Choose a token of each row that goes on, by the logits of the state."""
        written, number, logits = state.written, state.number, state.logits
        active = written.reason == GOES_ON
        barred = self._barred | (self._end & (number < self._rules.min_new_tokens))
        prompts, lengths = self._steps.written_before(prompts, lengths)
        history = history_of(prompts, lengths, written.token_ids)
        open_logits = allowed(logits, history, lengths + number, barred, self._rules)
        token = choose(open_logits, sampling, self._rules.min_p, _column(uniform, number))
        log_prob = tf.gather(tf.nn.log_softmax(logits), token, batch_dims=1)
        ends = active & tf.gather(self._end, token)
        adds = active & ~ends
        count = written.count + tf.cast(adds, tf.int32)
        here = tf.range(tf.shape(written.token_ids)[1]) == number
        token_ids = tf.where(adds[:, tf.newaxis] & here, token[:, tf.newaxis], written.token_ids)
        stopped = ends
        if self._stops is not None:
            late = number + 2 - self._rules.min_new_tokens
            early = tf.clip_by_value(self._stop_width - late, 0, self._stop_width)
            stopped |= adds & (late > 0) & self._stops(self._last(token_ids, number + 1), early)
        reason = tf.where(stopped, STOP, tf.where(adds & (count >= limits), LENGTH, written.reason))
        log_prob = written.log_prob + tf.where(active, log_prob, 0.0)
        return state._replace(number=number + 1, written=Written(token_ids, count, reason, log_prob))

    def _last(self, token_ids: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """int32 (B, M): the last of `number` tokens; padding before the first."""
        before = tf.fill([tf.shape(token_ids)[0], self._stop_width], self._pad_id)
        return tf.concat([before, token_ids], axis=1)[:, number : number + self._stop_width]


def goes_on(state: State) -> tf.Tensor:
    """bool scalar: whether a row is not done."""
    return tf.reduce_any(state.written.reason == GOES_ON)


def _among(ids: list[int], size: int) -> tf.Tensor:
    """bool (size,)"""
    chosen = set(ids)
    return tf.constant([number in chosen for number in range(size)])


def _column(uniform: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    return tf.gather(uniform, number, axis=1)
