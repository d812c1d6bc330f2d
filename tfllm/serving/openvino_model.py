"""One version of a SavedModel, of which OpenVINO computes a part: `tfllm serve --engine openvino`.

In: strings. Out: what TensorFlow answers. For one text alone the SavedModel's signature `tokenize` makes the ids, and
OpenVINO computes what `tokens` does. All else is TensorFlow's: several texts, of which it computes no padding and is
faster; `tokens` itself, texts in pairs, models that write.

Shapes: T tokens, C labels.
"""

import gc
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tfllm.serving.errors import ServingError
from tfllm.serving.loaded import LoadedModel
from tfllm.serving.openvino_graph import CompiledGraph, takes

log = logging.getLogger("tfllm")
_LONGEST = 64  # tokens of a text that have a graph of their own,
_MOST_PARAMETERS = 25_000_000  # of such a model: eight graphs take up to half a gigabyte
_TEXTS = (
    b"Sturdy, cheap and a pleasure to use.",
    b"",
    "你好，世界。".encode(),
    *(b"no " * count for count in (*range(4, _LONGEST, 8), 200)),
)  # compared when it is loaded
_TOLERANCES = {"float32": 1e-4, "int8": 1e-4, "bfloat16": 0.05}  # by the weights, which TensorFlow follows
_LEAST = 1e-30  # a smaller probability is as good as 0


class _Entry(NamedTuple):
    """A signature that OpenVINO answers.

    Attributes:
        name: the signature's.
        texts: the texts of what it is fed with; None where that is no list of texts, which TensorFlow then tells.
        answer: makes the outputs of what `tokens` gives.
        outputs: the outputs' names, by the names of their tensors.
    """

    name: str
    texts: Callable[[np.ndarray], np.ndarray | None]
    answer: Callable[[np.ndarray], dict[str, np.ndarray]]
    outputs: dict[str, str]


