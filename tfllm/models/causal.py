"""`add_causal_lm_head`: the next token of every text.

B batch, T tokens, D hidden_dim, V vocabulary.
"""

import keras

from tfllm.checks import InputError
from tfllm.models.recipe import read_recipe, remember
from tfllm.models.trainable import TrainableModel
from tfllm.writing import RowSettings, read_settings


def add_causal_lm_head(decoder: keras.Model, *, generation: dict | None = None, fills: bool = False) -> keras.Model:
    """A language model that predicts at every token the one after it.

    The matrix is that of the decoder's token embedding, or its own where the decoder was built so.

    Args:
        decoder: from `build_decoder`.
        generation: settings to write with where nobody says otherwise, by the names of `tfllm.writing`. They change no
            weight and no logit; `set_generation` changes them.
        fills: it is trained to write what stands between two texts, see `data.causal.fill_in_middle`.

    Returns:
        Functional model. Inputs: the decoder's. Output: logits float32 (B, T, V).

    Raises:
        InputError: for settings that mean nothing.
    """
    generation = check_generation(generation or {})
    logits = decoder.get_layer("token_embedding")(decoder.output, reverse=True)
    model = TrainableModel(decoder.input, logits, name="causal_lm")
    return remember(model, "add_causal_lm_head", {"generation": generation, "fills": fills}, decoder)


def set_generation(model: keras.Model, **settings) -> None:
    """Change settings to write with, by the names of `tfllm.writing`, in the recipe a model is saved with."""
    recipe = read_recipe(model)
    if "generation" not in recipe["arguments"]:
        raise InputError(f"Only a model that writes has settings to write with. Received: {recipe['builder']}.")
    recipe["arguments"]["generation"] = check_generation({**recipe["arguments"]["generation"], **settings})


def check_generation(settings: dict) -> dict:
    """Settings to write with as a recipe keeps them; InputError for those that mean nothing."""
    rows, rules = read_settings(settings)
    for name in RowSettings._fields:
        if isinstance(getattr(rows, name), list | tuple):
            raise InputError(f"`{name}` must be one value for all texts. Received: {getattr(rows, name)!r}.")
    values = {**rows._asdict(), **rules._asdict(), "stop": list(rules.stop)}
    return {name: values[name] for name in settings}
