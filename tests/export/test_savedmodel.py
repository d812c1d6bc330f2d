"""The exported SavedModel answers like the Python model, on any text and any batch, and is written whole or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data import text_dataset
from tfllm.export import Predictor, export_savedmodel
from tfllm.export.check import count_stored_numbers
from tfllm.models import add_classifier_head, add_masked_lm_head, add_multilabel_head, save_model
from tfllm.models.recipe import remember
from tfllm.tokenizers import WordPieceTokenizer

TEXTS = ["the film was good!", "bad", "你好，世界。", "😀 film 👩‍👩‍👧", "", "a b c " * 20]


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    yield loaded.signatures
    del loaded


@pytest.fixture(scope="module")
def python_scores(classifier, tokenizer, sequence_length):
    """Scores (B, C) by `model.predict` on the batches of training and evaluation."""
    batches = text_dataset(TEXTS, tokenizer, sequence_length=sequence_length, batch_size=4)
    return keras.ops.convert_to_numpy(keras.ops.softmax(classifier.predict(batches, verbose=0)))


def test_scores_and_labels_are_those_of_model_predict(exported, python_scores, labels):
    results = Predictor(exported).predict(text=TEXTS)
    scores = [list(result["scores"].values()) for result in results]
    np.testing.assert_allclose(scores, python_scores, rtol=0, atol=1e-5)
    assert [result["label"] for result in results] == [labels[row] for row in python_scores.argmax(axis=1)]
    assert [list(result["scores"]) for result in results] == [labels] * len(TEXTS)
    assert len({result["label"] for result in results}) > 1, "one label for all texts would prove nothing"


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_every_output_has_one_row_for_each_text(signatures, labels, batch):
    outputs = signatures["serving_default"](text=tf.constant(["good"] * batch, tf.string, [batch]))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "label": (batch,),
        "score": (batch,),
        "scores": (batch, len(labels)),
        "labels": (batch, len(labels)),
    }


def test_a_text_is_scored_alike_whatever_stands_beside_it(signatures):
    hostile = tf.constant([b"good", b"", b"\xff\xfe \xed\xa0\x80", b"a\x00b", "e\u0301 שלום".encode(), b"x" * 10_000])
    together = signatures["serving_default"](text=hostile)["scores"]
    alone = tf.concat([signatures["serving_default"](text=text[tf.newaxis])["scores"] for text in hostile], axis=0)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)
    assert np.isfinite(together).all()


def test_a_program_in_cpp_without_xla_gets_the_same_labels(exported, ask_in_cpp):
    answers = ask_in_cpp(exported / "1", text=TEXTS)
    kinds = {name: (kind, rows) for name, (kind, rows, _) in answers.items()}
    assert kinds == {
        "label": ("string", len(TEXTS)),
        "score": ("float", len(TEXTS)),
        "scores": ("float", len(TEXTS)),
        "labels": ("string", len(TEXTS)),
    }
    assert answers["label"][2].split()[:3] == [row["label"] for row in Predictor(exported).predict(text=TEXTS)[:3]]


def test_a_long_text_is_cut_to_the_sequence_length(signatures, sequence_length):
    kept = "good bad " * ((sequence_length - 2) // 2)
    scores = signatures["serving_default"](text=tf.constant([kept, kept + "dull " * 50]))["scores"]
    np.testing.assert_array_equal(scores[0], scores[1])


def test_classify_reads_tf_examples(signatures, python_scores, labels):
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))}
            )
        ).SerializeToString()
        for text in TEXTS
    ]
    outputs = signatures["classify"](inputs=tf.constant(examples))
    np.testing.assert_allclose(outputs["scores"], python_scores, rtol=0, atol=1e-5)
    assert [[name.decode() for name in row] for row in outputs["classes"].numpy()] == [labels] * len(TEXTS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="text"):
        signatures["classify"](inputs=tf.constant([tf.train.Example().SerializeToString()]))


def test_tokens_and_tokenize_take_the_batches_of_training(signatures, tokenizer, sequence_length, python_scores):
    (batch,) = text_dataset(TEXTS, tokenizer, sequence_length=sequence_length, batch_size=len(TEXTS))
    outputs = signatures["tokens"](**batch)
    np.testing.assert_allclose(outputs["scores"], python_scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(tf.nn.softmax(outputs["logits"]), outputs["scores"], rtol=0, atol=1e-6)
    tokenized = signatures["tokenize"](text=tf.constant(TEXTS))
    width = tokenized["token_ids"].shape[1]
    np.testing.assert_array_equal(tokenized["token_ids"], batch["token_ids"][:, :width])
    np.testing.assert_array_equal(tokenized["num_tokens"], tf.reduce_sum(batch["padding_mask"], axis=1))


def test_each_weight_is_stored_once_and_a_keras_export_stores_it_twice(exported, classifier, tmp_path):
    data = exported / "1" / "variables" / "variables.data-00000-of-00001"
    assert 4 * classifier.count_params() <= data.stat().st_size < 4 * classifier.count_params() + 10_000
    assert count_stored_numbers(exported / "1") == classifier.count_params()
    classifier.export(tmp_path / "keras", verbose=False)
    assert count_stored_numbers(tmp_path / "keras") >= 2 * classifier.count_params()


@pytest.mark.slow
def test_a_second_export_is_version_2_and_in_float32_whatever_the_training_policy(
    copy, classifier, make_encoder, tokenizer, labels
):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = add_classifier_head(make_encoder(), labels)
    finally:
        keras.config.set_dtype_policy(policy)
    mixed.set_weights(classifier.get_weights())
    assert export_savedmodel(mixed, tokenizer, copy.parent, sequence_length=16) == copy.parent / "2"
    assert keras.config.dtype_policy() == policy
    assert mixed.get_layer("transformer_layer_0").compute_dtype == "bfloat16", "the caller's model stays as it was"
    mixed_scores, scores = (
        [list(result["scores"].values()) for result in Predictor(version).predict(text=TEXTS)]
        for version in (copy.parent, copy)
    )
    np.testing.assert_allclose(mixed_scores, scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("add_head", "lost"),
    [
        (lambda encoder, labels: add_masked_lm_head(encoder), "classify, serving_default, tokens"),
        (lambda encoder, labels: add_classifier_head(encoder, labels, pairs=True), "serving_default"),
        (add_multilabel_head, "serving_default"),
    ],
)
def test_a_version_that_cannot_stand_in_for_the_one_before_is_refused(
    copy, make_encoder, tokenizer, labels, add_head, lost
):
    with pytest.raises(InputError, match=f"reviews/1 answers {lost} and this model does not"):
        export_savedmodel(add_head(make_encoder(), labels), tokenizer, copy.parent, sequence_length=16)
    assert [entry.name for entry in copy.parent.iterdir()] == ["1"]


class _Calls(keras.layers.Layer):
    """A layer that calls a TensorFlow function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, shape):
        return shape


