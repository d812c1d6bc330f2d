"""`add_causal_lm_head`: the next token of every text.

B batch, T tokens, D hidden_dim, V vocabulary.
"""

import keras

from tfllm.models.recipe import remember
from tfllm.models.trainable import TrainableModel


def add_causal_lm_head(decoder: keras.Model) -> keras.Model:
    """A language model that predicts at every token the one after it.

    The matrix is that of the decoder's token embedding, or its own where the decoder was built so.

    Args:
        decoder: from `build_decoder`.

    Returns:
        Functional model. Inputs: the decoder's. Output: logits float32 (B, T, V).
    """
    logits = decoder.get_layer("token_embedding")(decoder.output, reverse=True)
    model = TrainableModel(decoder.input, logits, name="causal_lm")
    return remember(model, "add_causal_lm_head", {}, decoder)
