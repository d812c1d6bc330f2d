"""Label and score of texts, from a tfllm model directory or from a SavedModel.

A SavedModel is asked without tfllm importing Keras or KerasHub: what answers is what TF Serving would run.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError, check_exists
from tfllm.export.check import KIND
from tfllm.export.clean_process import load_text_ops
from tfllm.export.ops import check_ops
from tfllm.export.versions import find_version

_BATCH_SIZE = 32
_OUTPUTS = {"label", "score", "scores", "labels"}


def predict_texts(directory: str | Path, texts: Sequence[str], *, trust: bool = False) -> list[dict]:
    """Classify texts; see `Predictor`."""
    return Predictor(directory, trust=trust).predict(texts)


class Predictor:
    """A classifier ready to answer.

    Args:
        directory: a model directory, `savedmodels/NAME` (its highest version answers) or `savedmodels/NAME/VERSION`.
        trust: True also runs a SavedModel that tfllm did not write or whose files have changed. A SavedModel is code:
            it can read and write files.

    Raises:
        InputError: when there is no model, it is damaged or not trusted, or it is not a classifier.
    """

    def __init__(self, directory: str | Path, *, trust: bool = False):
        directory = Path(directory)
        check_exists(directory)
        if _is_model(directory):
            self._function = _model_function(directory)
        else:
            self._function = _savedmodel_function(find_version(directory), trust)

    def predict(self, texts: Sequence[str]) -> list[dict]:
        """Classify texts.

        Returns:
            For each text a dict: `text`, `label` (the likeliest), `score` (its probability), `scores` (label ->
            probability, in the model's order).
        """
        results = []
        for start in range(0, len(texts), _BATCH_SIZE):
            batch = texts[start : start + _BATCH_SIZE]
            outputs = self._function(text=tf.constant([text.encode("utf-8", "replace") for text in batch]))
            rows = zip(batch, *(outputs[name].numpy() for name in ("label", "score", "scores", "labels")), strict=True)
            for text, label, score, scores, labels in rows:
                results.append(
                    {
                        "text": text,
                        "label": label.decode(),
                        "score": float(score),
                        "scores": {name.decode(): float(value) for name, value in zip(labels, scores, strict=True)},
                    }
                )
        return results


def _is_model(directory: Path) -> bool:
    try:
        manifest.read_manifest(directory, "model")
    except InputError:
        return False
    return True


def _model_function(directory: Path) -> Callable[..., dict[str, tf.Tensor]]:
    from tfllm.export.signatures import build_signatures, choose_length
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    model = load_model(directory)
    trained_at = manifest.read_manifest(directory, "model")["arguments"]["run"].get("sequence_length")
    signatures = build_signatures(model, load_tokenizer(directory), choose_length(model, trained_at))
    if "classify" not in signatures:
        raise InputError(f"{directory} is not a classifier and gives no labels; fine-tune it first.")
    return tf.function(signatures["serving_default"].function, input_signature=[tf.TensorSpec([None], tf.string)])


def _savedmodel_function(savedmodel: Path, trust: bool) -> Callable[..., dict[str, tf.Tensor]]:
    if not trust:
        _check_ours(savedmodel)
    load_text_ops()
    loaded = tf.saved_model.load(str(savedmodel))
    if not set(getattr(loaded.signatures.get("serving_default"), "structured_outputs", ())) >= _OUTPUTS:
        raise InputError(f"{savedmodel} is no text classifier of tfllm: its serving_default gives no label and score.")
    return lambda text: loaded.signatures["serving_default"](text=text)  # holds `loaded`, and so its variables


def _check_ours(savedmodel: Path) -> None:
    try:
        manifest.check_files(savedmodel, manifest.read_manifest(savedmodel, KIND))
        check_ops(savedmodel)
    except InputError as error:
        raise InputError(
            f"{error}\nA SavedModel is code. If you know where {savedmodel} comes from, run it with --trust."
        ) from None
