"""Beam search: several texts of each row are followed at a time, and the best one is kept.

In and out as the loop that follows one: prompts as token ids; new tokens, how many, why each row ended, how probable.
Shapes: B rows, K beams, P tokens of the longest prompt, N new tokens of the longest row, V vocabulary.
"""

from typing import NamedTuple

import tensorflow as tf

from tfllm.generation.choose import allowed, history_of
from tfllm.generation.written import LENGTH, STOP, Written, room_of
from tfllm.writing import Rules

_NONE = -1e30  # the score of a text that is not there


class Texts(NamedTuple):
    """K texts of each row."""

    token_ids: tf.Tensor  # int32 (B, K, N)
    score: tf.Tensor  # float32 (B, K), the log-probability after penalties for repetition; _NONE where there is no text
    log_prob: tf.Tensor  # float32 (B, K), that which the model itself gives
    count: tf.Tensor  # int32 (B, K), tokens without the one that ends a text


class State(NamedTuple):
    """All that changes from token to token."""

    number: tf.Tensor  # int32 scalar, how many tokens were chosen
    alive: Texts  # the K most probable texts that have not ended
    ended: Texts  # the K best that have
    finished: tf.Tensor  # bool (B,)
    logits: tf.Tensor  # float32 (B K, V), of the next token of texts alive
    cache: list


class BeamWriter:
    """Writes with one model; arguments as those of `loop.Writer`. `rules.num_beams` is K."""

    def __init__(self, steps, rules: Rules, end: tf.Tensor, barred: tf.Tensor, pad_id: int):
        self._steps, self._rules, self._end, self._barred, self._pad_id = steps, rules, end, barred, pad_id
        self._beams = rules.num_beams

    def write(self, prompts: tf.Tensor, lengths: tf.Tensor, limits: tf.Tensor) -> Written:
        """As `loop.Writer.write`; nothing is drawn.

        A row is finished when it has K texts that ended, and none that is alive can become better than the worst of
        them; or when it has no more room.
        """
        state = self._begin(prompts, lengths, limits)
        prompts = tf.repeat(prompts, self._beams, axis=0)
        lengths = tf.repeat(lengths, self._beams)
        before = self._steps.written_before(prompts, lengths)

        def body(state):
            number = state.number - 1
            last = tf.reshape(tf.gather(state.alive.token_ids, number, axis=2), [-1])
            logits, cache = self._steps.step(last, lengths, tf.shape(prompts)[1], number, state.cache)
            return [self._take(state._replace(logits=logits, cache=cache), *before, limits)]

        state = self._take(state, *before, limits)
        state = tf.while_loop(lambda state: ~tf.reduce_all(state.finished), body, [state])[0]
        return self._best(state)

    def _begin(self, prompts, lengths, limits) -> State:
        """The state before the first token: one text of each row is alive, an empty one."""
        rows, room = tf.shape(prompts)[0], room_of(limits)
        logits, cache = self._steps.begin(prompts, lengths, room)
        logits = tf.repeat(logits, self._beams, axis=0)
        cache = self._steps.repeat(cache, self._beams)
        shape = [rows, self._beams]
        empty = Texts(
            tf.ensure_shape(tf.fill([*shape, room], self._pad_id), [None, self._beams, None]),
            tf.fill(shape, _NONE),
            tf.zeros(shape),
            tf.zeros(shape, tf.int32),
        )
        first = tf.where(tf.range(self._beams) == 0, 0.0, _NONE)
        alive = empty._replace(score=tf.zeros(shape) + first)
        return State(tf.constant(0), alive, empty, limits <= 0, logits, cache)

    def _take(self, state, prompts, lengths, limits) -> State:
        """Put a token behind each text that is alive, keep the best, and reorder the cache as the texts."""
        beams, number = self._beams, state.number
        log_probs = tf.nn.log_softmax(state.logits)
        size = tf.shape(log_probs)[1]
        barred = self._barred | (self._end & (number < self._rules.min_new_tokens))
        room = tf.shape(state.alive.token_ids)[2]
        history = history_of(prompts, lengths, tf.reshape(state.alive.token_ids, [-1, room]))
        open_log_probs = allowed(log_probs, history, lengths + number, barred, self._rules)
        total = state.alive.score[:, :, tf.newaxis] + tf.reshape(open_log_probs, [-1, beams, size])
        found, places = tf.math.top_k(tf.reshape(total, [-1, beams * size]), 2 * beams)  # (B, 2K)
        parent, token = places // size, places % size
        own = tf.gather(tf.reshape(log_probs, [-1, beams * size]), places, batch_dims=1)
        ends = tf.gather(self._end, token)
        real = found > _NONE / 2
        texts = Texts(
            _with_token(tf.gather(state.alive.token_ids, parent, batch_dims=1), token, ends, number),
            found,
            tf.gather(state.alive.log_prob, parent, batch_dims=1) + own,
            tf.where(ends, number, number + 1),
        )
        alive = _without(texts, ends)
        alive, chosen = _pick(alive, alive.score, beams)
        ended = _without(texts, ~(ends & real & (tf.range(2 * beams) < beams)))
        ended = _join(state.ended, ended)
        ended, _ = _pick(ended, self._score(ended, ended=True), beams)
        alive, ended = (_frozen(state.finished, old, new) for old, new in ((state.alive, alive), (state.ended, ended)))
        rows = tf.range(tf.shape(parent)[0])[:, tf.newaxis] * beams
        order = tf.reshape(rows + tf.gather(parent, chosen, batch_dims=1), [-1])
        cache = self._steps.reorder(state.cache, order)
        finished = state.finished | (number + 1 >= limits) | self._settled(alive, ended, limits)
        return State(number + 1, alive, ended, finished, state.logits, cache)

    def _score(self, texts: Texts, *, ended: bool) -> tf.Tensor:
        """float32 (B, K): by which texts are compared."""
        length = tf.cast(texts.count + (1 if ended else 0), tf.float32)  # the end is a token, too
        return texts.score / tf.maximum(length, 1.0) ** self._rules.length_penalty

    def _settled(self, alive: Texts, ended: Texts, limits: tf.Tensor) -> tf.Tensor:
        """bool (B,): whether no text that is alive can become better than the K that have ended."""
        longest = tf.cast(limits[:, tf.newaxis] if self._rules.length_penalty > 0 else alive.count + 1, tf.float32)
        hope = tf.reduce_max(alive.score / tf.maximum(longest, 1.0) ** self._rules.length_penalty, axis=1)
        return tf.reduce_min(self._score(ended, ended=True), axis=1) >= hope

    def _best(self, state: State) -> Written:
        both = _join(state.ended, state.alive)
        scores = [self._score(state.ended, ended=True), self._score(state.alive, ended=False)]
        best, chosen = _pick(both, tf.concat(scores, axis=1), 1)
        written = Written(best.token_ids[:, 0], best.count[:, 0], tf.zeros_like(chosen[:, 0]), best.log_prob[:, 0])
        return written._replace(reason=tf.where(chosen[:, 0] < self._beams, STOP, LENGTH))


