"""Fine-tuning: the best epoch's weights stay, frozen layers stand still, seeds reproduce."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score, log_loss, matthews_corrcoef

from tfllm.checks import InputError
from tfllm.models import add_classifier_head
from tfllm.training import balanced_class_weights, best_epoch, fine_tune, train_classifier
from tfllm.training.finetuning import encoder_blocks

SCORES = {"val_loss", "val_accuracy", "val_macro_f1", "val_matthews"}


class Weights(keras.callbacks.Callback):
    """Keeps all weights as they are before the first and after every epoch, and what was trainable in each."""

    def __init__(self):
        super().__init__()
        self.epochs, self.trainable = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs = self.epochs or [self.model.get_weights()]
        self.trainable.append([layer.name for layer in self.model.layers if layer.trainable_variables])

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.get_weights())


def scores_of(model, dataset):
    label_ids = np.concatenate([labels for _, labels in dataset.as_numpy_iterator()])
    logits = model.predict(dataset.map(lambda inputs, _: inputs), verbose=0).astype("float64")
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    predicted = logits.argmax(-1)
    return {
        "loss": log_loss(label_ids, probabilities),
        "accuracy": accuracy_score(label_ids, predicted),
        "macro_f1": f1_score(label_ids, predicted, average="macro"),
        "matthews": matthews_corrcoef(label_ids, predicted),
    }


def moved_layers(model, before, after):
    """Names of the layers of which any weight changed."""
    layers = [layer.name for layer in model.layers for _ in layer.weights]
    return {name for name, old, new in zip(layers, before, after, strict=True) if (old != new).any()}


def test_it_learns_and_reports_every_epoch(make_classifier, make_dataset):
    model = make_classifier(dropout=0.0)
    history = train_classifier(model, make_dataset(64), make_dataset(seed=1), epochs=6, learning_rate=1e-2, patience=6)
    assert len(history) == 6
    assert all(set(epoch) == {"loss", *SCORES} for epoch in history)
    assert best_epoch(history, "accuracy", "max")["accuracy"] > 0.9


def test_without_validation_every_epoch_is_trained_and_the_last_weights_stay(make_classifier, make_dataset):
    model, weights = make_classifier(), Weights()
    history = train_classifier(model, make_dataset(), epochs=2, callbacks=[weights])
    assert [set(epoch) for epoch in history] == [{"loss"}, {"loss"}]
    assert moved_layers(model, weights.epochs[-1], model.get_weights()) == set()


@pytest.mark.parametrize("unfreeze_gradually", [False, True])
def test_the_best_epochs_weights_stay_when_it_gets_worse(make_classifier, make_dataset, unfreeze_gradually):
    # The validation labels are turned round: what is learnt makes the validation loss rise from epoch to epoch.
    model, worse = make_classifier(dropout=0.0), make_dataset(flipped=True)
    weights = Weights()
    history = train_classifier(
        model,
        make_dataset(128),
        worse,
        epochs=5,
        learning_rate=1e-2,
        monitor="loss",
        patience=2,
        unfreeze_gradually=unfreeze_gradually,
        callbacks=[weights],
    )
    losses = [epoch["val_loss"] for epoch in history]
    best = int(np.argmin(losses))
    # Two epochs of patience after the best, then it stops; but not before every layer has had its turn.
    assert len(history) == (5 if unfreeze_gradually else best + 3)
    assert best + 1 < len(history)
    assert moved_layers(model, weights.epochs[best + 1], model.get_weights()) == set()
    assert scores_of(model, worse) == pytest.approx(best_epoch(history, "loss", "min"), rel=1e-4)


def test_of_epochs_with_the_same_score_the_one_with_the_lowest_loss_stays(make_classifier, make_dataset):
    model, weights = make_classifier(), Weights()
    scores = [{"accuracy": a, "loss": b} for a, b in ((0.5, 0.1), (1.0, 0.4), (1.0, 0.2), (1.0, 0.3))]
    given = iter(scores)
    history = fine_tune(
        model,
        make_dataset(16),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        validate=lambda: next(given),
        monitor="accuracy",
        better="max",
        epochs=6,
        patience=2,
        callbacks=[weights],
    )
    assert len(history) == 4  # a lower loss alone is nothing better to wait for
    assert best_epoch(history, "accuracy", "max") == scores[2]
    assert moved_layers(model, weights.epochs[3], model.get_weights()) == set()


def test_the_history_holds_scikit_learns_scores(make_classifier, make_dataset):
    model, validation = make_classifier(), make_dataset(30, seed=2)
    history = train_classifier(model, make_dataset(), validation, epochs=1, learning_rate=1e-2)
    assert {name: history[0][f"val_{name}"] for name in ("loss", "accuracy", "macro_f1", "matthews")} == pytest.approx(
        scores_of(model, validation), rel=1e-4
    )


@pytest.mark.parametrize(
    ("frozen_layers", "still"),
    [
        (0, set()),
        (1, {"token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"}),
        (2, {"token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"}),
    ],
)
def test_frozen_layers_stand_still_while_the_others_move(make_classifier, make_dataset, frozen_layers, still):
    model = make_classifier()
    before = model.get_weights()
    train_classifier(model, make_dataset(), epochs=1, frozen_layers=frozen_layers)
    still = still | {f"transformer_layer_{number}" for number in range(frozen_layers)}
    everything = {layer.name for layer in model.layers if layer.weights}
    assert moved_layers(model, before, model.get_weights()) == everything - still
    assert all(layer.trainable for layer in model.layers)


def test_lower_layers_learn_slower_by_the_layer_decay(make_classifier, make_dataset):
    moved = {}
    for decay in (1.0, 0.5):
        model = make_classifier(dropout=0.0)
        before = {weight.path: weight.numpy() for weight in model.trainable_weights}
        batches = make_dataset(8)
        train_classifier(model, batches, epochs=1, layer_decay=decay, weight_decay=0.0, warmup_share=0.0)
        moved[decay] = {
            weight.path: np.abs(weight.numpy() - before[weight.path]).max()
            for weight in model.weights
            if weight.path in before
        }
    factors = {"token_embedding": 1 / 8, "transformer_layer_0": 1 / 4, "transformer_layer_1": 1 / 2, "logits": 1.0}
    for path, full in moved[1.0].items():
        layer = path.split("/")[0]
        if layer in factors and full > 0:
            assert moved[0.5][path] == pytest.approx(factors[layer] * full, rel=0.05), path


@pytest.mark.slow
@pytest.mark.parametrize("frozen_layers", [0, 1])
def test_gradual_unfreezing_adds_one_block_from_the_top_each_epoch(make_classifier, make_dataset, frozen_layers):
    model, weights = make_classifier(), Weights()
    train_classifier(
        model, make_dataset(), epochs=5, frozen_layers=frozen_layers, unfreeze_gradually=True, callbacks=[weights]
    )
    embeddings = {"token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"}
    stages = [{"logits"}, {"transformer_layer_1"}, {"transformer_layer_0"}, embeddings]
    stages = stages[: 2 if frozen_layers else 4]
    for epoch in range(5):
        expected = set().union(*stages[: epoch + 1])
        assert set(weights.trainable[epoch]) == expected
        assert moved_layers(model, weights.epochs[epoch], weights.epochs[epoch + 1]) == expected


def test_with_fewer_epochs_than_blocks_the_lowest_stay_frozen(make_classifier, make_dataset):
    model, weights = make_classifier(), Weights()
    history = train_classifier(model, make_dataset(), epochs=2, unfreeze_gradually=True, callbacks=[weights])
    assert len(history) == 2
    assert set(weights.trainable[1]) == {"logits", "transformer_layer_1"}


@pytest.mark.slow
def test_patience_that_ends_in_one_stage_begins_anew_in_the_next(make_classifier, make_dataset):
    worse = make_dataset(flipped=True)
    arguments = {"epochs": 6, "learning_rate": 1e-2, "monitor": "loss", "patience": 1, "unfreeze_gradually": True}
    weights = Weights()
    train_classifier(make_classifier(dropout=0.0), make_dataset(128), worse, callbacks=[weights], **arguments)
    assert any("token_embedding" in trained for trained in weights.trainable)


def test_class_weights_turn_the_answer(make_classifier, make_dataset):
    dataset = make_dataset().map(
        lambda inputs, label_ids: (inputs | {"token_ids": inputs["segment_ids"] + 5}, label_ids)
    )
    share = {}
    for name, class_weights in (("first", [1.0, 0.0]), ("second", [0.0, 1.0])):
        model = make_classifier()
        weighted = dataset.map(lambda *row: (*row, tf.gather(class_weights, row[1])))  # noqa: B023
        train_classifier(model, weighted, epochs=2, learning_rate=1e-2)
        share[name] = model.predict(dataset.map(lambda inputs, _: inputs), verbose=0).argmax(-1).mean()
    assert share == {"first": 0.0, "second": 1.0}  # all texts are alike: the weights alone decide


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not(make_classifier, make_dataset):
    def trained(seed):
        model = make_classifier(seed=seed)
        train_classifier(model, make_dataset(), make_dataset(seed=1), epochs=2)
        return model

    first, again, other = trained(1), trained(1), trained(2)
    assert moved_layers(first, first.get_weights(), again.get_weights()) == set()
    assert moved_layers(first, first.get_weights(), other.get_weights()) != set()


def test_blocks_go_from_the_embeddings_up_for_ours_and_for_keras_hubs_bert(make_classifier):
    arguments = {"vocabulary_size": 12, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    theirs = add_classifier_head(keras_hub.models.BertBackbone(**arguments), ["a", "b"], pooling="cls")
    for model in (make_classifier(), theirs):
        embeddings, *layers = [[layer.name for layer in block] for block in encoder_blocks(model)]
        assert set(embeddings) == {
            "token_embedding",
            "position_embedding",
            "segment_embedding",
            "embeddings_layer_norm",
        }
        assert layers == [["transformer_layer_0"], ["transformer_layer_1"]]


def test_balanced_class_weights_are_those_worked_out_by_hand():
    assert balanced_class_weights([0, 0, 0, 1], 2) == pytest.approx([4 / 6, 4 / 2])
    assert balanced_class_weights([2, 0], 3) == pytest.approx([2 / 3, 0, 2 / 3])


def test_the_best_epoch_is_the_first_with_the_best_value():
    history = [
        {"loss": 3.0, "val_loss": 0.5, "val_accuracy": 0.7},
        {"loss": 2.0, "val_loss": 0.4, "val_accuracy": 0.8},
        {"loss": 1.0, "val_loss": 0.6, "val_accuracy": 0.8},
    ]
    assert (
        best_epoch(history, "accuracy", "max") == best_epoch(history, "loss", "min") == {"loss": 0.4, "accuracy": 0.8}
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"monitor": "acuracy"}, "`monitor` must be one of .*did you mean 'accuracy'"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"frozen_layers": 3}, "`frozen_layers` must be between 0 and 2"),
        ({"label_smoothing": 2}, "`label_smoothing` must be between 0 and 1"),
    ],
)
def test_bad_arguments_are_input_errors(make_classifier, make_dataset, arguments, message):
    with pytest.raises(InputError, match=message):
        train_classifier(make_classifier(), make_dataset(), **arguments)


@pytest.mark.parametrize("change", [lambda data: data.take(0), tf.data.Dataset.repeat])
def test_training_data_without_an_end_or_without_a_batch_are_refused(make_classifier, make_dataset, change):
    with pytest.raises(InputError, match="a known number of batches, at least one"):
        train_classifier(make_classifier(), change(make_dataset()))
