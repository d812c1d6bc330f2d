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
        "openvino": openvino_labels,
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


def exported(asked, folder: Path) -> Path:
    directory = folder / f"tfllm_{asked['weights']}"
    if not directory.exists():
        tokenizer = WordPieceTokenizer(read_vocabulary(Path(asked["vocabulary"])), lowercase=True)
        model = tfllm.add_classifier_head(tfllm.build_encoder(tokenizer.vocabulary_size, **asked["size"]), LABELS)
        tfllm.export_savedmodel(model, tokenizer, directory, weights=asked["weights"])
    return directory / "1"


def openvino_labels(asked, folder):
    """The same SavedModel: TensorFlow makes the ids, OpenVINO computes what its signature `tokens` does."""
    import openvino

    version = exported(asked, folder)
    saved, loaded = LoadedModel(version), tf.saved_model.load(str(version))
    tokenize = saved.signatures["tokenize"]
    text, ids, counts = (
        tokenize.inputs["text"].name,
        *(tokenize.outputs[one].name for one in ("token_ids", "num_tokens")),
    )
    options = {
        "INFERENCE_PRECISION_HINT": asked["precision"],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": asked["threads"],
    }
    model = openvino.convert_model(loaded.signatures["tokens"])
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()

    def label(texts: list[str]) -> list:
        found = saved.run({text: texts}, [ids, counts])
        mask = (np.arange(found[ids].shape[1]) < found[counts][:, np.newaxis]).astype(np.int32)
        inputs = {"token_ids": found[ids], "segment_ids": np.zeros_like(mask), "padding_mask": mask}
        return [LABELS[place] for place in request.infer(inputs)["scores"].argmax(axis=1)]

    return label


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


def asked_in_session(version: Path, output: str) -> Callable[[list[str]], list]:
    """A SavedModel's labels as a server gets them: in a Session."""
    saved = LoadedModel(version)
    signature = saved.signatures["serving_default"]
    feed, fetch = signature.inputs["text"].name, signature.outputs[output].name
    return lambda texts: saved.run({feed: texts}, [fetch])[fetch].tolist()


if __name__ == "__main__":
    main()
