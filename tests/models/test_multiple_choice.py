"""The choice head: one logit for each choice, alone or packed; that it learns and is saved."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.outputs import outputs_of
from tfllm.data.multiple_choice import Choices, multiple_choice_batches
from tfllm.losses import ChoiceLoss
from tfllm.models import add_choice_head, load_model, packed_classifier, save_model
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.training.optimizer import AdamW


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])


@pytest.fixture
def batches(tokenizer):
    rows = Choices(["a b", "c", "a"], [["d", "e f"], ["g", "h", "a"], ["d", "h"]], [1, 0, 0], ["1", "2", "3"])
    return multiple_choice_batches(rows, tokenizer, sequence_length=8, batch_size=3)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_choices_of_a_row_get_the_logits_they_get_alone(make_encoder, batches, pooling):
    model = add_choice_head(make_encoder(dropout=0.0), pooling=pooling)
    inputs, values, _ = next(iter(batches()))
    packed = outputs_of(packed_classifier(model, batches.texts_per_row), inputs)
    assert packed.shape == (3, 3, 1)
    for row in range(3):
        for number in range(int((values[row] >= 0).numpy().sum())):
            mine = inputs["padding_mask"][row] == number + 1
            alone = {name: part[row][mine][tf.newaxis] for name, part in inputs.items()}
            alone["padding_mask"] = tf.ones_like(alone["padding_mask"])
            assert float(model(alone)[0, 0]) == pytest.approx(float(packed[row, number, 0]), abs=1e-5)


def test_questions_are_learnt_by_heart(make_encoder, batches):
    model = add_choice_head(make_encoder(dropout=0.0), dropout=0.0)
    packed = packed_classifier(model, batches.texts_per_row)
    packed.compile(AdamW(5e-3), loss=ChoiceLoss(reduction="mean_with_sample_weight"))
    packed.fit(batches(), steps_per_epoch=60, shuffle=False, verbose=0)
    inputs, values, _ = next(iter(batches()))
    logits = outputs_of(packed, inputs)[..., 0]
    assert np.where(values >= 0, logits, -np.inf).argmax(-1).tolist() == values.numpy().argmax(-1).tolist()


def test_the_model_is_saved_and_loaded(make_encoder, tiny_tokenizer, make_batch, tmp_path):
    model = add_choice_head(make_encoder(), dropout=0.3, pooling="cls")
    save_model(model, tmp_path / "model", tiny_tokenizer)
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(outputs_of(again, make_batch()), outputs_of(model, make_batch()))
    assert outputs_of(model, make_batch()).shape == (4, 1)
