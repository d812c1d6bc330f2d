"""A trained model as a directory: manifest with its recipe, weights, tokenizer, model card.

In: a model made by a tfllm builder, and its tokenizer. Out: the same model again, bit for bit.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.models import causal, decoder, encoder_decoder, heads, question_answering, seq2seq, tagging
from tfllm.models import encoder as encoder_builders
from tfllm.models.ensemble import average_models
from tfllm.models.recipe import read_recipe

KIND = "model"
WEIGHTS = "model.weights.h5"

_BUILDERS = {
    builder.__name__: builder
    for builder in (
        encoder_builders.build_encoder,
        decoder.build_decoder,
        encoder_decoder.build_encoder_decoder,
        causal.add_causal_lm_head,
        seq2seq.add_seq2seq_head,
        heads.add_masked_lm_head,
        heads.add_next_sentence_head,
        heads.add_pretraining_heads,
        heads.add_classifier_head,
        heads.add_choice_head,
        question_answering.add_span_head,
        tagging.add_tagger_head,
        heads.add_multilabel_head,
        heads.add_regression_head,
        heads.add_embedding_head,
    )
}


def save_model(
    model: keras.Model,
    directory: str | Path,
    tokenizer,
    *,
    run: dict | None = None,
    card: str = "",
    inputs: Iterable[str | Path] | Mapping[str, str] = (),
    seed: int | None = None,
    finish_run: bool = False,
) -> None:
    """Write a model directory, whole or not at all.

    Args:
        model: what a tfllm builder returned.
        directory: where; it must not exist yet.
        tokenizer: the `Tokenizer` the model was trained with; it is saved inside.
        run: JSON values that tell how the model came about (arguments, scores); kept in the manifest.
        card: Markdown of the model card, README.md.
        inputs: the data files it was trained on, see `manifest.hash_files`; the manifest records their hashes.
        seed: the seed it was trained with.
        finish_run: `directory` may be that of the unfinished training that made the model.

    Raises:
        InputError: when the directory exists, or the model was not made by a tfllm builder.
    """
    arguments = {"recipe": read_recipe(model), "run": run or {}}
    with manifest.write_directory(
        directory, KIND, arguments, inputs=inputs, seed=seed, finish_run=finish_run
    ) as beside:
        model.save_weights(beside / WEIGHTS)
        tokenizer.save(beside / "tokenizer")
        (beside / manifest.CARD).write_text(card or f"# {Path(directory).name}\n", "utf-8")


def load_model(directory: str | Path) -> keras.Model:
    """Rebuild a saved model by its recipe, under the current Keras dtype policy, and load its weights.

    Raises:
        InputError: when the directory is not a finished model, a file's hash differs, or a builder is unknown.
    """
    return _load(directory)[0]


def load_encoder(directory: str | Path, *, dropout: float | None = None) -> keras.Model:
    """The encoder of a saved model, without its head; `dropout` replaces the one it was built with."""
    model, encoder = _load(directory, dropout)
    return encoder or model


def _load(directory: str | Path, dropout: float | None = None) -> tuple[keras.Model, keras.Model | None]:
    directory = Path(directory)
    found = manifest.read_manifest(directory, KIND)
    manifest.check_files(directory, found)
    model, encoder = rebuild(found["arguments"]["recipe"], dropout)
    model.load_weights(directory / WEIGHTS)
    return model, encoder


def rebuild(recipe: dict, dropout: float | None = None) -> tuple[keras.Model, keras.Model | None]:
    """A model with new weights, made by its recipe, and the encoder under its head if it has one."""
    if recipe.get("members"):
        one = {name: value for name, value in recipe.items() if name != "members"}
        built = [rebuild(one, dropout) for _ in range(recipe["members"])]
        return average_models([model for model, _ in built]), built[0][1]
    if recipe["builder"] == "keras":
        configuration = recipe["arguments"]
        if dropout is not None:
            configuration = {**configuration, "config": {**configuration["config"], "dropout": dropout}}
        return keras.saving.deserialize_keras_object(configuration, safe_mode=True), None
    if recipe["builder"] not in _BUILDERS:
        raise InputError(f"This tfllm has no builder {recipe['builder']!r}; the model was saved by another version.")
    builder, arguments = _BUILDERS[recipe["builder"]], recipe["arguments"]
    if recipe["encoder"] is None:
        return builder(**(arguments if dropout is None else {**arguments, "dropout": dropout})), None
    encoder, _ = rebuild(recipe["encoder"], dropout)
    return builder(encoder, **arguments), encoder
