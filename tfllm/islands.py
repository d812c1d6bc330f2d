"""Compiled islands: the elementwise work of a training step, each forward and backward pass one function made by XLA.

On a CPU TensorFlow's matrix products (oneDNN) are faster than XLA's, and its elementwise operations slower: so only
what stands between two products is compiled. For training on the TensorFlow backend only: TF Serving has no XLA.
"""

import functools

import tensorflow as tf

_MIXERS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)  # odd numbers with well-spread bits
_SLICES = 8  # a power of two


def island(function):
    """Compile `function(*tensors, **settings)` and its gradient with respect to every float tensor.

    Nothing but the inputs is kept for the backward pass; it computes the function again, which costs less than memory.

    Args:
        function: of positional tensors, and of hashable settings by keyword. Returns a tensor or a tuple of tensors.

    Returns:
        The same function. Each new combination of settings and of shapes is compiled once, in some tenths of a second.
    """

    @functools.cache
    def compiled(settings):
        bound = functools.partial(function, **dict(settings))

        def gradients(tensors, upstream):
            with tf.GradientTape() as tape:
                tape.watch([tensor for tensor in tensors if tensor.dtype.is_floating])
                outputs = bound(*tensors)
            return tape.gradient(outputs, list(tensors), upstream)

        forward = tf.function(bound, jit_compile=True, autograph=False)
        backward = tf.function(functools.partial(gradients), jit_compile=True, autograph=False)

        @tf.custom_gradient
        def call(*tensors):
            def grad(*upstream):
                return backward(tensors, upstream if len(upstream) > 1 else upstream[0])

            return forward(*tensors), grad

        return call

    @functools.wraps(function)
    def call(*tensors, **settings):
        return compiled(tuple(settings.items()))(*[tf.convert_to_tensor(tensor) for tensor in tensors])

    return call


def step_seed(generator):
    """A uint32 scalar from a Keras `SeedGenerator`, new with every call, another on every replica; 0 for None."""
    if generator is None:
        return _uint32(0)
    seed = tf.cast(generator.next(), tf.uint32)
    replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.uint32)
    return tf.bitwise.bitwise_xor(seed[0], _mixed(seed[1] * _uint32(_MIXERS[1]) + replica * _uint32(_MIXERS[2])))


def dropout(x, seed, rate):
    """Keep each element of `x` with probability 1 - rate, divided by it; which ones follows from `seed` alone.

    Source: Appleby's MurmurHash3 finalizer over the number of the element.
    """
    if not rate:
        return x
    if rate == 1:
        return tf.zeros_like(x)
    number = tf.bitcast(tf.reshape(tf.range(tf.size(x)), tf.shape(x)), tf.uint32)
    bits = _mixed(number * _uint32(_MIXERS[0]) + seed)
    return tf.where(bits >= _uint32(int(rate * 2**32)), x / (1 - rate), tf.zeros_like(x))


@tf.custom_gradient
def softmax(x):
    """Softmax over the last axis of a float32 tensor."""
    powers = tf.exp(x - tf.reduce_max(x, axis=-1, keepdims=True))
    y = powers / _row_sum(powers)
    return y, lambda upstream: y * (upstream - _row_sum(upstream * y))


@tf.custom_gradient
def standardized(x, epsilon):
    """A float32 tensor with mean 0 and variance 1 over the last axis."""
    width = tf.cast(tf.shape(x)[-1], tf.float32)
    x -= _row_sum(x) / width
    scale = tf.math.rsqrt(_row_sum(x * x) / width + epsilon)
    y = x * scale

    def grad(upstream):
        return (upstream - _row_sum(upstream) / width - y * (_row_sum(upstream * y) / width)) * scale, None

    return y, grad


@tf.custom_gradient
def scaled_to_unit(x, epsilon):
    """A float32 tensor with mean square 1 over the last axis."""
    width = tf.cast(tf.shape(x)[-1], tf.float32)
    scale = tf.math.rsqrt(_row_sum(x * x) / width + epsilon)
    y = x * scale
    return y, lambda upstream: ((upstream - y * (_row_sum(upstream * y) / width)) * scale, None)


@tf.custom_gradient
def plus_vector(x, vector):
    """(..., D) + (D,) in float32."""
    return x + vector, lambda upstream: (upstream, _column_sum(upstream))


@tf.custom_gradient
def times_vector(x, vector):
    """(..., D) * (D,) in float32."""
    return x * vector, lambda upstream: (upstream * vector, _column_sum(upstream * x))


def float32(x):
    return tf.cast(x, tf.float32)


def _row_sum(x):
    """The sum over the last axis, kept as an axis of 1: as a product, which XLA does faster than a sum."""
    return tf.matmul(x, tf.ones((tf.shape(x)[-1], 1)))


def _column_sum(x):
    """The sum over all axes but the last: eight slices are added first, which XLA fuses with what made them.

    As one reduction, or as a product, XLA walks down each column alone, which takes five to ten times as long.
    """
    width = tf.shape(x)[-1]
    rows = tf.reshape(x, (-1, width))
    rows = tf.pad(rows, [[0, -tf.shape(rows)[0] % _SLICES], [0, 0]])
    parts = tf.unstack(tf.reshape(rows, (_SLICES, -1, width)), num=_SLICES)
    while len(parts) > 1:
        parts = [one + other for one, other in zip(parts[::2], parts[1::2], strict=True)]
    return tf.reduce_sum(parts[0], axis=0)


def _mixed(bits):
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint32(shift))) * _uint32(factor)
    return bits


def _uint32(number):
    return tf.constant(number, tf.uint32)
