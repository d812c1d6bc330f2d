"""Sources -> texts, probabilities of targets: what stands around the loop for a model that reads before it writes.

B texts, S tokens of the longest source, T tokens of the longest target.
"""

import keras
import tensorflow as tf

from tfllm.generation.seq2seq_steps import Seq2SeqSteps
from tfllm.generation.text import TextWriter
from tfllm.models import longest_text, read_recipe
from tfllm.tokenizers import Tokenizer
from tfllm.writing import Rules


class Seq2SeqWriter(TextWriter):
    """A `TextWriter` of a model from `add_seq2seq_head`: each text is a source, and what is written comes after it.

    `sequence_length` is that of sources; of a longer one the beginning is kept. What is written may have as many tokens
    as the model has positions.
    """

    def _make_steps(self) -> Seq2SeqSteps:
        self._start_ids = self._tokenizer.ids_of(read_recipe(self._model)["arguments"]["start"])
        return Seq2SeqSteps(self._model, self._start_ids)

    def encode(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Sources int32 (B, S), their lengths and how many tokens each may be followed by, int32 (B,)."""
        ids = self._tokenizer.wrap_source(self._tokenizer.tokenize(text), self._length)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        width = tf.maximum(tf.reduce_max(lengths), 1)  # without any row the maximum is the lowest integer
        sources = ids.to_tensor(self._tokenizer.pad_id, shape=tf.stack([tf.shape(lengths)[0], width]))
        return (
            tf.ensure_shape(sources, [None, None]),
            lengths,
            tf.clip_by_value(max_new_tokens, 0, self._most_written()),
        )

    def _most_written(self) -> int:
        return longest_text(self._model) - len(self._start_ids)

    def _text_behind(self, prompts: tf.Tensor, lengths: tf.Tensor, new: tf.RaggedTensor) -> tf.Tensor:
        return self._tokenizer.detokenize(new)

    def score(self, text: tf.Tensor, target: tf.Tensor) -> dict[str, tf.Tensor]:
        """How probable the model holds each target after its text, both string (B,).

        Returns:
            log_prob float32 (B,): the logarithm of the probability that what is written begins so; num_tokens int32
            (B,): how many tokens that is of, at most one less than the model sees: a longer target is cut;
            token_log_probs float32 (B, T): of each token by the text and the earlier ones, 0 behind the last.
        """
        sources, lengths, _ = self.encode(text, tf.zeros_like(text, tf.int32))
        ids = self._tokenizer.tokenize_target(target)[:, : self._most_written()]
        source_mask = tf.sequence_mask(lengths, tf.shape(sources)[1], tf.int32)
        return self._score(ids, self._start_ids, {"source_ids": sources, "source_mask": source_mask})


def make_writer(
    model: keras.Model, tokenizer: Tokenizer, sequence_length: int, rules: Rules | None = None
) -> TextWriter:
    """What writes with a model, by the head it has; see `TextWriter`."""
    kind = Seq2SeqWriter if read_recipe(model)["builder"] == "add_seq2seq_head" else TextWriter
    return kind(model, tokenizer, sequence_length, rules)
