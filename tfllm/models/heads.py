"""Heads: functions from an encoder to a functional model that `fit`s, with logits as output.

The encoder is one from `build_encoder`, or any KerasHub backbone with the same inputs and a layer `token_embedding`.
Head and encoder share their weights: training the one trains the other.
Shapes: B batch, T tokens, D hidden_dim, M masked positions, V vocabulary, C labels.
"""

import math
from collections.abc import Sequence

import keras

from tfllm import checks
from tfllm.checks import InputError
from tfllm.models.encoder import ACTIVATIONS, LAYER_NORM_EPSILON, dense, kernel_initializer, layer_norm
from tfllm.models.layers import (
    ComparedTexts,
    GatherPositions,
    MeanOfTokens,
    ScaledScore,
    SecondTexts,
    TextVectors,
    UnitLength,
    VocabularyBias,
)
from tfllm.models.recipe import encoder_arguments, read_encoder, read_recipe, remember
from tfllm.models.trainable import TrainableModel

POOLINGS = ("cls", "mean")
PAIR_POOLINGS = (*POOLINGS, "compare")
_AFTER_POOLING = ("classifier_dropout", "logits", "score", "embedding")  # layers of the heads that pool a text


def add_masked_lm_head(encoder: keras.Model) -> keras.Model:
    """A masked language model: predicts the original token at `mask_positions`.

    Only the masked positions are projected to the vocabulary, with the token embedding as matrix.

    Inputs: the encoder's, and `mask_positions` int32 (B, M). Output: logits float32 (B, M, V).
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1.
    """
    positions = _mask_positions()
    logits = _masked_lm_logits(encoder, positions)
    model = TrainableModel({**encoder.input, "mask_positions": positions}, logits, name="masked_lm")
    return remember(model, "add_masked_lm_head", {}, encoder)


def add_next_sentence_head(encoder: keras.Model) -> keras.Model:
    """Decides whether segment B really follows segment A.

    Inputs: the encoder's. Output: logits float32 (B, 2); label 1 says that B follows A.
    Source: Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 2. Differs: 1 means "follows" (there it is 0).
    """
    model = TrainableModel(encoder.input, _next_sentence_logits(encoder), name="next_sentence")
    return remember(model, "add_next_sentence_head", {}, encoder)


def add_pretraining_heads(encoder: keras.Model) -> keras.Model:
    """Both of BERT's pretraining tasks at once.

    Inputs: the encoder's, and `mask_positions` int32 (B, M).
    Outputs: dict: `masked_lm` float32 (B, M, V), `next_sentence` float32 (B, 2).
    """
    positions = _mask_positions()
    outputs = {"masked_lm": _masked_lm_logits(encoder, positions), "next_sentence": _next_sentence_logits(encoder)}
    model = TrainableModel({**encoder.input, "mask_positions": positions}, outputs, name="pretraining")
    return remember(model, "add_pretraining_heads", {}, encoder)


def add_classifier_head(
    encoder: keras.Model,
    labels: Sequence[str],
    *,
    dropout: float = 0.1,
    pooling: str = "mean",
    pairs: bool = False,
    separator_id: int | None = None,
) -> keras.Model:
    """A classifier of texts, or of pairs of texts.

    Args:
        encoder: the encoder to build on.
        labels: C distinct names; their order is the order of the logits.
        dropout: share of the pooled vector dropped in training.
        pooling: what stands for the text: "mean" of its tokens, or "cls", the encoder's pooled first token. For pairs
            also "compare": the means u and v of the two texts, |u - v| and u * v. Small encoders learn far more from
            it (docs/experiments.md); the texts still read each other.
        pairs: an example is two texts; the SavedModel then takes both.
        separator_id: for "compare" with a tokenizer that puts both texts into one segment, with two [SEP] between them
            (`pair_separators` 2, as RoBERTa): the id of [SEP], which then tells them apart.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, C).

    Raises:
        InputError: for fewer than two labels, repeated or empty ones, or an unknown pooling.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1, for "cls"; Reimers and Gurevych 2019,
    arXiv:1908.10084, section 3, for "mean"; Conneau et al. 2017, arXiv:1705.02364, section 3.1, for "compare".
    """
    labels = list(labels)
    checks.check_labels(labels)
    x = _pooled_logits(encoder, len(labels), dropout, pooling, pairs, separator_id)
    model = TrainableModel(encoder.input, x, name="classifier")
    arguments = {"labels": labels, "dropout": dropout, "pooling": pooling, "pairs": pairs}
    return remember(model, "add_classifier_head", _with_separator(arguments, separator_id), encoder)


