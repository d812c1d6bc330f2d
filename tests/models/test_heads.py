"""Heads: shapes, first losses, what they share with the encoder; that they learn and save, on KerasHub's BERT too."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.marks import slow
from tests.models.outputs import outputs_of
from tfllm.checks import InputError
from tfllm.losses import (
    ClassificationLoss,
    CosineLoss,
    CosineRankLoss,
    InBatchNegativesLoss,
    MultilabelLoss,
    RegressionLoss,
    masked_lm_loss,
    next_sentence_loss,
)
from tfllm.models import (
    add_classifier_head,
    add_embedding_head,
    add_masked_lm_head,
    add_multilabel_head,
    add_pretraining_heads,
    add_regression_head,
    read_recipe,
    set_pairs,
    set_thresholds,
)
from tfllm.training.optimizer import AdamW

LOGITS = {
    "masked_lm": (4, 2, 50),
    "next_sentence": (4, 2),
    "pretraining": {"masked_lm": (4, 2, 50), "next_sentence": (4, 2)},
    "classifier_mean": (4, 3),
    "classifier_cls": (4, 3),
    "classifier_compare": (4, 3),
    "multilabel": (4, 3),
    "regression": (4, 1),
    "regression_in_a_range": (4, 1),
    "embedding": (4, 32),
    "embedding_cls": (4, 32),
}
TARGETS = {
    "masked_lm": np.array([[7, 9], [8, 6], [30, 31], [5, 49]], "int32"),
    "next_sentence": np.array([0, 1, 1, 0], "int32"),
    "classifier_mean": np.array([0, 1, 2, 1], "int32"),
    "multilabel": np.array([[0, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]], "float32"),
    "regression": np.array([1, 2, 3, 2], "float32"),
    "embedding": np.array([0, 1, 1, 0], "float32"),  # cosines of two pairs
}
TARGETS |= {
    "classifier_cls": TARGETS["classifier_mean"],
    "classifier_compare": TARGETS["classifier_mean"],
    "pretraining": {name: TARGETS[name] for name in ("masked_lm", "next_sentence")},
    "regression_in_a_range": TARGETS["regression"] + 1,
    "embedding_cls": TARGETS["embedding"],
}
KERAS_HUBS = ["pretraining", "classifier_compare"]  # `make test-slow` tries the other heads
KERAS_HUBS += slow(*(name for name in LOGITS if name not in KERAS_HUBS))
LOSS = {
    "masked_lm": masked_lm_loss,
    "next_sentence": next_sentence_loss,
    "pretraining": lambda: {"masked_lm": masked_lm_loss(), "next_sentence": next_sentence_loss()},
    "classifier_mean": ClassificationLoss,
    "classifier_cls": ClassificationLoss,
    "classifier_compare": ClassificationLoss,
    "multilabel": MultilabelLoss,
    "regression": RegressionLoss,
    "regression_in_a_range": RegressionLoss,
    "embedding": CosineLoss,
    "embedding_cls": CosineLoss,
}
FIRST_LOSS = {"masked_lm": np.log(50), "next_sentence": np.log(2), "pretraining": np.log(50) + np.log(2)}
FIRST_LOSS |= dict.fromkeys(("classifier_mean", "classifier_cls", "classifier_compare"), np.log(3))
FIRST_LOSS |= {"multilabel": np.log(2), "regression": 1 / 2, "regression_in_a_range": 1 / 2}


def shapes(outputs):
    return keras.tree.map_structure(lambda output: output.shape, outputs)


def dtypes(outputs):
    return {output.dtype.name for output in keras.tree.flatten(outputs)}


def compiled(model, head):
    model.compile(AdamW(5e-3), loss=LOSS[head]())
    return model


def overfitted_loss(model, batch, targets, steps=80):
    """The loss after so many steps on the same batch."""
    model.fit(tf.data.Dataset.from_tensors((batch, targets)).repeat(steps), shuffle=False, verbose=0)
    return model.evaluate(batch, targets, verbose=0, return_dict=True)["loss"]


def test_logits_have_the_promised_shapes_in_float32(make_encoder, head, add_head, head_batch):
    outputs = add_head(make_encoder()).predict(head_batch, verbose=0)
    assert shapes(outputs) == LOGITS[head]
    assert dtypes(outputs) == {"float32"}


@pytest.mark.parametrize("head", FIRST_LOSS, indirect=True)
def test_an_untrained_model_loses_what_chance_loses(make_encoder, head, add_head, head_batch):
    model = compiled(add_head(make_encoder()), head)
    loss = model.evaluate(head_batch, TARGETS[head], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(FIRST_LOSS[head], rel=0.05)


@pytest.mark.parametrize("normalize_first", [False, *slow(True)])
def test_one_batch_is_learnt_by_heart(make_encoder, make_batch, normalize_first):
    model = compiled(add_pretraining_heads(make_encoder(dropout=0.0, normalize_first=normalize_first)), "pretraining")
    assert overfitted_loss(model, make_batch(masked=True), TARGETS["pretraining"]) < 0.1 * FIRST_LOSS["pretraining"]


@pytest.mark.parametrize("pooling", ["mean", *slow("cls")])
def test_a_classifier_learns_one_batch_by_heart(make_encoder, make_batch, pooling):
    model = compiled(add_classifier_head(make_encoder(), ["a", "b", "c"], pooling=pooling), f"classifier_{pooling}")
    assert overfitted_loss(model, make_batch(), TARGETS["classifier_mean"]) < 0.1 * np.log(3)


@pytest.mark.parametrize("head", ["multilabel", "regression_in_a_range", *slow("regression")], indirect=True)
def test_labels_and_scores_of_one_batch_are_learnt_by_heart(make_encoder, head, add_head, head_batch):
    model = compiled(add_head(make_encoder()), head)
    assert overfitted_loss(model, head_batch, TARGETS[head]) < 0.1 * FIRST_LOSS[head]


@pytest.mark.parametrize("pooling", ["mean", *slow("cls")])
@pytest.mark.parametrize("loss", [CosineLoss(), CosineRankLoss(), InBatchNegativesLoss()], ids=lambda loss: loss.name)
def test_embeddings_of_one_batch_come_to_lie_as_they_should(make_encoder, make_batch, pooling, loss):
    model, batch = add_embedding_head(make_encoder(), pooling=pooling), make_batch()
    model.compile(AdamW(5e-3), loss=loss)
    targets = np.array([1, 2, 3, 4]) if isinstance(loss, InBatchNegativesLoss) else np.array([1, 1, 0, 0], "float32")
    assert overfitted_loss(model, batch, targets) < 0.01
    vectors = outputs_of(model, batch)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3] + 0.1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_embedding_is_the_pooled_hidden_state_made_1_long_unless_told_otherwise(make_encoder, make_batch, pooling):
    encoder, batch = make_encoder(), make_batch((5, 5), 5)
    hidden = outputs_of(encoder, batch)["sequence_output"]
    expected = hidden.mean(axis=1) if pooling == "mean" else hidden[:, 0]
    plain = outputs_of(add_embedding_head(encoder, pooling=pooling, normalize=False), batch)
    np.testing.assert_allclose(plain, expected, atol=1e-6)
    vectors = outputs_of(add_embedding_head(encoder, pooling=pooling), batch)
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_a_score_keeps_to_its_range(make_encoder, make_batch):
    model = add_regression_head(make_encoder(), output_range=(1, 5), dropout=0.0)
    for bias, expected in ((-100.0, 1.0), (0.0, 3.0), (100.0, 5.0)):
        kernel, _ = model.get_layer("logits").get_weights()
        model.get_layer("logits").set_weights([np.zeros_like(kernel), np.array([bias], "float32")])
        np.testing.assert_allclose(outputs_of(model, make_batch()), expected, atol=1e-6)


def test_mixed_bfloat16_gives_float32_logits_close_to_those_of_float32(make_encoder, head, add_head, head_batch):
    exact = add_head(make_encoder())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        fast = add_head(make_encoder())
    finally:
        keras.config.set_dtype_policy("float32")
    fast.set_weights(exact.get_weights())
    expected, found = outputs_of(exact, head_batch), outputs_of(fast, head_batch)
    assert dtypes(found) == {"float32"}
    for of_exact, of_fast in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(of_fast, of_exact, atol=0.02)
    assert {weight.dtype for weight in fast.weights if "seed" not in weight.path} == {"float32"}


def test_keras_alone_saves_and_loads_each_model(make_encoder, head, add_head, head_batch, tmp_path):
    model = add_head(make_encoder())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    expected, found = outputs_of(model, head_batch), outputs_of(again, head_batch)
    keras.tree.map_structure(np.testing.assert_array_equal, found, expected)


def test_padding_changes_no_logits(make_encoder, head, add_head, head_batch):
    model = add_head(make_encoder())
    wide = {
        name: value if name == "mask_positions" else np.pad(value, [(0, 0), (0, 5)])
        for name, value in head_batch.items()
    }
    expected, found = outputs_of(model, head_batch), outputs_of(model, wide)
    keras.tree.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


@pytest.mark.parametrize("head", KERAS_HUBS, indirect=True)
def test_keras_hubs_bert_takes_each_head_and_trains(make_backbone, head, add_head, head_batch):
    backbone = make_backbone()
    model = compiled(add_head(backbone), head)
    before = backbone.get_layer("token_embedding").get_weights()[0]
    model.fit(head_batch, TARGETS[head], batch_size=4, shuffle=False, verbose=0)
    assert shapes(outputs_of(model, head_batch)) == LOGITS[head]
    assert np.abs(backbone.get_layer("token_embedding").get_weights()[0] - before).max() > 0


def test_training_a_head_trains_the_encoder_and_other_heads_on_it(make_encoder, make_batch):
    encoder = make_encoder(dropout=0.0)
    masked_lm, classifier = add_masked_lm_head(encoder), add_classifier_head(encoder, ["a", "b"])
    batch = make_batch(masked=True)
    texts = {name: batch[name] for name in encoder.input}
    before = outputs_of(classifier, texts)
    compiled(masked_lm, "masked_lm").fit(batch, TARGETS["masked_lm"], batch_size=4, shuffle=False, verbose=0)
    assert np.abs(outputs_of(classifier, texts) - before).max() > 1e-3
    assert masked_lm.get_layer("transformer_layer_1") is classifier.get_layer("transformer_layer_1")


def test_the_projection_to_the_vocabulary_is_the_token_embedding(make_encoder, make_batch):
    model = add_masked_lm_head(make_encoder())
    assert [weight.path for weight in model.weights if tuple(weight.shape) in ((50, 32), (32, 50))] == [
        "token_embedding/embeddings"
    ]
    batch = make_batch(masked=True)
    assert 40 not in batch["token_ids"]  # so that a change of its embedding can act on the output side only
    before = outputs_of(model, batch)
    embedding = model.get_layer("token_embedding")
    table = embedding.get_weights()[0]
    table[40, 0] += 1.0
    embedding.set_weights([table])
    changed = np.abs(outputs_of(model, batch) - before).max((0, 1))
    assert changed[40] > 0.01
    assert np.delete(changed, 40).max() == 0


def test_a_masked_position_is_predicted_from_its_own_hidden_state(make_encoder, make_batch):
    model, batch = add_masked_lm_head(make_encoder()), make_batch(masked=True)
    turned = {**batch, "mask_positions": batch["mask_positions"][:, ::-1]}
    np.testing.assert_allclose(outputs_of(model, turned)[:, ::-1], outputs_of(model, batch), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["one"]}, "at least two names"),
        ({"labels": ["a", "a"]}, "distinct"),
        ({"labels": ["a", "b"], "pooling": "means"}, "`pooling` must be one of cls, mean.*did you mean 'mean'"),
        ({"labels": ["a", "b"], "pooling": "compare"}, "here is one text: take 'mean'"),
        ({"labels": ["a", "b"], "pooling": "comapre", "pairs": True}, "did you mean 'compare'"),
        ({"labels": ["a", "b"], "dropout": -0.1}, "`dropout` must be between 0 and 1"),
    ],
)
def test_bad_arguments_of_a_classifier_are_input_errors(make_encoder, arguments, message):
    with pytest.raises(InputError, match=message):
        add_classifier_head(make_encoder(), **arguments)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda encoder: add_multilabel_head(encoder, []), "`labels` needs a name"),
        (lambda encoder: add_multilabel_head(encoder, ["a"], thresholds=[0.5, 0.5]), "for each label"),
        (lambda encoder: add_multilabel_head(encoder, ["a"], thresholds=[1]), "above 0 and below 1"),
        (lambda encoder: add_regression_head(encoder, output_range=(5, 0)), "a lower and a higher number"),
        (lambda encoder: add_regression_head(encoder, output_range=(0, float("inf"))), "a lower and a higher number"),
        (lambda encoder: add_regression_head(encoder, deviation=0.0), "above 0"),
        (lambda encoder: add_embedding_head(encoder, pooling="max"), "`pooling` must be one of cls, mean"),
    ],
)
def test_bad_arguments_of_other_heads_are_input_errors(make_encoder, add, message):
    with pytest.raises(InputError, match=message):
        add(make_encoder())


def test_thresholds_are_0_5_until_they_are_set(make_encoder):
    model = add_multilabel_head(make_encoder(), ["a", "b"])
    assert read_recipe(model)["arguments"]["thresholds"] == [0.5, 0.5]
    set_thresholds(model, np.array([0.25, 0.75], "float32"))
    assert read_recipe(model)["arguments"]["thresholds"] == [0.25, 0.75]
    with pytest.raises(InputError, match="for each label"):
        set_thresholds(model, [0.25])
    with pytest.raises(InputError, match="Only a model from `add_multilabel_head`"):
        set_thresholds(add_classifier_head(make_encoder(), ["a", "b"]), [0.5, 0.5])


def test_a_classifier_can_be_asked_for_two_texts_after_it_was_built(make_encoder):
    model = add_classifier_head(make_encoder(), ["a", "b"], pooling="cls")
    set_pairs(model)
    assert read_recipe(model)["arguments"]["pairs"] is True
    with pytest.raises(InputError, match="can be asked for two texts"):
        set_pairs(add_embedding_head(make_encoder()))