def _with_token(token_ids: tf.Tensor, token: tf.Tensor, ends: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """The texts with a token at place `number`, unless it ends them."""
    here = (tf.range(tf.shape(token_ids)[2]) == number) & ~ends[:, :, tf.newaxis]
    return tf.where(here, token[:, :, tf.newaxis], token_ids)


def _pick(texts: Texts, scores: tf.Tensor, count: int) -> tuple[Texts, tf.Tensor]:
    """The `count` texts of each row with the highest scores, and their places, int32 (B, count)."""
    _, places = tf.math.top_k(scores, count)
    return Texts(*(tf.gather(part, places, batch_dims=1) for part in texts)), places


def _join(first: Texts, second: Texts) -> Texts:
    return Texts(*(tf.concat(parts, axis=1) for parts in zip(first, second, strict=True)))


def _without(texts: Texts, left_out: tf.Tensor) -> Texts:
    return texts._replace(score=tf.where(left_out, _NONE, texts.score))


def _frozen(finished: tf.Tensor, old: Texts, new: Texts) -> Texts:
    """The old texts of rows that are finished, the new ones of the others."""
    column = finished[:, tf.newaxis]
    token_ids = tf.where(column[:, :, tf.newaxis], old.token_ids, new.token_ids)
    return Texts(token_ids, *(tf.where(column, a, b) for a, b in zip(old[1:], new[1:], strict=True)))
