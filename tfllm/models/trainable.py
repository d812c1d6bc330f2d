"""`TrainableModel`: the functional model that heads return, with a train step that is right at any scale.

Keras's own step divides by the tokens of a replica and clips before gradients are summed. Here, on TensorFlow, the
loss is divided by the count over the whole global batch, and gradients are summed over micro-batches and replicas
before the optimizer clips them: the update does not depend on how the batch was divided. On other backends Keras's
step stays, which is right there.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf
from keras.src.losses.losses import LossFunctionWrapper

from tfllm import checks
from tfllm.checks import InputError


@keras.saving.register_keras_serializable("tfllm")
class TrainableModel(keras.Model):
    """A functional `keras.Model`: `compile`, `fit`, `evaluate`, `predict` and `save` as ever.

    `micro_batches`: into how many parts a batch is divided that are computed one after the other, to save memory; the
    update is that of the whole batch. Set it before `fit`. TensorFlow only.

    During training `fit` reports, besides the metrics, `gradient_norm`: the norm of all gradients before clipping.
    """

    micro_batches = 1

    def train_step(self, *args):
        if keras.backend.backend() != "tensorflow":
            if self.micro_batches != 1:
                raise InputError(
                    "`micro_batches` works on the TensorFlow backend. On others, give the optimizer "
                    f"`gradient_accumulation_steps`. Received: micro_batches={self.micro_batches}."
                )
            return super().train_step(*args)
        return _train_step(self, *args)

    def make_train_function(self, force=False):
        if keras.backend.backend() == "tensorflow" and self.distribute_strategy.num_replicas_in_sync > 1:
            _check_replicated(self)
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = _traced_once(self, self.train_function, trains=True)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = _traced_once(self, self.test_function, trains=False)

    def test_step(self, *args):
        if keras.backend.backend() != "tensorflow":
            return super().test_step(*args)
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(args[0])
        outputs = self(inputs, training=False)
        terms = _terms(self, targets, weights)
        _track_loss(self, terms, _sums(terms, outputs), _global_counts(terms), parts=1)
        return self.compute_metrics(inputs, targets, outputs, sample_weight=weights)


class _Term(NamedTuple):
    """One part of the loss: that of one output."""

    output: str | None  # its name, where outputs are a dict
    values: Callable  # (targets, outputs) -> a loss for every row, or for every position of every row
    per_weight: bool  # divided by the sum of the weights; without weights, or otherwise, by the number of rows
    scale: float
    targets: tf.Tensor
    weights: tf.Tensor | None


def _train_step(model: TrainableModel, data) -> dict[str, tf.Tensor]:
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    checks.check_at_least("micro_batches", model.micro_batches, 1)
    replicas = tf.distribute.get_replica_context()
    global_counts = _global_counts(_terms(model, targets, weights))

    def gradients_of(part):
        inputs, targets, weights = part
        terms = _terms(model, targets, weights)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            sums = _sums(terms, outputs)
            loss = _loss(terms, sums, global_counts)
            for extra in model.losses:
                loss += tf.reduce_sum(extra) / replicas.num_replicas_in_sync / model.micro_batches
            scaled = model.optimizer.scale_loss(loss)
        # Dense: of a token listed twice, Keras would take the norm and the square of each part, not of their sum.
        gradients = [_dense(gradient) for gradient in tape.gradient(scaled, model.trainable_weights)]
        _track_loss(model, terms, sums, global_counts, parts=model.micro_batches)
        model.compute_metrics(inputs, targets, outputs, sample_weight=weights)
        return gradients

    gradients = _summed(gradients_of, (inputs, targets, weights), model.micro_batches)
    gradients = _across_replicas(gradients, replicas)
    norm = tf.linalg.global_norm([gradient for gradient in gradients if gradient is not None])
    norm /= model.optimizer.scale_loss(1.0)
    model.optimizer.apply(gradients, model.trainable_weights)
    return {**_metrics(model, replicas), "gradient_norm": norm}


def _traced_once(model: TrainableModel, steps: Callable, *, trains: bool) -> Callable:
    """`steps`, for which what it needs of metrics, and of the optimizer if it trains, is there before: of a function
    whose trace creates variables TensorFlow makes a second trace, and the first step waits twice as long.
    """
    if keras.backend.backend() != "tensorflow" or model.distribute_strategy.num_replicas_in_sync > 1:
        return steps

    def prepared_steps(iterator):
        metrics = model._compile_metrics
        if trains and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        if metrics is not None and not metrics.built and isinstance(iterator, tf.data.Iterator):
            _, targets, _ = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
            metrics.build(targets, model.output)
        return steps(iterator)

    return prepared_steps


def _check_replicated(model: TrainableModel) -> None:
    """Raise InputError if `model` was compiled with what several replicas cannot do; sums gradients but once."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if model.steps_per_execution != 1:
        raise InputError("With several replicas `steps_per_execution` must be 1: Keras's loop cannot hold their step.")
    if model.jit_compile:
        raise InputError("With several replicas on TensorFlow a step cannot be compiled: leave `jit_compile` out.")
    if optimizer.gradient_accumulation_steps:
        raise InputError(
            "With several replicas an optimizer cannot hold `gradient_accumulation_steps`: set the model's "
            "`micro_batches`, which saves the same memory."
        )
    optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars  # the step has summed them


