"""How a model was built, carried with it, so that a saved model is rebuilt by the same plain functions.

A recipe is JSON: `{"builder": name, "arguments": {...}, "encoder": recipe or null}`.
"""

import keras

from tfllm.checks import InputError


def remember(model: keras.Model, builder: str, arguments: dict, encoder: keras.Model | None = None) -> keras.Model:
    """Note on `model` that `builder` made it with `arguments` from `encoder`; returns the model."""
    object.__setattr__(
        model, "_tfllm_recipe", {"builder": builder, "arguments": arguments, "encoder": encoder and _any(encoder)}
    )
    return model


def read_recipe(model: keras.Model) -> dict:
    """The recipe of a model that a tfllm builder made; InputError for another model."""
    recipe = getattr(model, "_tfllm_recipe", None)
    if recipe is None:
        raise InputError(
            "This model was not made by a tfllm builder, so tfllm cannot know how to rebuild it. "
            f"Use `model.save(...)`, or put a tfllm head on it. Received: {type(model).__name__} {model.name!r}."
        )
    return recipe


def _any(encoder: keras.Model) -> dict:
    """The recipe of our encoder, or for a KerasHub backbone its Keras configuration."""
    if getattr(encoder, "_tfllm_recipe", None) is None:
        return {"builder": "keras", "arguments": keras.saving.serialize_keras_object(encoder), "encoder": None}
    return read_recipe(encoder)
