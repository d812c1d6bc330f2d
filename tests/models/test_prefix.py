"""A decoder with a prefix: what its tokens see, and that it writes what the full pass says."""

import numpy as np
import pytest

from tests.models.outputs import outputs_of
from tfllm.generation import TextGenerator
from tfllm.models import add_causal_lm_head, build_decoder
from tfllm.tokenizers import WordPieceTokenizer

SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 24, "max_sequence_length": 24}
IDS = np.array([[2, 5, 6, 7, 8, 9, 10, 5]], "int32")
PREFIX = np.array([[1, 1, 1, 1, 0, 0, 0, 0]], "int32")


@pytest.fixture(scope="module")
def model(randomize):
    return randomize(add_causal_lm_head(build_decoder(11, **SIZE, prefix=True)))


def predict(model, ids, prefix, mask=None):
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids) if mask is None else mask, "prefix_mask": prefix}
    return outputs_of(model, inputs)[0]


def test_the_prefix_is_seen_in_both_directions_the_rest_from_its_left(model):
    before = predict(model, IDS, PREFIX)
    for place in (3, 6):
        changed = predict(model, IDS + (np.arange(8) == place).astype("int32") * (-1), PREFIX)
        moved = np.abs(changed - before).max(axis=-1) > 1e-5
        assert moved.tolist() == ([True] * 8 if place == 3 else [False] * 6 + [True] * 2)


def test_without_a_prefix_it_is_a_decoder_like_any_other(model):
    plain = add_causal_lm_head(build_decoder(11, **SIZE))
    plain.set_weights(model.get_weights())
    expected = plain.predict({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}, verbose=0)[0]
    np.testing.assert_allclose(predict(model, IDS, np.zeros_like(IDS)), expected, atol=1e-5)


def test_packed_texts_do_not_see_each_others_prefix(model):
    mask = np.array([[1, 1, 1, 1, 2, 2, 2, 2]], "int32")
    prefix = np.array([[1, 1, 0, 0, 1, 1, 1, 0]], "int32")
    together = predict(model, IDS, prefix, mask)
    for part in (slice(0, 4), slice(4, 8)):
        np.testing.assert_allclose(together[part], predict(model, IDS[:, part], prefix[:, part]), rtol=1e-5, atol=1e-5)


def test_what_is_written_is_what_full_passes_say_with_the_prompt_as_prefix(model):
    letters = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"])
    rows = TextGenerator(model, letters).generate(["a b c", "f"], max_new_tokens=5, min_new_tokens=5)
    for row in rows:
        ids = [2, *letters.tokenize(row["prompt"]).to_list()[0]]
        prompt = len(ids)
        for _ in range(5):
            prefix = (np.arange(len(ids)) < prompt).astype("int32")[None]
            last = predict(model, np.array([ids], "int32"), prefix)[-1]
            ids.append(max(range(5, 11), key=lambda token: last[token]))
        assert row["text"].strip() == letters.detokenize([ids[prompt:]]).numpy()[0].decode()
