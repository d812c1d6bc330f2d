"""Prompts -> texts, probabilities of texts: what stands around the loop, in TensorFlow operations.

B texts, P tokens of the longest prompt, N new tokens of the longest text.
"""

import re

import keras
import tensorflow as tf

from tfllm.generation.choose import Sampling
from tfllm.generation.loop import Writer
from tfllm.generation.steps import DecoderSteps
from tfllm.generation.written import Written
from tfllm.models import read_encoder
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.base import valid_utf8
from tfllm.writing import Rules

FINISH_REASONS = ("", "stop", "length")  # by the numbers of `loop`


class TextWriter:
    """Strings in, strings out, for one model, tokenizer and set of rules; every method is TensorFlow operations.

    Attributes:
        writer: the loop.
        texts: what `write` takes.

    Args:
        model: from `add_causal_lm_head`.
        tokenizer: the one it was trained with. A text begins with its [CLS] and ends with its [SEP].
        sequence_length: how many tokens prompt and text have together at most, [CLS] included.
        rules: see `tfllm.writing.Rules`.
    """

    texts = tf.TensorSpec([None], tf.string)

    def __init__(self, model: keras.Model, tokenizer: Tokenizer, sequence_length: int, rules: Rules | None = None):
        rules = rules or Rules()
        self._model, self._tokenizer, self._length, self._rules = model, tokenizer, sequence_length, rules
        self._early = max(rules.min_new_tokens - 1, 0)  # tokens in which a stop string is text
        steps, (ends, barred) = self._make_steps(), self._marks()
        size = read_encoder(model).get_layer("token_embedding").input_dim
        unnamed = range(tokenizer.vocabulary_size, size)  # rows of the embedding that belong to no token
        self.writer = Writer(
            steps,
            end_ids=ends,
            barred_ids=sorted({*barred, *unnamed} - {*ends}),
            pad_id=tokenizer.pad_id,
            vocabulary_size=size,
            rules=rules,
            stops=self._find_stop if rules.stop else None,
            stop_width=max((len(stop.encode()) for stop in rules.stop), default=0) + 1,
        )

    def _make_steps(self) -> DecoderSteps:
        return DecoderSteps(self._model)

    def _marks(self) -> tuple[list[int], list[int]]:
        """The tokens that end a text, and those that are no text."""
        return self._tokenizer.end_ids, self._tokenizer.special_ids

    def write(self, text: tf.Tensor, sampling: Sampling) -> dict[str, tf.Tensor]:
        """Write on after each text, string (B,).

        Returns:
            text string (B,), valid UTF-8: what comes after the prompt; num_tokens int32 (B,): of it; finish_reason
            string (B,): "stop" or "length"; log_prob float32 (B,): the logarithm of its probability.
        """
        prompts, lengths, limits = self.encode(text, sampling.max_new_tokens)
        written = self.writer.write(prompts, lengths, limits, sampling)
        return self.decode(prompts, lengths, written)

    def encode(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Prompts int32 (B, P), their lengths and how many new tokens each may have, int32 (B,).

        A prompt is `[CLS] text`; just `text` where the tokenizer puts nothing before a prompt and there is a text. Its
        last tokens are kept if it is too long for itself and the new ones: those that fit beside `max_new_tokens`, but
        at least half of all the model sees.
        """
        ids = self._tokenizer.tokenize(text)
        most = self._most(max_new_tokens)
        begins = tf.ones_like(most) if self._tokenizer.begins_prompts else tf.cast(ids.row_lengths() == 0, tf.int32)
        ids = _row_ends(ids, most - begins)
        first = tf.fill([tf.reduce_sum(begins)], self._tokenizer.cls_id)
        first = tf.RaggedTensor.from_row_lengths(first, tf.cast(begins, ids.row_splits.dtype), validate=False)
        ids = tf.concat([first, ids], axis=1)
        return self._filled(ids, max_new_tokens)

    def _most(self, max_new_tokens: tf.Tensor) -> tf.Tensor:
        """int32 (B,): how many tokens a prompt may have."""
        return tf.clip_by_value(self._length - max_new_tokens, self._length // 2, self._length - 1)

    def _filled(self, ids: tf.RaggedTensor, max_new_tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What `encode` gives, of the tokens of prompts."""
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        width = tf.maximum(tf.reduce_max(lengths), 1)  # without any row the maximum is the lowest integer
        prompts = ids.to_tensor(self._tokenizer.pad_id, shape=tf.stack([tf.shape(lengths)[0], width]))
        limits = tf.clip_by_value(max_new_tokens, 0, self._length - lengths)
        return tf.ensure_shape(prompts, [None, None]), lengths, limits

    def decode(self, prompts: tf.Tensor, lengths: tf.Tensor, written: Written) -> dict[str, tf.Tensor]:
        """What `write` gives."""
        return {
            "text": self.text_of(prompts, lengths, written),
            "num_tokens": written.count,
            "finish_reason": tf.gather(tf.constant(FINISH_REASONS), written.reason),
            "log_prob": written.log_prob,
        }

    def text_of(self, prompts: tf.Tensor, lengths: tf.Tensor, written: Written) -> tf.Tensor:
        """The new text of each row, string (B,), up to the first stop string."""
        new = tf.RaggedTensor.from_tensor(written.token_ids, written.count)
        text = self._text_behind(prompts, lengths, new)
        if not self._rules.stop:
            return text
        return self._until_stop(text, self._text_behind(prompts, lengths, new[:, : self._early]))

    def _text_behind(self, prompts: tf.Tensor, lengths: tf.Tensor, new: tf.RaggedTensor) -> tf.Tensor:
        """string (B,): what the text of prompt and new tokens has behind that of the prompt, as a piece of a word is no
        word.
        """
        prompt = tf.RaggedTensor.from_tensor(prompts, lengths)
        before = self._tokenizer.detokenize(prompt)
        whole = self._tokenizer.detokenize(tf.concat([prompt, new], axis=1))
        size = tf.strings.length(before)
        goes_on = tf.strings.substr(whole, tf.zeros_like(size), size) == before
        behind = tf.strings.substr(whole, tf.minimum(size, tf.strings.length(whole)), tf.strings.length(whole))
        return valid_utf8(tf.where(goes_on, behind, self._tokenizer.detokenize(new)))

    def _until_stop(self, text: tf.Tensor, early: tf.Tensor) -> tf.Tensor:
        """The texts up to the first stop string that does not end in their `early` parts, string (B,) each."""
        early = tf.strings.regex_replace(early, "\ufffd+$", "")  # a character that is not whole yet
        for stop in self._rules.stop:
            size = tf.strings.length(text)
            place = tf.clip_by_value(tf.strings.length(early) - len(stop.encode()) + 1, 0, size)
            rest = tf.strings.substr(text, place, size)
            rest = tf.strings.regex_replace(rest, f"{re.escape(stop)}(?s:.*)", "", replace_global=False)
            text = tf.strings.substr(text, tf.zeros_like(place), place) + rest
        return text

    def score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """How probable the model holds each text, string (B,).

        Returns:
            log_prob float32 (B,): the logarithm of the probability that a text begins so; num_tokens int32 (B,): how
            many tokens that is of, at most one less than the model sees: a longer text is cut; token_log_probs float32
            (B, T): of each token by the earlier ones, 0 behind the last.
        """
        return self._score(self._tokenizer.tokenize(text)[:, : self._length - 1], [self._tokenizer.cls_id], {})

    def _score(self, ids: tf.RaggedTensor, start_ids: list[int], source: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What `score` gives, of tokens int32 (B, (T)) after `start_ids`, with the other inputs of the model."""
        count = tf.cast(ids.row_lengths(), tf.int32)
        width = tf.maximum(tf.reduce_max(count), 1)  # without any row the maximum is the lowest integer
        rows, before = tf.shape(count)[0], len(start_ids) - 1  # of the last of them a token is predicted
        next_ids = ids.to_tensor(self._tokenizer.pad_id, shape=tf.stack([rows, width]))
        token_ids = tf.concat([tf.tile([start_ids], [rows, 1]), next_ids[:, :-1]], axis=1)
        real = tf.sequence_mask(tf.maximum(count, 1) + before, width + before, tf.int32)
        inputs = {"token_ids": token_ids, "padding_mask": real, **source}
        if "prefix_mask" in self._model.input:
            inputs["prefix_mask"] = tf.zeros_like(real)
        inputs = {name: tf.ensure_shape(tensor, [None, None]) for name, tensor in inputs.items()}
        hidden = read_encoder(self._model)(inputs, training=False)[:, before:]
        log_probs = self._log_probs(hidden, next_ids)
        log_probs = tf.where(tf.sequence_mask(count, width), log_probs, 0.0)
        return {"log_prob": tf.reduce_sum(log_probs, axis=1), "num_tokens": count, "token_log_probs": log_probs}

    def _log_probs(self, hidden: tf.Tensor, next_ids: tf.Tensor) -> tf.Tensor:
        """float32 (B, T) of what the model gives before its last matrix (B, T, D), and the tokens, int32 (B, T).

        One row after another: the logits of all rows, (B, T, V), may need more memory than the model.
        """
        head = read_encoder(self._model).get_layer("token_embedding")

        def of_row(row):
            logits = tf.cast(head(row[0][tf.newaxis], reverse=True)[0], tf.float32)  # (T, V)
            return tf.gather(logits, row[1], batch_dims=1) - tf.reduce_logsumexp(logits, axis=1)

        rows = tf.pad(hidden, [[0, 1], [0, 0], [0, 0]]), tf.pad(next_ids, [[0, 1], [0, 0]])  # none cannot be stacked
        signature = tf.TensorSpec([None], tf.float32)
        return tf.map_fn(of_row, rows, parallel_iterations=1, fn_output_signature=signature)[:-1]

    def _find_stop(self, token_ids: tf.Tensor, early: tf.Tensor) -> tf.Tensor:
        """bool (B,): whether a stop string ends in the text of tokens int32 (B, M) behind the first `early` of them."""
        text = self._tokenizer.detokenize(token_ids)
        before = self._tokenizer.detokenize(token_ids[:, :early]) if self._early else tf.zeros_like(text)
        return self._until_stop(text, before) != text


def _row_ends(ids: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """The last `lengths[b]` ids of row b, or all if it has fewer: int32 (B, (T))."""
    lengths = tf.minimum(tf.cast(lengths, ids.row_splits.dtype), ids.row_lengths())
    places = tf.ragged.range(ids.row_limits() - lengths, ids.row_limits())
    return places.with_flat_values(tf.gather(ids.flat_values, places.flat_values))
