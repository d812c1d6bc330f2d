"""AdamW as BERT-type models are trained with it: warm-up and decay, no decay on biases and norms, clipped gradients."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import keras
import tensorflow as tf
from keras import ops

from tfllm import checks

DECAYS = ("linear", "cosine", "constant")
_NOT_DECAYED = ["bias", "gamma", "beta"]  # names of the variables of biases and layer norms


@keras.saving.register_keras_serializable("tfllm")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises linearly from 0, then falls to 0 at `total_steps`.

    Args:
        peak: the learning rate reached after the warm-up.
        warmup_steps: optimizer steps until the peak.
        total_steps: optimizer steps until 0.
        decay: "linear", "cosine", or "constant" (stays at the peak).

    Example: peak 1, warmup_steps 2, total_steps 4, linear -> steps 0..4 give 0.5, 1, 1, 0.5, 0.
    Source: Devlin et al. 2019, appendix A.2 (linear); Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5 (cosine).
    Differs: the first step already has a rate above 0, so that it is not wasted.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int, decay: str = "linear"):
        checks.check_at_least("warmup_steps", warmup_steps, 0)
        checks.check_at_least("total_steps", total_steps, max(1, warmup_steps))
        checks.check_one_of("decay", decay, DECAYS)
        self.peak, self.warmup_steps, self.total_steps, self.decay = peak, warmup_steps, total_steps, decay

    def __call__(self, step):
        step = ops.cast(step, "float32")
        warmup = (step + 1.0) / max(1, self.warmup_steps)
        gone = ops.clip((step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps), 0.0, 1.0)
        falling = {
            "linear": lambda: 1.0 - gone,
            "cosine": lambda: 0.5 * (1.0 + ops.cos(math.pi * gone)),
            "constant": lambda: ops.ones_like(gone),
        }[self.decay]()
        return self.peak * ops.where(step < self.warmup_steps, warmup, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable("tfllm")
class AdamW(keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`, the same numbers and variables, in one operation per weight on TensorFlow.

    That operation rounds 1 - beta_2 to float32: velocities differ from Keras's by 5e-5 of themselves.

    Gradients must come summed over replicas, as `tfllm.models.trainable` gives them: so clipping is by their true norm.

    `rate_factors`: path of a variable -> what its learning rate is multiplied by. Set it before the first step.
    """

    rate_factors: Mapping[str, float] = MappingProxyType({})

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        learning_rate = learning_rate * self.rate_factors.get(self._trainable_variables[index].path, 1.0)
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        rate, step = tf.cast(learning_rate, variable.dtype), tf.cast(self.iterations + 1, variable.dtype)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            variable.assign(variable * (1 - rate * self.weight_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
        )

    def _clip_gradients(self, grads):
        if keras.backend.backend() != "tensorflow" or not self.global_clipnorm:
            return super()._clip_gradients(grads)
        # Without Keras's copies of all squares; the train step takes the same norm, and TensorFlow computes it once.
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]

    def _apply_weight_decay(self, variables):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super()._apply_weight_decay(variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


def adamw(
    learning_rate: float,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    decay: str = "linear",
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
) -> keras.optimizers.Optimizer:
    """AdamW with decoupled weight decay, a warm-up and decay schedule, and clipping by the global norm.

    Args:
        learning_rate: the peak, after the warm-up.
        total_steps, warmup_steps, decay: see `WarmupDecay`.
        weight_decay: times the learning rate, taken off every weight but biases and layer norms.
        clip_norm: gradients together are scaled down to this norm; 0 does not clip.

    Returns:
        A `tfllm.training.optimizer.AdamW`, beta 0.9 and 0.999, epsilon 1e-6.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; Devlin et al. 2019, appendix A.2.
    """
    for name, value in (("learning_rate", learning_rate), ("weight_decay", weight_decay), ("clip_norm", clip_norm)):
        checks.check_at_least(name, value, 0)
    optimizer = AdamW(
        WarmupDecay(learning_rate, warmup_steps, total_steps, decay),
        weight_decay=weight_decay,
        epsilon=1e-6,
        global_clipnorm=clip_norm or None,
    )
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer
