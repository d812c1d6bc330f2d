"""Weights in a quarter of the room: matrices and tables as int8 with a scale for each output, or for each token.

In: a model and the signatures that compute with it. Out: signatures that compute with the small weights, and the
variables to be saved in place of the model's. The numbers become float32 again when they are used: it saves room on
disk and in the server, not time.
"""

import contextlib
from collections.abc import Callable

import keras
import tensorflow as tf

from tfllm.inference.signatures import Signature

FEWEST = 4096  # numbers in a weight that is worth it; biases and norms stay as they are
_STEPS = 127


def quantized(model: keras.Model, signatures: dict[str, Signature]) -> tuple[dict[str, Signature], list[tf.Variable]]:
    """The same signatures on rounded weights.

    Args:
        model: what the signatures compute with; it keeps its weights.
        signatures: from `build_signatures`.

    Returns:
        The signatures, and all variables they read: int8 values, float32 scales, and the weights that were not rounded.
    """
    small = {weight.path: _round(weight) for weight in model.weights if _is_worth_it(weight)}
    kept = [weight.value for weight in model.weights if weight.path not in small]
    rounded = [
        signature._replace(function=_with_small(signature.function, model, small)) for signature in signatures.values()
    ]
    return dict(zip(signatures, rounded, strict=True)), [*kept, *(one for pair in small.values() for one in pair)]


def _is_worth_it(weight) -> bool:
    return len(weight.shape) > 1 and weight.dtype == "float32" and weight.shape.num_elements() >= FEWEST


def _round(weight) -> tuple[tf.Variable, tf.Variable]:
    """int8 of the weight's shape, and what each is multiplied by: its largest number becomes 127."""
    value = tf.convert_to_tensor(weight.value)
    largest = tf.reduce_max(tf.abs(value), axis=_inputs(weight), keepdims=True)
    scale = tf.maximum(largest, 1e-30) / _STEPS
    return tf.Variable(tf.cast(tf.round(value / scale), tf.int8), trainable=False), tf.Variable(scale, trainable=False)


def _inputs(weight) -> list[int]:
    """The axes that are summed over when the weight is used; each of the others has a scale of its own."""
    if weight.path.endswith("embeddings"):
        return [len(weight.shape) - 1]
    return [0, 1] if weight.path.endswith("attention_output/kernel") else [0]


def _with_small(function: Callable, model: keras.Model, small: dict[str, tuple]) -> Callable:
    """The function, computed with the small weights in place of the model's."""
    function = getattr(function, "python_function", function)  # what was traced keeps the weights of that time

    def call(**inputs):
        large = {path: tf.cast(values, tf.float32) * scale for path, (values, scale) in small.items()}
        mapping = [(weight, large[weight.path]) for weight in model.weights if weight.path in large]
        with keras.StatelessScope(state_mapping=mapping), _gathering_first(model, small):
            return function(**inputs)

    return call


@contextlib.contextmanager
def _gathering_first(model: keras.Model, small: dict[str, tuple]):
    """Have the tokens' embeddings be looked up before they become float32, not the whole table before."""
    layers = {layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)}
    layers = [layer for layer in layers if layer.embeddings.path in small]
    calls = {layer: layer.call for layer in layers}

    def gather(layer):
        values, scale = small[layer.embeddings.path]

        def call(inputs, **arguments):
            if any(arguments.values()):  # reverse=True: the table as the matrix of a masked language model
                return calls[layer](inputs, **arguments)
            return tf.cast(tf.gather(values, inputs), tf.float32) * tf.gather(scale, inputs)

        return call

    for layer in layers:
        object.__setattr__(layer, "call", gather(layer))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")
