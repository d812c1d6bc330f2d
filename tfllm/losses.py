"""Losses, as `compile` takes them. All work on logits and compute in float32."""

import keras
import tensorflow as tf
from keras import ops

from tfllm import checks


def masked_lm_loss() -> keras.losses.Loss:
    """Mean cross-entropy over the masked positions, in nats per token.

    Called with mask_ids int32 (B, M), logits float (B, M, V), and `mask_weights` float (B, M) as sample weights: the
    sum over all positions of weight times cross-entropy, divided by the sum of the weights. 0.0 if that is zero.

    Example: two masks, uniform logits over V=4 -> log(4) = 1.3863.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """
    return VocabularyCrossEntropy(reduction="mean_with_sample_weight", name="masked_lm_loss")


@keras.saving.register_keras_serializable("tfllm")
class VocabularyCrossEntropy(keras.losses.Loss):
    """Cross-entropy over many classes: on TensorFlow two compiled passes, its own operation takes four times as long.

    Called with ids int32 (...), logits float (..., V).
    """

    def call(self, ids, logits):
        ids, logits = ops.cast(ids, "int32"), ops.cast(logits, "float32")
        if keras.backend.backend() == "tensorflow":
            return _cross_entropy(ids, logits)
        return keras.losses.sparse_categorical_crossentropy(ids, logits, from_logits=True)


@tf.custom_gradient
def _cross_entropy(ids, logits):
    losses, totals = _losses(ids, logits)
    return losses, lambda upstream: (None, _slopes(ids, logits, totals, upstream))


@tf.function(jit_compile=True, reduce_retracing=True)
def _losses(ids, logits):
    """The losses, and the logarithms of the sums of exponentials, both of the shape of `ids`."""
    totals = tf.reduce_logsumexp(logits, axis=-1)
    return totals - tf.gather(logits, ids, batch_dims=ids.shape.rank), totals


@tf.function(jit_compile=True, reduce_retracing=True)
def _slopes(ids, logits, totals, upstream):
    """Softmax minus one at the id, times the gradient from above."""
    target = tf.cast(tf.range(tf.shape(logits)[-1]) == ids[..., None], logits.dtype)
    return (tf.exp(logits - totals[..., None]) - target) * upstream[..., None]


def next_sentence_loss() -> keras.losses.Loss:
    """Mean cross-entropy over label_ids int32 (B,) and logits float (B, 2), in nats per pair."""
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight", name="next_sentence_loss"
    )


@keras.saving.register_keras_serializable("tfllm")
class ClassificationLoss(keras.losses.Loss):
    """Cross-entropy with label smoothing, for label ids.

    The target puts 1 - s + s/C on the right label and s/C on every other one.

    Args:
        label_smoothing: s, 0 to 1.

    Called with label_ids int32 (B,), logits float (B, C). The sum of weight times loss, divided by B: a weight counts
    against the whole data set, not only against its batch. With packed rows, label_ids (B, S) and logits (B, S, C),
    give `reduction="mean_with_sample_weight"`: divided by the sum of the weights.
    Example: logits (0, 0), any label, any s -> log(2) = 0.6931.
    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "classification_loss", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, label_ids, logits):
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"))
        label_ids = ops.reshape(ops.cast(label_ids, "int32"), ops.shape(logits)[:-1])
        right = ops.one_hot(label_ids, ops.shape(logits)[-1])
        target = right * (1 - self.label_smoothing) + self.label_smoothing / ops.shape(logits)[-1]
        return -ops.sum(target * log_probabilities, axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
