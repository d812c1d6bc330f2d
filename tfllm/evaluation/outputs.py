"""What a model gives for each of many texts, in their order."""

from collections.abc import Sequence

import keras
import numpy as np

from tfllm.checks import InputError
from tfllm.data.classification import text_dataset
from tfllm.tokenizers import Tokenizer


def predict_outputs(
    model: keras.Model,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    sequence_length: int = 128,
    batch_size: int = 32,
) -> np.ndarray:
    """The model's output for each text (or pair), float64 (N, ...).

    Texts of similar length are computed together, so that little padding is.

    Raises:
        InputError: if there is no text, or an output is not a number.
    """
    if not len(texts):
        raise InputError("There is no text to score the model on.")
    lengths = [sum(map(len, parts)) for parts in zip(texts, pairs or texts, strict=True)]
    by_length = np.argsort(lengths, kind="stable")
    dataset = text_dataset(
        [texts[index] for index in by_length],
        tokenizer,
        pairs=None if pairs is None else [pairs[index] for index in by_length],
        sequence_length=sequence_length,
        batch_size=batch_size,
    )
    outputs = model.predict(dataset, verbose=0)[np.argsort(by_length)].astype(np.float64)
    if not np.isfinite(outputs).all():
        raise InputError("The model's outputs are not all numbers (NaN or infinity): its training has diverged.")
    return outputs