def add_multilabel_head(
    encoder: keras.Model,
    labels: Sequence[str],
    *,
    thresholds: Sequence[float] | None = None,
    dropout: float = 0.1,
    pooling: str = "mean",
    pairs: bool = False,
    separator_id: int | None = None,
) -> keras.Model:
    """Decides of every label by itself whether a text has it: none, one or several.

    Args:
        encoder, dropout, pooling, pairs, separator_id: as for `add_classifier_head`.
        labels: C distinct names, at least one; their order is the order of the logits.
        thresholds: C probabilities, above 0 and below 1; a text has a label when the label's probability reaches its
            threshold. Default: 0.5 for all. They change no weight and no logit; `set_thresholds` changes them.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, C), the sigmoid of which are probabilities.

    Raises:
        InputError: for repeated or empty labels, thresholds that do not fit them, or an unknown pooling.
    """
    labels = list(labels)
    checks.check_labels(labels, least=1)
    thresholds = _checked_thresholds([0.5] * len(labels) if thresholds is None else thresholds, labels)
    x = _pooled_logits(encoder, len(labels), dropout, pooling, pairs, separator_id)
    model = TrainableModel(encoder.input, x, name="multilabel")
    arguments = {"labels": labels, "thresholds": thresholds, "dropout": dropout, "pooling": pooling, "pairs": pairs}
    return remember(model, "add_multilabel_head", _with_separator(arguments, separator_id), encoder)


def set_thresholds(model: keras.Model, thresholds: Sequence[float]) -> None:
    """Change the `thresholds` of a model from `add_multilabel_head`, in the recipe it is saved with."""
    recipe = read_recipe(model)
    if recipe["builder"] != "add_multilabel_head":
        raise InputError(f"Only a model from `add_multilabel_head` has thresholds. Received: {recipe['builder']}.")
    recipe["arguments"]["thresholds"] = _checked_thresholds(thresholds, recipe["arguments"]["labels"])


def set_pairs(model: keras.Model) -> None:
    """Have a model that gives a text labels or a score asked for two texts from now on, as it was trained elsewhere.

    It changes no weight: only what the model's signatures ask for, in the recipe it is saved with.
    """
    recipe = read_recipe(model)
    if "pairs" not in recipe["arguments"]:
        raise InputError(
            "Only a classifier, also of several labels, and a regression can be asked for two texts. "
            f"Received: {recipe['builder']}."
        )
    recipe["arguments"]["pairs"] = True


def add_regression_head(
    encoder: keras.Model,
    *,
    output_range: Sequence[float] | None = None,
    mean: float = 0.0,
    deviation: float = 1.0,
    dropout: float = 0.1,
    pooling: str = "mean",
    pairs: bool = False,
    separator_id: int | None = None,
) -> keras.Model:
    """Gives a text, or a pair of texts, a score.

    Args:
        encoder, dropout, pooling, pairs, separator_id: as for `add_classifier_head`.
        output_range: lowest and highest score there can be: a sigmoid between the two. None: any number.
        mean, deviation: of the scores in the training data, where there is no range: the last layer then learns
            numbers around 0 whatever the unit of the scores.

    Returns:
        Functional model. Inputs: the encoder's. Output: scores float32 (B, 1), in the unit of the training data.

    Raises:
        InputError: for a range without extent, a deviation that is not above 0, or an unknown pooling.
    """
    if output_range is not None:
        output_range = [float(end) for end in output_range]
        if len(output_range) != 2 or not all(map(math.isfinite, output_range)) or output_range[0] >= output_range[1]:
            raise InputError(f"`output_range` must be a lower and a higher number. Received: {output_range}.")
    elif not (math.isfinite(mean) and 0 < deviation < math.inf):
        raise InputError(
            "`mean` must be a number, and `deviation` one above 0: with equal scores there is nothing to learn. "
            f"Received: mean={mean}, deviation={deviation}."
        )
    x = _pooled_logits(encoder, 1, dropout, pooling, pairs, separator_id)
    x = ScaledScore(output_range, mean, deviation, dtype="float32", name="score")(x)
    model = TrainableModel(encoder.input, x, name="regression")
    arguments = {"output_range": output_range, "mean": mean, "deviation": deviation}
    arguments |= {"dropout": dropout, "pooling": pooling, "pairs": pairs}
    return remember(model, "add_regression_head", _with_separator(arguments, separator_id), encoder)


