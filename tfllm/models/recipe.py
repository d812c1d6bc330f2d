"""How a model was built, carried with it, so that a saved model is rebuilt by the same plain functions.

A recipe is JSON: `{"builder": name, "arguments": {...}, "encoder": recipe or null}`, and for an ensemble also
`"members": how many models of this recipe it averages`.
"""

import keras

from tfllm.checks import InputError


def remember(model: keras.Model, builder: str, arguments: dict, encoder: keras.Model | None = None) -> keras.Model:
    """Note on `model` that `builder` made it with `arguments` from `encoder`; returns the model."""
    recipe = {"builder": builder, "arguments": arguments, "encoder": encoder and _any(encoder)}
    object.__setattr__(model, "_tfllm_recipe", recipe)  # past Keras, which would track and wrap it
    model._tfllm_encoder = lambda: encoder or model  # a function: as an attribute its weights would be saved twice
    return model


def read_encoder(model: keras.Model) -> keras.Model:
    """The encoder a head was put on, which shares its weights; an encoder itself; InputError for another model."""
    read_recipe(model)
    return model._tfllm_encoder()


def read_recipe(model: keras.Model) -> dict:
    """The recipe of a model that a tfllm builder made; InputError for another model."""
    recipe = getattr(model, "_tfllm_recipe", None)
    if recipe is None:
        raise InputError(
            "This model was not made by a tfllm builder, so tfllm cannot know how to rebuild it. "
            f"Use `model.save(...)`, or put a tfllm head on it. Received: {type(model).__name__} {model.name!r}."
        )
    return recipe


def encoder_arguments(encoder: keras.Model) -> dict:
    """What `build_encoder` was called with; nothing for a KerasHub backbone."""
    return read_recipe(encoder)["arguments"] if getattr(encoder, "_tfllm_recipe", None) else {}


def longest_text(model: keras.Model) -> int:
    """The `max_sequence_length` a model was built with, in tokens."""
    recipe = read_recipe(model)
    encoder = recipe["encoder"] or recipe
    arguments = encoder["arguments"] if encoder["builder"] != "keras" else encoder["arguments"]["config"]
    return arguments["max_sequence_length"]


def check_length(model: keras.Model, sequence_length: int) -> None:
    """Raise InputError unless the model has a position for each of `sequence_length` tokens."""
    longest = longest_text(model)
    if sequence_length > longest:
        raise InputError(
            f"`sequence_length` must not exceed {longest}, the `max_sequence_length` the model was built with. "
            f"Received: {sequence_length}."
        )


def _any(encoder: keras.Model) -> dict:
    """The recipe of our encoder, or for a KerasHub backbone its Keras configuration."""
    if getattr(encoder, "_tfllm_recipe", None) is None:
        return {"builder": "keras", "arguments": keras.saving.serialize_keras_object(encoder), "encoder": None}
    return read_recipe(encoder)
