"""`BigramBuckets`: which embedding a token gets for standing behind the one before it.

B batch, T tokens.
"""

import keras
from keras import ops

_FACTOR = 7919  # a prime: neighbours in the vocabulary go to buckets far from each other


@keras.saving.register_keras_serializable("tfllm")
class BigramBuckets(keras.layers.Layer):
    """The number of a token's bigram: the token and the one before it in the same text, hashed into buckets.

    Bigrams of characters are most words of Chinese; a small encoder that gets them as embeddings need not learn from
    little text to put characters together (docs/experiments.md, 2026-11-24).

    Args:
        buckets: how many numbers there are. Bigrams that share one share an embedding.

    Call: (token_ids int32 (B, T), padding_mask int32 (B, T), k on the k-th text of a row) -> int32 (B, T), each from 0
    to `buckets` - 1. The first token of a text has a bigram with nothing.
    Source: Pagnoni et al. 2024, arXiv:2412.09871, section 3.2.1. Differs: of tokens, not of bytes; bigrams alone.
    """

    def __init__(self, buckets, **kwargs):
        super().__init__(**kwargs)
        self.buckets = buckets

    def call(self, token_ids, padding_mask):
        same_text = ops.cast(ops.equal(padding_mask, _shifted(padding_mask)), "int32")
        before = same_text * (_shifted(token_ids) + 1)  # 0: nothing
        return ops.mod(before * _FACTOR + token_ids, self.buckets)

    def compute_output_spec(self, token_ids, padding_mask):
        return keras.KerasTensor(token_ids.shape, "int32")

    def get_config(self):
        return {**super().get_config(), "buckets": self.buckets}


def _shifted(numbers):
    """Each one's predecessor in the row; 0 before the first."""
    return ops.pad(numbers[:, :-1], ((0, 0), (1, 0)))