def add_choice_head(encoder: keras.Model, *, dropout: float = 0.1, pooling: str = "mean") -> keras.Model:
    """Says how well a choice answers a question; of several choices the one with the highest logit is the answer.

    The row of a pair is `[CLS] question [SEP] choice [SEP]`. It is trained as `packed_classifier(model, C)` on rows
    that hold all C choices of a question, which `multiple_choice_batches` makes, with `ChoiceLoss`.

    Args:
        encoder, dropout, pooling: as for `add_classifier_head`.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, 1).

    Source: Radford et al. 2018, Improving language understanding by generative pre-training, section 3.3; Devlin et
    al. 2019, arXiv:1810.04805, section 4.4.
    """
    x = _pooled_logits(encoder, 1, dropout, pooling, pairs=True)
    model = TrainableModel(encoder.input, x, name="multiple_choice")
    return remember(model, "add_choice_head", {"dropout": dropout, "pooling": pooling}, encoder)


def add_embedding_head(encoder: keras.Model, *, pooling: str = "mean", normalize: bool = True) -> keras.Model:
    """Gives a text a vector: texts that mean the same lie near each other, once it is trained on pairs.

    Args:
        encoder: the encoder to build on.
        pooling: "mean" of the text's tokens, or "cls", the first token as the last layer leaves it.
        normalize: make every vector 1 long, so that a dot product is the cosine.

    Returns:
        Functional model without weights of its own. Inputs: the encoder's. Output: embedding float32 (B, D).

    Source: Reimers and Gurevych 2019, arXiv:1908.10084, section 3.
    """
    checks.check_one_of("pooling", pooling, POOLINGS)
    hidden = encoder.output["sequence_output"]
    x = MeanOfTokens(name="pooling")(hidden, encoder.input["padding_mask"]) if pooling == "mean" else hidden[:, 0]
    layer = UnitLength if normalize else keras.layers.Identity
    model = TrainableModel(encoder.input, layer(dtype="float32", name="embedding")(x), name="embedding")
    return remember(model, "add_embedding_head", {"pooling": pooling, "normalize": normalize}, encoder)


def packed_classifier(model: keras.Model, texts_per_row: int) -> keras.Model:
    """The same model, with the same weights, for rows that hold several texts each: to train it on packed rows.

    Args:
        model: from a head that gives every text something, such as `add_classifier_head`, on an encoder from
            `build_encoder`; a KerasHub backbone would let the texts of a row see each other.
        texts_per_row: S, as `PackedBatches.texts_per_row` says.

    Returns:
        Functional model. Inputs: the encoder's. Output: as the model's, (B, S, C) where that is (B, C).
    """
    encoder, recipe = read_encoder(model), read_recipe(model)
    pooling = recipe["arguments"]["pooling"]
    hidden, padding_mask = encoder.output["sequence_output"], encoder.input["padding_mask"]
    if pooling == "compare":
        seconds = _second_texts(encoder, recipe["arguments"].get("separator_id"))
        x = ComparedTexts(texts_per_row, name="packed_pooling")(hidden, seconds, padding_mask)
    else:
        x = TextVectors(texts_per_row, pooling, name="packed_pooling")(hidden, padding_mask)  # (B, S, D)
    if pooling == "cls" and recipe["builder"] != "add_embedding_head":
        x = encoder.get_layer("pooled_dense")(x) if encoder_arguments(encoder).get("pooler_activation", "tanh") else x
    layers = {layer.name: layer for layer in model.layers}
    for name in _AFTER_POOLING:
        x = layers[name](x) if name in layers else x
    return TrainableModel(encoder.input, x, name=f"packed_{model.name}")


