"""Words that are tokens as they stand, found before any merging, as tiktoken does.

In: the vocabulary's bytes. Out: look-ups by TensorFlow ops, without a hash table: a table is a resource that a server
has to fill, this is a constant.
"""

import numpy as np
import tensorflow as tf

_BUCKETS = 2**63 - 1
NO_TOKEN = -1


class WholeWords(tf.Module):
    """Looks up the token that is a whole word.

    Args:
        contents: string (V,), the bytes of each token.
        ids: those of the tokens that text may become; of two with one hash, one in 10**9 vocabularies, the first is
            found.
    """

    def __init__(self, contents: tf.Tensor, ids: list[int]):
        super().__init__()
        ids = np.array(ids, np.int32)
        hashes = _hashes(tf.gather(contents, ids)).numpy()
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._ids = tf.constant(hashes[order]), tf.constant(ids[order])
        self._contents = contents

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        """Ids, int32 (U,), of string (U,); NO_TOKEN for a word that is none."""
        places = tf.minimum(tf.searchsorted(self._hashes, _hashes(words)), tf.size(self._hashes) - 1)
        ids = tf.gather(self._ids, places)
        return tf.where(tf.gather(self._contents, ids) == words, ids, NO_TOKEN)


def _hashes(words: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(words, _BUCKETS)
