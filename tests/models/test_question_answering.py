"""The span head: which tokens can be an answer, what an untrained model loses, that it learns and is saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.losses import SpanLoss
from tfllm.models import add_classifier_head, add_span_head, load_model, read_recipe, save_model, set_null_threshold
from tfllm.models.question_answering import SpanLogits
from tfllm.training.optimizer import AdamW

# Two rows: [CLS] q [SEP] c c c [SEP], and one with a shorter context and padding.
SEGMENTS = np.array([[0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 1, 0, 0, 0]], "int32")
MASK = np.array([[1, 1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0, 0]], "int32")
BATCH = {
    "token_ids": np.array([[2, 7, 3, 20, 21, 22, 3, 0], [2, 8, 3, 30, 3, 0, 0, 0]], "int32"),
    "segment_ids": SEGMENTS,
    "padding_mask": MASK,
}
ALLOWED = np.array([[1, 0, 0, 1, 1, 1, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0]], bool)
TARGETS = np.array([[4, 5], [0, 0]], "int32")


def compiled(model):
    model.compile(AdamW(5e-3), loss=SpanLoss())
    return model


def test_only_the_context_and_cls_can_be_ends_of_an_answer(make_encoder):
    logits = add_span_head(make_encoder()).predict(BATCH, verbose=0)
    assert logits.shape == (2, 2, 8)
    assert logits.dtype == "float32"
    np.testing.assert_array_equal(logits > -1e8, np.repeat(ALLOWED[:, None], 2, axis=1))
    np.testing.assert_array_equal(logits[~np.repeat(ALLOWED[:, None], 2, axis=1)], np.float32(-1e9))


def test_the_layer_passes_the_logits_of_both_ends_on(make_encoder):
    logits = np.arange(32, dtype="float32").reshape(2, 8, 2)
    found = keras.ops.convert_to_numpy(SpanLogits()(logits, SEGMENTS, MASK))
    np.testing.assert_array_equal(found[0, 0, [0, 3, 4, 5]], [0, 6, 8, 10])
    np.testing.assert_array_equal(found[0, 1, [0, 3, 4, 5]], [1, 7, 9, 11])


def test_an_empty_context_leaves_only_no_answer(make_encoder):
    batch = {
        "token_ids": np.array([[2, 7, 3, 3]], "int32"),
        "segment_ids": np.array([[0, 0, 0, 1]], "int32"),
        "padding_mask": np.ones((1, 4), "int32"),
    }
    assert (add_span_head(make_encoder()).predict(batch, verbose=0) > -1e8).tolist() == [
        [[True, False, False, False]] * 2
    ]


def test_an_untrained_model_loses_what_chance_loses_among_the_tokens_allowed(make_encoder):
    loss = compiled(add_span_head(make_encoder())).evaluate(BATCH, TARGETS, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx((np.log(4) + np.log(2)) / 2, rel=0.05)


def test_one_batch_is_learnt_by_heart(make_encoder):
    model = compiled(add_span_head(make_encoder(dropout=0.0), dropout=0.0))
    model.fit(tf.data.Dataset.from_tensors((BATCH, TARGETS)).repeat(80), shuffle=False, verbose=0)
    assert model.predict(BATCH, verbose=0).argmax(-1).tolist() == TARGETS.tolist()


def test_padding_changes_no_logits(make_encoder):
    model = add_span_head(make_encoder())
    wide = {name: np.pad(value, [(0, 0), (0, 5)]) for name, value in BATCH.items()}
    np.testing.assert_allclose(model.predict(wide, verbose=0)[..., :8], model.predict(BATCH, verbose=0), atol=1e-5)


def test_mixed_bfloat16_gives_float32_logits_close_to_those_of_float32(make_encoder):
    exact = add_span_head(make_encoder())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        fast = add_span_head(make_encoder())
    finally:
        keras.config.set_dtype_policy("float32")
    fast.set_weights(exact.get_weights())
    expected, found = exact.predict(BATCH, verbose=0), fast.predict(BATCH, verbose=0)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_keras_hubs_bert_takes_the_head(make_backbone):
    assert add_span_head(make_backbone()).predict(BATCH, verbose=0).shape == (2, 2, 8)


def test_keras_alone_saves_and_loads_the_model(make_encoder, tmp_path):
    model = add_span_head(make_encoder())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again.predict(BATCH, verbose=0), model.predict(BATCH, verbose=0))


def test_the_null_threshold_goes_with_the_saved_model(make_encoder, tiny_tokenizer, tmp_path):
    model = add_span_head(make_encoder(), max_answer_tokens=7, stride=5, null_threshold=0.0)
    set_null_threshold(model, -1.25)
    save_model(model, tmp_path / "model", tiny_tokenizer)
    again = load_model(tmp_path / "model")
    assert read_recipe(again)["arguments"] == {
        "dropout": 0.1,
        "max_answer_tokens": 7,
        "stride": 5,
        "null_threshold": -1.25,
    }
    np.testing.assert_array_equal(again.predict(BATCH, verbose=0), model.predict(BATCH, verbose=0))


def test_another_model_has_no_null_threshold(make_encoder):
    with pytest.raises(InputError, match="Only a model from `add_span_head`"):
        set_null_threshold(add_classifier_head(make_encoder(), ["a", "b"]), 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 1.5}, "`dropout` must be between 0 and 1"),
        ({"max_answer_tokens": 0}, "`max_answer_tokens` must be at least 1"),
        ({"stride": 0}, "`stride` must be at least 1"),
    ],
)
def test_bad_arguments_are_input_errors(make_encoder, arguments, message):
    with pytest.raises(InputError, match=message):
        add_span_head(make_encoder(), **arguments)