def _checked_thresholds(thresholds: Sequence[float], labels: list[str]) -> list[float]:
    thresholds = [float(threshold) for threshold in thresholds]
    if len(thresholds) != len(labels) or not all(0 < threshold < 1 for threshold in thresholds):
        raise InputError(
            "`thresholds` needs a probability above 0 and below 1 for each label. "
            f"Received: {len(labels)} labels, thresholds={thresholds}."
        )
    return thresholds


def _pooled_logits(
    encoder: keras.Model,
    units: int,
    dropout: float,
    pooling: str,
    pairs: bool = False,
    separator_id: int | None = None,
) -> keras.KerasTensor:
    """Logits float32 (B, units) of the text or pair; checks the arguments."""
    checks.check_dropout(dropout)
    if pooling == "compare" and not pairs:
        raise InputError("`pooling` 'compare' compares the two texts of a pair, and here is one text: take 'mean'.")
    checks.check_one_of("pooling", pooling, PAIR_POOLINGS if pairs else POOLINGS)
    hidden, padding_mask = encoder.output["sequence_output"], encoder.input["padding_mask"]
    if pooling == "mean":
        x = MeanOfTokens(name="pooling")(hidden, padding_mask)
    elif pooling == "compare":
        x = ComparedTexts(name="pooling")(hidden, _second_texts(encoder, separator_id), padding_mask)
    else:
        x = encoder.output["pooled_output"]
    x = keras.layers.Dropout(dropout, name="classifier_dropout")(x)
    return _dense_float32(units, "logits")(x)


def _with_separator(arguments: dict, separator_id: int | None) -> dict:
    """The arguments, with the id of [SEP] where it is one of them."""
    return arguments if separator_id is None else {**arguments, "separator_id": separator_id}


def _second_texts(encoder: keras.Model, separator_id: int | None) -> keras.KerasTensor:
    """int32 (B, T): 1 for the tokens of a pair's second text."""
    if separator_id is not None:
        return SecondTexts(separator_id, name="second_texts")(encoder.input["token_ids"])
    if encoder_arguments(encoder).get("num_segments", 2) < 2:
        raise InputError(
            "`pooling` 'compare' needs to know where the second text begins, and this encoder knows no segments: give "
            "the id of [SEP] as `separator_id`, or pool by 'mean' or 'cls'."
        )
    return encoder.input["segment_ids"]


def _mask_positions() -> keras.KerasTensor:
    return keras.Input((None,), dtype="int32", name="mask_positions")


def _masked_lm_logits(encoder: keras.Model, positions: keras.KerasTensor) -> keras.KerasTensor:
    embedding, arguments = encoder.get_layer("token_embedding"), encoder_arguments(encoder)
    activation = ACTIVATIONS[arguments.get("activation", "gelu_tanh")]
    x = GatherPositions(name="masked_lm_gather")(encoder.output["sequence_output"], positions)  # (B, M, D)
    x = dense(embedding.output_dim, "masked_lm_dense", activation)(x)
    x = layer_norm("masked_lm_layer_norm", arguments.get("layer_norm_epsilon", LAYER_NORM_EPSILON))(x)
    x = embedding(x, reverse=True)  # (B, M, V)
    return VocabularyBias(name="masked_lm_bias")(x)


def _next_sentence_logits(encoder: keras.Model) -> keras.KerasTensor:
    return _dense_float32(2, "next_sentence_logits")(encoder.output["pooled_output"])


def _dense_float32(units: int, name: str) -> keras.layers.Layer:
    return keras.layers.Dense(units, kernel_initializer=kernel_initializer(), dtype="float32", name=name)
