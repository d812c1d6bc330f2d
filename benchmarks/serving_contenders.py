"""tfllm's and KerasHub's classifiers as workers of serving_latency.py: strings to labels."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import contest
import keras
import numpy as np
import tensorflow as tf

import tfllm
from tfllm.serving.loaded import LoadedModel
from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary

LENGTH, LABELS = 128, ["negative", "positive"]


def main():
    label_texts(contest.request())


def label_texts(asked):
    """A turn labels some texts."""
    keras.utils.set_random_seed(0)
    works = {
        "tfllm": tfllm_savedmodel,
        "openvino": openvino_savedmodel,
        "keras_hub_savedmodel": keras_hub_savedmodel,
        "keras_hub_predict": keras_hub_predict,
    }
    answer(asked, works[asked["work"]](asked, Path(asked["folder"])))


def answer(asked: dict, label: Callable[[list[str]], list]) -> None:
    """A turn has `label` answer some of the texts, the next ones in an endless loop, in batches."""
    texts = itertools.cycle(json.loads(Path(asked["file"]).read_text("utf-8")))

    def turn() -> dict:
        chosen = list(itertools.islice(texts, asked["examples"]))
        for start in range(0, len(chosen), asked["batch_size"]):
            batch = chosen[start : start + asked["batch_size"]]
            assert len(label(batch)) == len(batch)
        return {"examples": len(chosen), "tokens": sum(len(text.split()) for text in chosen)}

    contest.serve(turn)


def tfllm_savedmodel(asked, folder):
    return asked_in_session(exported(asked, folder), "label")


def openvino_savedmodel(asked, folder):
    """The same, of which `--engine openvino` computes a part."""
    from tfllm.serving.openvino_model import OpenVinoModel

    return asked_in_session(exported(asked, folder), "label", OpenVinoModel)


def exported(asked, folder: Path) -> Path:
    directory = folder / f"tfllm_{asked['weights']}"
    if not directory.exists():
        tokenizer = WordPieceTokenizer(read_vocabulary(Path(asked["vocabulary"])), lowercase=True)
        model = tfllm.add_classifier_head(tfllm.build_encoder(tokenizer.vocabulary_size, **asked["size"]), LABELS)
        for weight in model.weights:  # OpenVINO leaves biases of zeros out, which a trained model does not have
            if len(weight.shape) == 1:
                weight.assign(weight + keras.random.normal(weight.shape, stddev=0.02))
        tfllm.export_savedmodel(model, tokenizer, directory, weights=asked["weights"])
    return directory / "1"


def keras_hub_model(asked):
    import keras_hub

    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=asked["vocabulary"], lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LENGTH)
    backbone = keras_hub.models.BertBackbone(tokenizer.vocabulary_size(), **asked["size"])
    return keras_hub.models.BertTextClassifier(backbone, num_classes=len(LABELS), preprocessor=preprocessor)


def keras_hub_predict(asked, folder):
    model = keras_hub_model(asked)

    def label(texts: list[str]) -> list:
        logits = model.predict(texts, batch_size=asked["batch_size"], verbose=0)
        return [LABELS[place] for place in logits.argmax(axis=1)]

    return label


def keras_hub_savedmodel(asked, folder):
    """What a careful user writes by hand: the preprocessor, the model and the labels' names in one signature."""
    directory = folder / "keras_hub"
    if not directory.exists():
        save_keras_hub(keras_hub_model(asked), directory)
    return asked_in_session(directory, "label")


def save_keras_hub(model, directory: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(text):
        logits = keras.Model.__call__(model, model.preprocessor(text), training=False)
        return {"label": tf.gather(LABELS, tf.argmax(logits, axis=1))}

    root = tf.Module()
    root.variables_of_model = [weight.value for weight in model.weights]
    root.preprocessor = model.preprocessor
    tf.saved_model.save(root, str(directory), signatures={"serving_default": serve})


def asked_in_session(version: Path, output: str, engine: type[LoadedModel] = LoadedModel) -> Callable:
    """A SavedModel's labels as a server gets them: strings to a list."""
    saved = engine(version)
    signature = saved.signatures["serving_default"]
    feed, fetch = signature.inputs["text"].name, signature.outputs[output].name
    return lambda texts: saved.run({feed: np.array(texts, object)}, [fetch], rows=len(texts))[fetch].tolist()


if __name__ == "__main__":
    main()
