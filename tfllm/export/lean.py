"""The same model with a leaner graph: nothing is computed for padding, and fewer operations do the rest.

In: a model on an encoder of `build_encoder`. Out: a model with the same inputs, outputs, recipe and numbers, to be
exported; it cannot be trained.

Shapes: B batch, T tokens, N real tokens of all rows, D hidden_dim, H heads, K head width.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm.models import read_encoder, read_recipe
from tfllm.models.encoder import ACTIVATIONS
from tfllm.models.recipe import encoder_arguments, remember

_FORBIDDEN = -1e9
_MOST_IN_GRAPH = 2**26  # bytes; a loaded graph takes about ten times its constants' room
# Those that answer with numbers, or with the best of a few. Where the best of many is searched (spans, words), or equal
# choices are compared, another order of additions may find another one, and answers must be those of the Keras model.
_HEADS = {
    "add_classifier_head",
    "add_embedding_head",
    "add_multilabel_head",
    "add_next_sentence_head",
    "add_regression_head",
}


def lean(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """The model on a lean encoder; itself where its encoder is none of `build_encoder`, or its head none of these.

    Args:
        model: an encoder, or one with a head on it; float32.
        dtype: of the layers' matrices and their products: float32 or bfloat16. All else stays float32.
    """
    recipe, encoder = read_recipe(model), read_encoder(model)
    arguments = encoder_arguments(encoder)
    if not arguments or read_recipe(encoder)["builder"] != "build_encoder" or recipe.get("members"):
        return model
    if model is not encoder and recipe["builder"] not in _HEADS:
        return model
    hidden = LeanEncoder(encoder, dtype, name="lean_encoder")(encoder.input)  # (B, T, D)
    pooled = hidden[:, 0]
    if arguments["pooler_activation"]:
        dense = encoder.get_layer("pooled_dense")
        pooled = Part([dense.input], dense.output, name="pooled_dense")([pooled])
    outputs = {"sequence_output": hidden, "pooled_output": pooled}
    small = remember(keras.Model(encoder.input, outputs, name="encoder"), "build_encoder", arguments)
    if model is encoder:
        return small
    inputs = list(model.input.values())  # a head may read them, too
    answers = Part([encoder.output["sequence_output"], *inputs], model.output, name="head")([hidden, *inputs])
    return remember(keras.Model(model.input, answers, name=model.name), recipe["builder"], recipe["arguments"], small)


class Part(keras.layers.Layer):
    """What a model computes from some of its tensors to others, with its layers and their weights.

    A `keras.Model` from tensors in the middle would leave traces in the layers, with which Keras can no longer save the
    model they belong to.

    Args:
        inputs: list of symbolic tensors of the model, wherever they stand in it.
        outputs: what is computed of them; any nest.

    Call: list of tensors like `inputs` -> tensors like `outputs`.
    """

    def __init__(self, inputs: list, outputs, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self._function = keras.Function(inputs, outputs)
        # Here Keras finds their weights.
        self._layers_in_it = [one for one in self._function.operations if isinstance(one, keras.layers.Layer)]

    def call(self, inputs):
        return self._function(inputs)

    def compute_output_spec(self, inputs):
        return self._function.compute_output_spec(inputs)


class Block(NamedTuple):
    """The weights and layers of one Transformer layer; a product is a matrix (I, O) and a vector (O,)."""

    qkv: tuple
    output: tuple
    intermediate: tuple
    feedforward: tuple
    attention_norm: keras.layers.Layer
    feedforward_norm: keras.layers.Layer


class LeanEncoder(keras.layers.Layer):
    """What `build_encoder` gives as `sequence_output`, computed for the real tokens alone.

    The tokens of all rows stand behind each other, (N, D), in every product; only attention sees them in rows. Query,
    key and value are one product. Padding comes out as 0, where an encoder of Keras gives numbers that mean nothing.
    Matrices of bfloat16 are constants of the graph where all together take at most 64 MB: oneDNN lays those out for
    its products once, but the values of variables with every request, which takes longer than a short text's products.

    Args:
        encoder: from `build_encoder`. Its embeddings and norms are shared, its matrices copied.
        dtype: of the matrices.

    Call: dict of int32 (B, T): token_ids, segment_ids, padding_mask -> float32 (B, T, D).
    """

    def __init__(self, encoder: keras.Model, dtype: str, **kwargs):
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self._arguments = encoder_arguments(encoder)
        names = {layer.name for layer in encoder.layers}
        self._embeddings = {
            name: encoder.get_layer(f"{name}_embedding")
            for name in ("token", "position", "segment", "bigram")
            if f"{name}_embedding" in names
        }
        self._embeddings_norm = encoder.get_layer("embeddings_layer_norm")
        self._in_graph = dtype == "bfloat16" and _matrix_bytes(self._arguments, dtype) <= _MOST_IN_GRAPH
        self._projection, self._bias, self._last_norm, self._bigrams = (
            encoder.get_layer(name) if name in names else None
            for name in ("embedding_projection", "relative_position_bias", "final_layer_norm", "bigram_buckets")
        )
        self._blocks, self._parts = self._read_blocks(encoder, dtype)
        self.built = True

    def _read_blocks(self, encoder, dtype: str) -> tuple[list[Block], list]:
        count = self._arguments["num_layers"]
        numbers = [0] if self._arguments["share_layers"] else range(count)
        layers = [encoder.get_layer(f"transformer_layer_{number}") for number in numbers]
        blocks = [self._read_block(layer, dtype) for layer in layers]
        norms = [norm for block in blocks for norm in (block.attention_norm, block.feedforward_norm)]
        return (blocks * count if len(blocks) == 1 else blocks), norms

    def _read_block(self, layer, dtype: str) -> Block:
        attention, width = layer._self_attention_layer, self._arguments["hidden_dim"]
        dense = (attention.query_dense, attention.key_dense, attention.value_dense)
        kernels = [tf.reshape(one.kernel, (width, width)) for one in dense]
        biases = [tf.reshape(one.bias, (width,)) for one in dense]
        return Block(
            self._product(tf.concat(kernels, axis=1), tf.concat(biases, axis=0), dtype),
            self._product(
                tf.reshape(attention.output_dense.kernel, (width, width)), attention.output_dense.bias, dtype
            ),
            self._product(
                layer._feedforward_intermediate_dense.kernel, layer._feedforward_intermediate_dense.bias, dtype
            ),
            self._product(layer._feedforward_output_dense.kernel, layer._feedforward_output_dense.bias, dtype),
            layer._self_attention_layer_norm,
            layer._feedforward_layer_norm,
        )

    def _product(self, kernel, bias, dtype: str) -> tuple:
        kernel, bias = tf.cast(tf.convert_to_tensor(kernel), dtype), self._weight(tf.convert_to_tensor(bias))
        return (kernel if self._in_graph else self._weight(kernel)), bias

    def _weight(self, value):
        """A weight of this layer with this value."""
        weight = self.add_weight(shape=tuple(value.shape), dtype=value.dtype.name, initializer="zeros", autocast=False)
        weight.assign(value)
        return weight

    def call(self, inputs):
        mask = inputs["padding_mask"]
        batch, length = tf.unstack(tf.shape(mask))
        real = tf.reshape(tf.logical_or(mask > 0, tf.range(length) == 0), (-1,))  # a row is never empty
        places = tf.cast(tf.reshape(tf.where(real), (-1,)), tf.int32)  # (N,), of (B * T)
        numbers = tf.maximum(tf.cumsum(tf.cast(real, tf.int32)) - 1, 0)  # (B * T,), of (N); padding repeats a token
        same_text = tf.cast(mask[:, :, tf.newaxis] == mask[:, tf.newaxis, :], tf.int32)  # (B, T, T)
        forbidden = (
            self._bias(same_text) if self._bias else _FORBIDDEN * tf.cast(1 - same_text, tf.float32)[:, tf.newaxis]
        )
        width = self._arguments["hidden_dim"]
        x = self._embed(inputs, same_text, places)
        to_heads, to_tokens = self._routes(tf.reshape(numbers, (batch, length)), places)
        for block in self._blocks:
            x = self._transform(x, block, forbidden, to_heads, to_tokens)
        if self._last_norm:
            x = self._last_norm(x)
        x = tf.gather(x, numbers) * tf.cast(real, x.dtype)[:, tf.newaxis]
        return tf.ensure_shape(tf.reshape(x, (batch, length, width)), (None, None, width))

    def _embed(self, inputs, same_text, places):
        """The embeddings of the real tokens, (N, D)."""
        positions = tf.reduce_sum(tf.linalg.band_part(same_text, -1, 0), axis=-1) - 1  # earlier ones of the same text
        segments = inputs["segment_ids"]
        ids = {
            "token": inputs["token_ids"],
            "position": positions,
            "segment": segments if self._arguments["num_segments"] > 1 else tf.zeros_like(segments),
        }
        if self._bigrams:
            ids["bigram"] = self._bigrams(inputs["token_ids"], inputs["padding_mask"])
        parts = [
            tf.gather(layer.embeddings, tf.gather(tf.reshape(ids[name], (-1,)), places))
            for name, layer in self._embeddings.items()
        ]
        x = self._embeddings_norm(parts)
        return self._projection(x) if self._projection else x

    def _routes(self, numbers, places):
        """Where attention finds the parts of the tokens: gathering by these takes the place of transpositions.

        Args:
            numbers: int32 (B, T), of N.
            places: int32 (N,), of B * T.

        Returns:
            int32 (3, B, H, T), of N * 3 * H: query, key and value of a head; int32 (N, H), of B * H * T: the
            outputs of a token's heads.
        """
        heads, length = self._arguments["num_heads"], tf.shape(numbers)[1]
        part = tf.reshape(tf.range(3 * heads), (3, 1, heads, 1))
        head = tf.range(heads) * length
        row, column = places // length, places % length
        return numbers[:, tf.newaxis] * (3 * heads) + part, (row * (heads * length) + column)[:, tf.newaxis] + head

    def _transform(self, x, block: Block, forbidden, to_heads, to_tokens):
        """One layer, (N, D) -> (N, D)."""
        before = self._arguments["normalize_first"]
        y = block.attention_norm(x) if before else x
        y = self._attend(_times(y, *block.qkv), forbidden, to_heads, to_tokens)
        x = _add(x, _times(y, *block.output))
        y = x = x if before else block.attention_norm(x)
        if before:
            y = block.feedforward_norm(x)
        y = _times(ACTIVATIONS[self._arguments["activation"]](_times(y, *block.intermediate)), *block.feedforward)
        x = _add(x, y)
        return x if before else block.feedforward_norm(x)

    def _attend(self, qkv, forbidden, to_heads, to_tokens):
        """(N, 3D) -> (N, D)."""
        width = self._arguments["hidden_dim"]
        head_width = width // self._arguments["num_heads"]
        query, key, value = tf.unstack(tf.gather(tf.reshape(qkv, (-1, head_width)), to_heads))  # (B, H, T, K)
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32) * head_width**-0.5 + forbidden
        outputs = tf.matmul(tf.cast(tf.nn.softmax(scores), value.dtype), value)
        return tf.reshape(tf.gather(tf.reshape(outputs, (-1, head_width)), to_tokens), (-1, width))

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs["padding_mask"].shape, self._arguments["hidden_dim"]), dtype="float32")


def _matrix_bytes(arguments: dict, dtype: str) -> int:
    width, inner = arguments["hidden_dim"], arguments["intermediate_dim"]
    layers = 1 if arguments["share_layers"] else arguments["num_layers"]
    return layers * (4 * width**2 + 2 * width * inner) * tf.as_dtype(dtype).size


def _times(x, kernel, bias):
    """(N, I), (I, O), (O,) -> (N, O) in the matrix's type. TensorFlow fuses it with the activation behind it."""
    kernel = tf.convert_to_tensor(kernel)
    return tf.nn.bias_add(tf.matmul(tf.cast(x, kernel.dtype), kernel), tf.cast(bias, kernel.dtype))


def _add(x, y):
    return x + tf.cast(y, x.dtype)
