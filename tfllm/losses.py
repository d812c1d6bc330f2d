"""Losses, as `compile` takes them. All work on logits and compute in float32."""

import keras
import tensorflow as tf
from keras import ops

from tfllm import checks
from tfllm.checks import InputError


def masked_lm_loss() -> keras.losses.Loss:
    """Mean cross-entropy over the masked positions, in nats per token.

    Called with mask_ids int32 (B, M), logits float (B, M, V), and `mask_weights` float (B, M) as sample weights: the
    sum over all positions of weight times cross-entropy, divided by the sum of the weights. 0.0 if that is zero.

    Example: two masks, uniform logits over V=4 -> log(4) = 1.3863.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1.
    """
    return VocabularyCrossEntropy(reduction="mean_with_sample_weight", name="masked_lm_loss")


def causal_lm_loss(label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Mean cross-entropy of the next token, in nats per token.

    Args:
        label_smoothing: see `VocabularyCrossEntropy`.

    Called with next_ids int32 (B, T), logits float (B, T, V), and `next_weights` float (B, T) as sample weights: the
    sum of weight times cross-entropy, divided by the sum of the weights. 0.0 if that is zero.

    Example: uniform logits over V=4 -> log(4) = 1.3863.
    """
    return VocabularyCrossEntropy(label_smoothing, reduction="mean_with_sample_weight", name="causal_lm_loss")


@keras.saving.register_keras_serializable("tfllm")
class VocabularyCrossEntropy(keras.losses.Loss):
    """Cross-entropy over many classes: on TensorFlow two compiled passes, its own operation takes four times as long.

    Args:
        label_smoothing: s, 0 to 1: the target is 1 - s + s/V for the right class and s/V for every other one.

    Called with ids int32 (...), logits float (..., V).
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "vocabulary_cross_entropy", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = float(label_smoothing)

    def call(self, ids, logits):
        ids, logits, smoothing = ops.cast(ids, "int32"), ops.cast(logits, "float32"), self.label_smoothing
        if keras.backend.backend() == "tensorflow":
            return _cross_entropy(smoothing)(ids, logits)
        losses = keras.losses.sparse_categorical_crossentropy(ids, logits, from_logits=True)
        if not smoothing:
            return losses
        even = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
        return (1 - smoothing) * losses + smoothing * even

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def _cross_entropy(smoothing):
    @tf.custom_gradient
    def call(ids, logits):
        losses, totals = _losses(ids, logits, smoothing)
        return losses, lambda upstream: (None, _slopes(ids, logits, totals, upstream, smoothing))

    return call


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _losses(ids, logits, smoothing):
    """The losses, and the logarithms of the sums of exponentials, both of the shape of `ids`."""
    totals = tf.reduce_logsumexp(logits, axis=-1)
    right = tf.gather(logits, ids, batch_dims=ids.shape.rank)
    if smoothing:
        right = (1 - smoothing) * right + smoothing * tf.reduce_mean(logits, axis=-1)
    return totals - right, totals


@tf.function(jit_compile=True, reduce_retracing=True, autograph=False)
def _slopes(ids, logits, totals, upstream, smoothing):
    """Softmax minus the target, times the gradient from above."""
    target = tf.cast(tf.range(tf.shape(logits)[-1]) == ids[..., None], logits.dtype)
    if smoothing:
        target = (1 - smoothing) * target + smoothing / tf.cast(tf.shape(logits)[-1], logits.dtype)
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
        self.label_smoothing = float(label_smoothing)

    def call(self, label_ids, logits):
        log_probabilities = ops.log_softmax(ops.cast(logits, "float32"))
        label_ids = ops.reshape(ops.cast(label_ids, "int32"), ops.shape(logits)[:-1])
        right = ops.one_hot(label_ids, ops.shape(logits)[-1])
        target = right * (1 - self.label_smoothing) + self.label_smoothing / ops.shape(logits)[-1]
        return -ops.sum(target * log_probabilities, axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("tfllm")
class TaggingLoss(ClassificationLoss):
    """Cross-entropy of the tags of tokens, with label smoothing as in `ClassificationLoss`.

    Called with tags int32 (B, T), and what `add_tagger_head` gives: log-probabilities float (B, T, C, C), of which
    those after the right tag of the token before count, so that the sum over a text is minus the log-probability of all
    its tags; or logits float (B, T, C). Give `reduction="mean_with_sample_weight"`: divided by the sum of the weights.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "tagging_loss", **kwargs):
        super().__init__(label_smoothing, name, **kwargs)

    def call(self, tags, outputs):
        if len(outputs.shape) == 4:
            before = ops.pad(ops.cast(tags, "int32")[:, :-1], ((0, 0), (1, 0)))
            outputs = ops.sum(ops.one_hot(before, ops.shape(outputs)[-1])[..., None] * outputs, axis=2)
        return super().call(tags, outputs)


@keras.saving.register_keras_serializable("tfllm")
class SpanLoss(keras.losses.Loss):
    """Cross-entropy of the first and of the last token of an answer, the mean of the two, with label smoothing.

    Args:
        label_smoothing: s, 0 to 1: the target puts s evenly on all tokens that can be an end of an answer, those with a
            logit above -1e8, and the rest on the right one.

    Called with places int32 (B, 2), logits float (B, 2, T).
    Example: 8 tokens that can be ends, equal logits -> log(8) = 2.0794, whatever the places and s.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.2.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "span_loss", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = float(label_smoothing)

    def call(self, places, logits):
        logits = ops.cast(logits, "float32")
        possible = ops.cast(ops.greater(logits, -1e8), "float32")
        even = possible / ops.sum(possible, axis=-1, keepdims=True)
        right = ops.one_hot(ops.cast(places, "int32"), ops.shape(logits)[-1])
        target = right * (1 - self.label_smoothing) + even * self.label_smoothing
        return -ops.mean(ops.sum(target * ops.log_softmax(logits), axis=-1), axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("tfllm")
class ChoiceLoss(keras.losses.Loss):
    """Cross-entropy of the right choice among those of a question, with label smoothing.

    Args:
        label_smoothing: s, 0 to 1: the target puts s evenly on all choices, and the rest on the right one.

    Called with targets (B, C): 1 for the right choice, 0 for another, -1 where the question has no choice; logits float
    (B, C, 1).
    Example: targets 0, 1, -1, equal logits -> log(2) = 0.6931, whatever s is.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "choice_loss", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = float(label_smoothing)

    def call(self, targets, logits):
        there = ops.greater_equal(targets, 0)
        logits = ops.where(there, ops.cast(logits, "float32")[..., 0], -1e9)
        even = ops.cast(there, "float32")
        even /= ops.sum(even, axis=-1, keepdims=True)
        right = ops.cast(ops.equal(targets, 1), "float32")
        target = right * (1 - self.label_smoothing) + even * self.label_smoothing
        return -ops.sum(target * ops.log_softmax(logits), axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("tfllm")
class MultilabelLoss(keras.losses.Loss):
    """Cross-entropy of each label's yes or no, the mean over the labels, with label smoothing.

    Args:
        label_smoothing: s, 0 to 1: the target is 1 - s/2 for a label a text has, and s/2 for any other.

    Called with labels (..., C), 1 for those a text has, logits float (..., C). Packed rows: as `ClassificationLoss`.
    Example: logit 0 for every label -> log(2) = 0.6931, whatever the labels and s.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "multilabel_loss", **kwargs):
        checks.check_between("label_smoothing", label_smoothing, 0, 1)
        super().__init__(name=name, **kwargs)
        self.label_smoothing = float(label_smoothing)

    def call(self, labels, logits):
        logits = ops.cast(logits, "float32")
        target = ops.cast(labels, "float32") * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = ops.relu(logits) - logits * target + ops.softplus(-ops.abs(logits))  # finite for any logit
        return ops.mean(losses, axis=-1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("tfllm")
class RegressionLoss(keras.losses.Loss):
    """The squared error, measured in a unit in which scores differ by about 1.

    Args:
        scale: the unit: the width of the range of scores, or their standard deviation. The learning rate that suits
            one data set then suits another, whatever its scores.

    Called with targets (...), scores float (..., 1). Packed rows: as `ClassificationLoss`.
    Example: target 4, score 2, scale 5 -> (2/5)**2 = 0.16.
    """

    def __init__(self, scale: float = 1.0, name: str = "regression_loss", **kwargs):
        if not scale > 0:
            raise InputError(f"`scale` must be above 0. Received: {scale}.")
        super().__init__(name=name, **kwargs)
        self.scale = scale

    def call(self, targets, scores):
        targets = ops.reshape(ops.cast(targets, "float32"), ops.shape(scores)[:-1])
        return ops.square((ops.cast(scores, "float32")[..., 0] - targets) / self.scale)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("tfllm")
class CosineLoss(keras.losses.Loss):
    """The squared error of the cosine of two texts, whose vectors stand next to each other.

    Called with targets (..., 2P), cosines wanted, one for each text of a pair: the same number twice; vectors float
    (..., 2P, D), the two of a pair one after the other. Packed rows: as `ClassificationLoss`.
    Example: vectors (1, 0) and (0, 1), target 1 -> (0 - 1)**2 = 1 for both texts.
    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3, regression objective.
    """

    def call(self, targets, vectors):
        first, second = _pairs(vectors)
        wanted = ops.reshape(ops.cast(targets, "float32"), (-1, 2))[:, 0]
        return _of_both(ops.square(ops.sum(first * second, axis=-1) - wanted), targets)


@keras.saving.register_keras_serializable("tfllm")
class CosineRankLoss(keras.losses.Loss):
    """log(1 + the sum of exp((c - d) / temperature) over all two pairs of the batch in the wrong order).

    That is, over pairs whose cosines c and d should be c < d by their targets. Only the order of the targets counts,
    not their unit; the cosines themselves mean nothing then.

    Args:
        temperature: above 0; the smaller, the more the worst mistake counts.

    Called with targets (..., 2P), one for each text of a pair: the same number twice; vectors float (..., 2P, D), the
    two of a pair one after the other, 0 where there is none. Packed rows: as `ClassificationLoss`. Of a batch computed
    in parts (micro-batches, several devices) each part is by itself.
    Example: cosines 1 and 0 in the wrong order, temperature 1 -> log(1 + e) = 1.3133; in the right one 0.3133.
    Source: Su 2022, CoSENT, https://kexue.fm/archives/8847.
    """

    def __init__(self, temperature: float = 0.05, name: str = "cosine_rank_loss", **kwargs):
        if not temperature > 0:
            raise InputError(f"`temperature` must be above 0. Received: {temperature}.")
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, targets, vectors):
        first, second = _pairs(vectors)
        cosines = ops.sum(first * second, axis=-1) / self.temperature
        wanted = ops.reshape(ops.cast(targets, "float32"), (-1, 2))[:, 0]
        real = ops.any(ops.not_equal(first, 0), axis=-1)
        counted = ops.logical_and(wanted[:, None] < wanted[None], ops.logical_and(real[:, None], real[None]))
        gaps = ops.where(counted, cosines[:, None] - cosines[None], -1e9)  # (P, P)
        return ops.full(ops.shape(targets), ops.softplus(ops.logsumexp(ops.reshape(gaps, (-1,)))))

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("tfllm")
class InBatchNegativesLoss(keras.losses.Loss):
    """Cross-entropy of finding each text's partner among the partners of the whole batch.

    The logits are cosines divided by the temperature. Both directions count one half: the second text among all
    second ones, and the first among all first ones.

    Args:
        temperature: above 0; the smaller, the more the nearest wrong text counts.

    Called with text_numbers (..., 2P) of texts that stand in pairs, one after the other: equal numbers say that texts
    are equal, 0 that there is none; vectors float (..., 2P, D). A pair that shares a text with another is no negative
    for it: both are right. Packed rows: as `ClassificationLoss`. Of a batch computed in parts (micro-batches, several
    devices) each part is by itself.
    Example: pairs (1, 0), (1, 0) and (0, 1), (0, 1) with temperature 1 -> logits (1, 0) -> log(1 + 1/e) = 0.3133.
    Source: Henderson et al. 2017, arXiv:1705.00652, section 4.4; both directions: Radford et al. 2021,
    arXiv:2103.00020, section 2.3. Differs: equal texts are left out.
    """

    def __init__(self, temperature: float = 0.05, name: str = "in_batch_negatives_loss", **kwargs):
        if not temperature > 0:
            raise InputError(f"`temperature` must be above 0. Received: {temperature}.")
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, text_numbers, vectors):
        first, second = _pairs(vectors)
        logits = ops.matmul(first, ops.transpose(second)) / self.temperature  # (P, P), pairs of the whole batch
        numbers = ops.reshape(text_numbers, (-1, 2))
        equal = ops.any(ops.equal(numbers[:, None], numbers[None]), axis=-1)  # (P, P), one text or both
        real = ops.greater(numbers[:, 0], 0)
        negative = ops.logical_and(ops.logical_not(equal), ops.logical_and(real[:, None], real[None]))
        own = ops.eye(ops.shape(logits)[0], dtype="bool")
        logits = ops.where(ops.logical_or(negative, own), logits, -1e9)
        losses = [ops.logsumexp(logits, axis=axis) - ops.diagonal(logits) for axis in (0, 1)]
        return _of_both((losses[0] + losses[1]) / 2, text_numbers)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


def _pairs(vectors):
    """Vectors (..., 2P, D) -> those of the first and of the second texts, float32 (all pairs, D), each 1 long."""
    vectors = ops.reshape(ops.cast(vectors, "float32"), (-1, 2, ops.shape(vectors)[-1]))
    vectors *= ops.rsqrt(ops.maximum(ops.sum(ops.square(vectors), axis=-1, keepdims=True), 1e-12))
    return vectors[:, 0], vectors[:, 1]


def _of_both(losses, targets):
    """The loss of every pair, for both of its texts: of the shape of `targets`."""
    return ops.reshape(ops.repeat(losses, 2), ops.shape(targets))
