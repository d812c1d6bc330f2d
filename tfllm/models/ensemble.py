"""Several models trained for the same task as one that gives the mean of their outputs."""

from collections.abc import Sequence

import keras

from tfllm.checks import InputError
from tfllm.models.recipe import read_encoder, read_recipe, remember
from tfllm.models.trainable import TrainableModel

_AVERAGED = (
    "add_classifier_head",
    "add_multilabel_head",
    "add_regression_head",
    "add_tagger_head",
    "add_span_head",
    "add_choice_head",
    "add_masked_lm_head",
    "add_next_sentence_head",
)


def average_models(models: Sequence[keras.Model]) -> keras.Model:
    """One model whose output is the mean of the outputs of `models`; it is saved, evaluated and exported as they are.

    For a classifier the mean is one of logits: the geometric mean of the probabilities, scaled to sum to 1.

    Args:
        models: two or more, made by the same builders with the same arguments: trained with several seeds, say. They
            become part of the result, and get other names.

    Raises:
        InputError: for fewer than two, when their recipes differ, or when they give vectors or write texts.

    Source: Dietterich 2000, Ensemble methods in machine learning, section 1.
    """
    recipes = [read_recipe(model) for model in models]
    if len(models) < 2 or any(recipe != recipes[0] for recipe in recipes) or recipes[0]["encoder"] is None:
        raise InputError(
            "An ensemble needs two or more models with a head, all built alike: the same sizes and the same labels. "
            f"Received: {len(models)} models, {len({str(recipe) for recipe in recipes})} different recipes."
        )
    if recipes[0]["builder"] not in _AVERAGED:
        raise InputError(
            "The outputs of these models have no mean that says something: two models give a text vectors in different "
            f"directions, or write different texts. Received: {recipes[0]['builder']}."
        )
    for number, model in enumerate(models):
        model.name = f"member_{number}"
    inputs = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name) for name, tensor in models[0].input.items()
    }
    outputs = keras.ops.stack([model(inputs) for model in models])  # (N, B, ...)
    ensemble = TrainableModel(inputs, keras.ops.mean(outputs, axis=0), name="ensemble")
    remember(ensemble, recipes[0]["builder"], recipes[0]["arguments"], read_encoder(models[0]))
    read_recipe(ensemble)["members"] = len(models)
    return ensemble
