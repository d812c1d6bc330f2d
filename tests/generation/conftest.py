"""A tiny model that writes, with large random weights, so that other prompts give other texts."""

import numpy as np
import pytest

from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, build_decoder
from tfllm.tokenizers import WordPieceTokenizer

SIZE = {
    "num_layers": 2,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 32,
    "intermediate_dim": 48,
    "max_sequence_length": 32,
}


@pytest.fixture(scope="session")
def letters():
    """A tokenizer of six words; the ids are 5 to 10."""
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e", "f"])


def write_weights(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.5, weight.shape))
    return model


@pytest.fixture(scope="session")
def writing_model(letters):
    return write_weights(add_causal_lm_head(build_decoder(letters.vocabulary_size, **SIZE)))


@pytest.fixture(scope="session")
def generator(writing_model, letters):
    return TextGenerator(writing_model, letters)


@pytest.fixture(scope="session")
def probabilities(writing_model):
    """Token ids without padding -> log-probabilities of the token after each of them, by the full pass."""

    def of(ids):
        ids = np.array([ids], "int32")
        logits = writing_model.predict({"token_ids": ids, "padding_mask": np.ones_like(ids)}, verbose=0)[0]
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    return of