class OpenVinoModel(LoadedModel):
    """As `LoadedModel`; classifiers and scores of single texts are computed by OpenVINO."""

    def __init__(self, directory: Path):
        super().__init__(directory)
        self._entries, self._graph = {}, None
        try:
            self._entries = self._read_entries()
            if self._entries:
                self._compile()
                self._compare()
        except Exception as error:  # a model that OpenVINO cannot read or compute is served all the same
            first_line = str(error).strip().partition("\n")[0]
            log.warning("%s: OpenVINO does not take it: %s: %s", directory, type(error).__name__, first_line)
            self._entries = {}
        if self._entries:
            names = ", ".join(sorted(entry.name for entry in self._entries.values()))
            log.info("%s: OpenVINO computes %s in %s, TensorFlow the rest", directory, names, self._graph.precision)
        else:
            self._graph = None
            log.warning("%s: TensorFlow computes all; OpenVINO takes single texts' labels and scores.", directory)

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        fetches: Iterable[str],
        timeout_seconds: float | None = None,
        rows: int | None = None,
    ) -> dict[str, np.ndarray]:
        """As `LoadedModel.run`; a text that OpenVINO has begun is finished beyond `timeout_seconds`."""
        fetches = tuple(fetches)
        fed = next(iter(feeds), "")
        entry = self._entries.get(fed) if len(feeds) == 1 else None
        takes = entry and len(feeds[fed]) == 1 and entry.outputs.keys() >= set(fetches)
        texts = entry.texts(feeds[fed]) if takes else None
        if texts is None:
            return super().run(feeds, fetches, timeout_seconds, rows)
        answer = entry.answer(self._compute(texts, timeout_seconds))
        return {name: answer[entry.outputs[name]] for name in fetches}

    def _read_entries(self) -> dict[str, _Entry]:
        """By the name of the tensor that is fed."""
        tokens, tokenize = self.signatures.get("tokens"), self.signatures.get("tokenize")
        if not tokens or not tokenize or not takes(tokens) or self.facts.get("inputs") != ["text"]:
            return {}
        labels = np.array([one.encode() for one in self.facts.get("labels") or []], object)
        answers = {
            "classification": {"serving_default": _labels_of(labels), "classify": _classes_of(labels)},
            "regression": {
                "serving_default": lambda score: {"score": score},
                "regress": lambda score: {"outputs": score[:, np.newaxis]},
            },
        }.get(self.facts.get("task"), {})
        entries = {}
        for name, answer in answers.items():
            (fed,) = self.signatures[name].inputs
            outputs = {tensor.name: output for output, tensor in self.signatures[name].outputs.items()}
            texts = _texts_of_examples if fed == "inputs" else np.asarray
            entries[self.signatures[name].inputs[fed].name] = _Entry(name, texts, answer, outputs)
        return entries

    def _compile(self) -> None:
        output = "scores" if self.facts["task"] == "classification" else "score"
        rounds = self.facts.get("weights") == "bfloat16"
        longest = min(_LONGEST, self.facts["sequence_length"] + 7)
        longest = longest if self.facts["parameters"] <= _MOST_PARAMETERS else 0
        self._graph = CompiledGraph(self.directory, output, rounds, longest)
        gc.collect()  # TensorFlow's graphs that were read, the weights in them, refer to themselves

    def _compare(self) -> None:
        """Leave all to TensorFlow where OpenVINO does not answer as it does, on a processor nobody has tried say."""
        fed = self.signatures["serving_default"].inputs["text"].name
        outputs, texts = self._entries[fed].outputs, np.array(_TEXTS, object)
        theirs = super().run({fed: texts}, outputs)
        alone = [self.run({fed: texts[place : place + 1]}, outputs) for place in range(len(texts))]
        for tensor, output in outputs.items():
            ours = np.concatenate([one[tensor] for one in alone])
            if not is_same(output, ours, theirs[tensor], _TOLERANCES[self.facts["weights"]]):
                log.warning("%s: OpenVINO's %s is not TensorFlow's.", self.directory, output)
                self._entries = {}
                return

    def _compute(self, text: np.ndarray, timeout_seconds: float | None) -> np.ndarray:
        """What `tokens` gives for one string (1,): float32 (1,) or (1, C)."""
        tokenize = self.signatures["tokenize"]
        (ids,) = (
            super()
            .run({tokenize.inputs["text"].name: text}, [tokenize.outputs["token_ids"].name], timeout_seconds)
            .values()
        )  # int32 (1, T)
        try:
            return self._graph.run(ids)
        except RuntimeError as error:
            raise ServingError("INTERNAL", str(error)) from None


def is_same(output: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> bool:
    """Whether an output is TensorFlow's.

    Probabilities are compared by their logarithms: where a model is sure, a wrong logit changes them little.

    Args:
        output: its name.
        ours, theirs: of the same texts.
        tolerance: of scores and probabilities, as a share of the largest number where that is above 1.
    """
    if output == "label":
        return True  # follows from `scores` and `labels`; where two are as probable, either may be found
    if theirs.dtype == object:
        return ours.tolist() == theirs.tolist()
    if output == "scores":
        ours, theirs = (np.log(np.maximum(one, _LEAST)) for one in (ours, theirs))
        tolerance *= 4  # a probability changes by a quarter of what its logit changes by, at most
    return bool(np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max()))


def _labels_of(labels: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """`serving_default` of a classifier, whose labels are bytes (C,)."""

    def answer(scores: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.broadcast_to(labels, scores.shape)
        return {"label": labels[scores.argmax(1)], "score": scores.max(1), "scores": scores, "labels": rows}

    return answer


def _classes_of(labels: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """`classify` of a classifier."""
    return lambda scores: {"classes": np.broadcast_to(labels, scores.shape), "scores": scores}


def _texts_of_examples(examples: np.ndarray) -> np.ndarray | None:
    """The feature `text` of serialized tf.Examples; None where one of them is no example or has not one text."""
    texts = []
    for example in examples:
        try:
            values = tf.train.Example.FromString(example).features.feature["text"].bytes_list.value
        except DecodeError:
            return None
        if len(values) != 1:
            return None
        texts.append(values[0])
    return np.array(texts, object)
