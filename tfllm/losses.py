"""Losses, as `compile` takes them. All work on logits and compute in float32."""

import keras
from keras import ops

from tfllm import checks


def masked_lm_loss() -> keras.losses.Loss:
    """Mean cross-entropy over the masked positions, in nats per token.

    Called with mask_ids int32 (B, M), logits float (B, M, V), and `mask_weights` float (B, M) as sample weights: the
    sum over all positions of weight times cross-entropy, divided by the sum of the weights. 0.0 if that is zero.

    Example: two masks, uniform logits over V=4 -> log(4) = 1.3863.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """
    return keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight", name="masked_lm_loss"
    )


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
    against the whole data set, not only against its batch.
    Example: logits (0, 0), any label, any s -> log(2) = 0.6931.
    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "classification_loss", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = label_smoothing

    def call(self, label_ids, logits):
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"))
        right = ops.one_hot(ops.cast(ops.reshape(label_ids, (-1,)), "int32"), ops.shape(logits)[-1])
        target = right * (1 - self.label_smoothing) + self.label_smoothing / ops.shape(logits)[-1]
        return -ops.sum(target * log_probabilities, axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