def _metrics(model: TrainableModel, replicas: tf.distribute.ReplicaContext) -> dict[str, tf.Tensor]:
    """The metrics over the rows of all replicas."""
    if replicas.num_replicas_in_sync == 1:
        return model.get_metrics_result()
    return replicas.merge_call(lambda strategy: model.get_metrics_result())


def _summed(gradients_of: Callable, batch: tuple, micro_batches: int) -> list:
    """The sum of the gradients of all micro-batches."""
    if micro_batches == 1:
        return gradients_of(batch)
    one = tf.function(gradients_of, autograph=False)  # traced once
    rows = tf.shape(tf.nest.flatten(batch)[0])[0]
    total = None
    for number in range(micro_batches):
        start, end = number * rows // micro_batches, (number + 1) * rows // micro_batches
        part = tf.nest.map_structure(lambda tensor: None if tensor is None else tensor[start:end], batch)  # noqa: B023
        gradients = one(part)
        total = gradients if total is None else [_plus(a, b) for a, b in zip(total, gradients, strict=True)]
    return total


def _across_replicas(gradients: list, replicas: tf.distribute.ReplicaContext) -> list:
    if replicas.num_replicas_in_sync == 1:
        return gradients
    present = [gradient for gradient in gradients if gradient is not None]
    summed = iter(replicas.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if gradient is None else next(summed) for gradient in gradients]


def _terms(model: TrainableModel, targets, weights) -> list[_Term]:
    """The parts of the compiled loss, with the targets and weights of a batch."""
    scales = model._compile_loss._user_loss_weights if model.loss is not None else None
    if isinstance(model.loss, dict) and isinstance(model.output, dict) and isinstance(scales, dict | None):
        return [
            _term(
                name,
                loss,
                (scales or {}).get(name, 1.0),
                targets[name],
                weights[name] if isinstance(weights, dict) else weights,
            )
            for name, loss in model.loss.items()
            if loss is not None
        ]
    if model.loss is None or isinstance(model.loss, dict | list | tuple) or scales is not None:
        raise InputError(
            "Give `compile` a `loss`; or, where the output is a dict, one of losses by its names, and then, if you "
            f"like, a dict `loss_weights`. Received: loss={model.loss!r}, loss_weights={scales!r}."
        )
    return [_term(None, model.loss, 1.0, targets, weights)]


def _term(name: str | None, loss, scale: float, targets, weights) -> _Term:
    values, per_weight = _values(loss)
    return _Term(name, values, per_weight and weights is not None, scale, targets, weights)


def _values(loss: keras.losses.Loss | Callable | str) -> tuple[Callable, bool]:
    loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        loss = LossFunctionWrapper(loss)
    if loss.reduction not in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
        raise InputError(
            "A loss must be a mean, over rows or over weights: the step divides by their count over the global batch. "
            f"Received: {loss.name} with reduction={loss.reduction!r}."
        )

    def values(targets, outputs):
        return loss.call(tf.cast(targets, loss.dtype), tf.cast(outputs, loss.dtype))  # as Keras gives them to a loss

    return values, loss.reduction == "mean_with_sample_weight"


def _sums(terms: list[_Term], outputs) -> list[tf.Tensor]:
    """The sum of weight times loss of every term; a row's own positions are averaged unless weights count them."""
    sums = []
    for term in terms:
        values = term.values(term.targets, outputs if term.output is None else outputs[term.output])
        if values.shape.rank == 0:  # a loss that is a mean already
            values = tf.fill(tf.shape(term.targets)[:1], values)
        weighted = values if term.weights is None else values * _like(term.weights, values)
        if not term.per_weight and weighted.shape.rank > 1:
            weighted = tf.reduce_mean(weighted, axis=range(1, weighted.shape.rank))
        sums.append(tf.reduce_sum(weighted))
    return sums


def _counts(terms: list[_Term]) -> list[tf.Tensor]:
    """What each term's sum is divided by: the sum of its weights, or its number of rows."""
    return [
        tf.reduce_sum(tf.cast(term.weights, tf.float32))
        if term.per_weight
        else tf.cast(tf.shape(term.targets)[0], tf.float32)
        for term in terms
    ]


def _global_counts(terms: list[_Term]) -> list[tf.Tensor]:
    """The counts over all replicas."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, _counts(terms))


def _track_loss(model: TrainableModel, terms: list[_Term], sums: list, global_counts: list, parts: int) -> None:
    """Add a replica's part of the batch, one of `parts`, to the reported loss: the mean over batches, each of which
    weighs as much as its first term counts tokens or rows.
    """
    share = _loss(terms, sums, global_counts)
    parts *= tf.distribute.get_replica_context().num_replicas_in_sync
    model._loss_tracker.update_state(share * parts, sample_weight=global_counts[0] / parts)


def _loss(terms: list[_Term], sums: list, global_counts: list) -> tf.Tensor:
    """What these sums are of the loss of the global batch."""
    means = [
        term.scale * tf.math.divide_no_nan(total, count)
        for term, total, count in zip(terms, sums, global_counts, strict=True)
    ]
    return tf.add_n(means)


def _like(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Weights in the dtype of the values, with trailing axes of 1 up to their rank, or without those beyond it."""
    weights = tf.cast(weights, values.dtype)
    for _ in range(weights.shape.rank - values.shape.rank):
        weights = tf.squeeze(weights, -1)
    for _ in range(values.shape.rank - weights.shape.rank):
        weights = weights[..., None]
    return weights


def _dense(gradient):
    return None if gradient is None else tf.convert_to_tensor(gradient)


def _plus(a, b):
    return None if a is None else a + b
