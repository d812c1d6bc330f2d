"""Heads: functions from an encoder to a functional model that `fit`s, with logits as output.

The encoder is one from `build_encoder`, or any KerasHub backbone with the same inputs and a layer `token_embedding`.
Head and encoder share their weights: training the one trains the other.
Shapes: B batch, T tokens, D hidden_dim, M masked positions, V vocabulary, C labels.
"""

from collections.abc import Sequence

import keras

from tfllm import checks
from tfllm.models.encoder import gelu, kernel_initializer, layer_norm
from tfllm.models.layers import GatherPositions, MeanOfTokens, TextVectors, VocabularyBias
from tfllm.models.recipe import read_encoder, read_recipe, remember
from tfllm.models.trainable import TrainableModel

POOLINGS = ("cls", "mean")


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
    encoder: keras.Model, labels: Sequence[str], *, dropout: float = 0.1, pooling: str = "mean"
) -> keras.Model:
    """A text classifier.

    Args:
        encoder: the encoder to build on.
        labels: C distinct names; their order is the order of the logits.
        dropout: share of the pooled vector dropped in training.
        pooling: what stands for the text: "mean" of its tokens, or "cls", the encoder's pooled first token.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, C).

    Raises:
        InputError: for fewer than two labels, repeated or empty ones, or an unknown pooling.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 4.1, for "cls"; Reimers and Gurevych 2019,
    arXiv:1908.10084, section 3, for "mean".
    """
    labels = list(labels)
    checks.check_labels(labels)
    checks.check_between("dropout", dropout, 0, 1)
    checks.check_one_of("pooling", pooling, POOLINGS)
    if pooling == "mean":
        x = MeanOfTokens(name="pooling")(encoder.output["sequence_output"], encoder.input["padding_mask"])
    else:
        x = encoder.output["pooled_output"]
    x = keras.layers.Dropout(dropout, name="classifier_dropout")(x)
    logits = _dense_float32(len(labels), "logits")(x)
    model = TrainableModel(encoder.input, logits, name="classifier")
    return remember(model, "add_classifier_head", {"labels": labels, "dropout": dropout, "pooling": pooling}, encoder)


def packed_classifier(classifier: keras.Model, texts_per_row: int) -> keras.Model:
    """The same classifier, with the same weights, for rows that hold several texts each: to train it on packed rows.

    Args:
        classifier: from `add_classifier_head` on an encoder from `build_encoder`; a KerasHub backbone would let the
            texts of a row see each other.
        texts_per_row: S, as `PackedBatches.texts_per_row` says.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, S, C).
    """
    encoder, arguments = read_encoder(classifier), read_recipe(classifier)["arguments"]
    hidden, padding_mask = encoder.output["sequence_output"], encoder.input["padding_mask"]
    x = TextVectors(texts_per_row, arguments["pooling"], name="packed_pooling")(hidden, padding_mask)  # (B, S, D)
    if arguments["pooling"] == "cls":
        x = encoder.get_layer("pooled_dense")(x)
    logits = classifier.get_layer("logits")(classifier.get_layer("classifier_dropout")(x))
    return TrainableModel(encoder.input, logits, name="packed_classifier")


def _mask_positions() -> keras.KerasTensor:
    return keras.Input((None,), dtype="int32", name="mask_positions")


def _masked_lm_logits(encoder: keras.Model, positions: keras.KerasTensor) -> keras.KerasTensor:
    hidden = encoder.output["sequence_output"]
    x = GatherPositions(name="masked_lm_gather")(hidden, positions)  # (B, M, D)
    x = keras.layers.Dense(
        hidden.shape[-1], activation=gelu, kernel_initializer=kernel_initializer(), name="masked_lm_dense"
    )(x)
    x = layer_norm("masked_lm_layer_norm")(x)
    x = encoder.get_layer("token_embedding")(x, reverse=True)  # (B, M, V)
    return VocabularyBias(name="masked_lm_bias")(x)


def _next_sentence_logits(encoder: keras.Model) -> keras.KerasTensor:
    return _dense_float32(2, "next_sentence_logits")(encoder.output["pooled_output"])


def _dense_float32(units: int, name: str) -> keras.layers.Layer:
    return keras.layers.Dense(units, kernel_initializer=kernel_initializer(), dtype="float32", name=name)
