"""Conversations -> answers: what stands around the loop for a model whose tokenizer has a chat template.

B conversations, N turns of the longest.
"""

import tensorflow as tf

from tfllm.generation.text import TextWriter
from tfllm.tokenizers.chat_encoder import ChatEncoder

ROLES_AND_CONTENTS = tf.TensorSpec([None, 2, None], tf.string)


class ChatWriter(TextWriter):
    """A `TextWriter` of conversations, string (B, 2, N): the roles and the contents of their turns, filled up with "".

    What is written is the assistant's answer. Of a long conversation the oldest turns are left out: what remains fits
    beside `max_new_tokens`, or is half of all the model sees.

    Raises:
        InputError: if the tokenizer has no chat template.
    """

    texts = ROLES_AND_CONTENTS

    def _marks(self) -> tuple[list[int], list[int]]:
        self._encoder = ChatEncoder(self._tokenizer)
        ends, barred = super()._marks()
        return [*ends, self._encoder.end_id], [*barred, *self._encoder.control_ids]

    def encode(self, text: tf.Tensor, max_new_tokens: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Prompts int32 (B, P), their lengths and how many new tokens each may have, int32 (B,)."""
        return self._filled(self._encoder(text[:, 0], text[:, 1], self._most(max_new_tokens)), max_new_tokens)

    def _text_behind(self, prompts: tf.Tensor, lengths: tf.Tensor, new: tf.RaggedTensor) -> tf.Tensor:
        return self._tokenizer.detokenize(new)


def user_messages(text: tf.Tensor) -> tf.Tensor:
    """Conversations of one message of the user each: string (B,) -> (B, 2, 1)."""
    return tf.stack([tf.fill(tf.shape(text), "user"), text], axis=1)[:, :, tf.newaxis]
