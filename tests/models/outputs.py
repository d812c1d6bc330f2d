"""What a model gives for a batch, operation by operation: `predict` would trace a graph first, which takes a second."""

import keras


def outputs_of(model: keras.Model, batch: dict):
    """The outputs as NumPy arrays, in the structure of `model.predict`."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(batch, training=False))
