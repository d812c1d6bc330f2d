"""`add_seq2seq_head`: the next token of every target, after its source.

B batch, T tokens of the target, D hidden_dim, V vocabulary.
"""

from collections.abc import Sequence

import keras

from tfllm import checks
from tfllm.models.causal import check_generation
from tfllm.models.recipe import remember
from tfllm.models.trainable import TrainableModel

STARTS = ("cls", "sep", "pad")


def add_seq2seq_head(
    encoder_decoder: keras.Model, *, generation: dict | None = None, start: str | Sequence[str] = "cls"
) -> keras.Model:
    """A model that predicts at every token of a target the one after it: for translations, summaries, answers.

    Args:
        encoder_decoder: from `build_encoder_decoder`.
        generation: settings to write with where nobody says otherwise; see `add_causal_lm_head`.
        start: the special token a target begins with, by its name in the tokenizer: "cls", "sep" or "pad"; or several,
            as BART's ["sep", "cls"].

    Returns:
        Functional model. Inputs: those of the model below. Output: logits float32 (B, T, V).

    Raises:
        InputError: for settings that mean nothing.
    """
    start = start if isinstance(start, str) else list(start)
    for name in [start] if isinstance(start, str) else start or [""]:
        checks.check_one_of("start", name, STARTS)
    arguments = {"generation": check_generation(generation or {}), "start": start}
    logits = encoder_decoder.get_layer("token_embedding")(encoder_decoder.output, reverse=True)
    model = TrainableModel(encoder_decoder.input, logits, name="seq2seq")
    return remember(model, "add_seq2seq_head", arguments, encoder_decoder)
