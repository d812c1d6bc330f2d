"""The head of extractive question answering: where in the context an answer begins and where it ends.

In: an encoder, rows `[CLS] question [SEP] context [SEP]` with segment 1 from the context on. Out: a functional model.
B rows, T tokens.
"""

import keras
from keras import ops

from tfllm import checks
from tfllm.checks import InputError
from tfllm.models.encoder import kernel_initializer
from tfllm.models.recipe import read_recipe, remember
from tfllm.models.trainable import TrainableModel

IMPOSSIBLE = -1e9  # the logit of a token that can be neither end of an answer


def add_span_head(
    encoder: keras.Model,
    *,
    dropout: float = 0.1,
    max_answer_tokens: int = 30,
    stride: int | None = None,
    null_threshold: float | None = None,
) -> keras.Model:
    """Finds the answer to a question in a context.

    Args:
        encoder: the encoder to build on; it must know two segments.
        dropout: share of the token vectors dropped in training.
        max_answer_tokens: no answer is longer. This and the next two change no weight and no logit: they say how
            answers are read off the logits, and go with the saved model.
        stride: how many tokens apart the windows of a long context begin; None = `default_stride` of the length.
        null_threshold: None = there is always an answer. A number: there is none where the log-probability of "no
            answer" exceeds that of the best answer by more. `set_null_threshold` changes it.

    Returns:
        Functional model. Inputs: the encoder's. Output: logits float32 (B, 2, T), of the first and of the last token of
        the answer. The first token of a row, [CLS], stands for "no answer here"; all other tokens outside the context
        have the logit -1e9.

    Raises:
        InputError: for a bad argument.

    Source: Devlin et al. 2019, arXiv:1810.04805, sections 4.2 and 4.3.
    """
    checks.check_dropout(dropout)
    checks.check_at_least("max_answer_tokens", max_answer_tokens, 1)
    if stride is not None:
        checks.check_at_least("stride", stride, 1)
    x = keras.layers.Dropout(dropout, name="span_dropout")(encoder.output["sequence_output"])
    x = keras.layers.Dense(2, kernel_initializer=kernel_initializer(), dtype="float32", name="logits")(x)  # (B, T, 2)
    x = SpanLogits(dtype="float32", name="span_logits")(x, encoder.input["segment_ids"], encoder.input["padding_mask"])
    model = TrainableModel(encoder.input, x, name="question_answering")
    arguments = {
        "dropout": dropout,
        "max_answer_tokens": max_answer_tokens,
        "stride": stride,
        "null_threshold": null_threshold,
    }
    return remember(model, "add_span_head", arguments, encoder)


def set_null_threshold(model: keras.Model, null_threshold: float | None) -> None:
    """Change the `null_threshold` of a model from `add_span_head`, in the recipe it is saved with."""
    recipe = read_recipe(model)
    if recipe["builder"] != "add_span_head":
        raise InputError(f"Only a model from `add_span_head` has a null threshold. Received: {recipe['builder']}.")
    recipe["arguments"]["null_threshold"] = null_threshold


@keras.saving.register_keras_serializable("tfllm")
class SpanLogits(keras.layers.Layer):
    """Leaves the logits of the context and of [CLS] as they are; all others become -1e9.

    The context is segment 1 without padding and without its last token, which is [SEP].

    Call: (logits float (B, T, 2), segment_ids int32 (B, T), padding_mask int32 (B, T)) -> float (B, 2, T).
    Example: segments 0 0 0 1 1 1 0, padding mask 1 1 1 1 1 1 0 -> only tokens 0, 3 and 4 keep their logits.
    """

    def call(self, logits, segment_ids, padding_mask):
        second = ops.cast(ops.logical_and(ops.equal(segment_ids, 1), ops.greater(padding_mask, 0)), "int32")
        following = ops.pad(second[:, 1:], ((0, 0), (0, 1)))
        allowed = ops.concatenate([ops.ones_like(second[:, :1]), (second * following)[:, 1:]], axis=1)  # (B, T)
        return ops.where(ops.equal(allowed[:, None, :], 1), ops.transpose(logits, (0, 2, 1)), IMPOSSIBLE)

    def compute_output_spec(self, logits, segment_ids, padding_mask):
        batch, tokens, ends = logits.shape
        return keras.KerasTensor((batch, ends, tokens), dtype="float32")