def _python(x):
    return tf.ensure_shape(tf.py_function(lambda value: value, [x], tf.float32), x.shape)


def _other_in_a_graph(x):
    return x if tf.executing_eagerly() else x + tf.range(3.0)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (_python, InputError, "EagerPyFunc"),
        (tf.function(lambda x: x + 1, jit_compile=True), InputError, "jit_compile"),
        (_other_in_a_graph, RuntimeError, "does not answer like the Python model"),
    ],
    ids=["python op", "xla", "other answers"],
)
def test_a_model_that_cannot_be_served_is_refused_and_nothing_is_left(
    make_encoder, tokenizer, labels, tmp_path, function, error, message
):
    encoder = make_encoder(num_layers=1)
    head = add_classifier_head(encoder, labels)
    model = keras.Model(head.input, _Calls(function)(head.output))
    remember(model, "add_classifier_head", {"labels": labels}, encoder)
    with pytest.raises(error, match=message):
        export_savedmodel(model, tokenizer, tmp_path / "reviews")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_masked_language_model_fills_gaps_and_gives_vectors(make_encoder, tokenizer, tmp_path):
    encoder = make_encoder()
    version = export_savedmodel(add_masked_lm_head(encoder), tokenizer, tmp_path / "encoder")
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"serving_default", "fill_mask", "embed", "tokenize"}
    (batch,) = text_dataset(["good film"], tokenizer)
    hidden = encoder(batch)["sequence_output"][0, :4]  # [CLS] good film [SEP]
    embedding = signatures["embed"](text=tf.constant(["good film", ""]))["embedding"]
    np.testing.assert_allclose(embedding[0], tf.reduce_mean(hidden, axis=0), rtol=0, atol=1e-5)
    assert Predictor(version).task == "fill_mask"


def test_arguments_that_cannot_work_are_refused(classifier, tokenizer, tmp_path):
    with pytest.raises(InputError, match="must not exceed 32"):
        export_savedmodel(classifier, tokenizer, tmp_path / "reviews", sequence_length=33)
    with pytest.raises(InputError, match="is a version"):
        export_savedmodel(classifier, tokenizer, tmp_path / "reviews" / "1")
    save_model(classifier, tmp_path / "model", tokenizer)
    with pytest.raises(InputError, match="holds a model already"):
        export_savedmodel(classifier, tokenizer, tmp_path / "model")
    with pytest.raises(InputError, match="not made by a tfllm builder"):
        export_savedmodel(keras.Sequential([keras.layers.Dense(1)]), tokenizer, tmp_path / "reviews")
    longer = WordPieceTokenizer([*tokenizer.vocabulary, "another"])
    with pytest.raises(InputError, match="give the tokenizer that the model was trained with"):
        export_savedmodel(classifier, longer, tmp_path / "reviews")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
