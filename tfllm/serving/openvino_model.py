"""One version of a SavedModel, of which OpenVINO computes a part: `tfllm serve --engine openvino`.

In: strings. Out: what TensorFlow answers. The SavedModel's signature `tokenize` makes the ids; OpenVINO computes what
`tokens` does. Signatures it does not take are TensorFlow's: `tokens` itself, texts in pairs, models that write.

Shapes: B texts, T tokens, C labels.
"""

import gc
import logging
import time
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
_ROWS = 8  # computed together, of about the same length: padding is computed, too
_LONGEST = 64  # tokens of a text alone that have a graph of their own,
_MOST_PARAMETERS = 25_000_000  # of such a model: eight graphs take up to half a gigabyte
_TEXTS = (
    b"Sturdy, cheap and a pleasure to use.",
    b"",
    "你好，世界。".encode(),
    *(b"no " * count for count in (*range(4, _LONGEST, 8), 200)),
)  # compared when it is loaded, together and alone
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
        self, feeds: Mapping[str, np.ndarray], fetches: Iterable[str], timeout_seconds: float | None = None
    ) -> dict[str, np.ndarray]:
        """As `LoadedModel.run`; what OpenVINO has begun, a few rows, is finished beyond `timeout_seconds`."""
        fetches = tuple(fetches)
        fed = next(iter(feeds), "")
        entry = self._entries.get(fed) if len(feeds) == 1 else None
        texts = entry.texts(feeds[fed]) if entry and entry.outputs.keys() >= set(fetches) else None
        if texts is None or not len(texts):
            return super().run(feeds, fetches, timeout_seconds)
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
        theirs, together = super().run({fed: texts}, outputs), self.run({fed: texts}, outputs)
        alone = [self.run({fed: texts[place : place + 1]}, outputs) for place in range(len(texts))]
        for tensor, output in outputs.items():
            for found in (together[tensor], np.concatenate([one[tensor] for one in alone])):
                if not is_same(output, found, theirs[tensor], _TOLERANCES[self.facts["weights"]]):
                    log.warning("%s: OpenVINO's %s is not TensorFlow's.", self.directory, output)
                    self._entries = {}
                    return

    def _compute(self, texts: np.ndarray, timeout_seconds: float | None) -> np.ndarray:
        """What `tokens` gives for strings (B,): float32 (B,) or (B, C)."""
        end = float("inf") if timeout_seconds is None else time.monotonic() + timeout_seconds
        tokenize = self.signatures["tokenize"]
        names = [tokenize.outputs[one].name for one in ("token_ids", "num_tokens")]
        found = super().run({tokenize.inputs["text"].name: texts}, names, timeout_seconds)
        ids, counts = (found[name] for name in names)  # int32 (B, T), (B,)
        order = np.argsort(counts, kind="stable")
        parts = []
        for start in range(0, len(order), _ROWS):
            if time.monotonic() >= end:
                raise ServingError("DEADLINE_EXCEEDED", "The run was not finished in time.")
            rows = order[start : start + _ROWS]
            length = counts[rows[-1]]
            mask = (np.arange(length) < counts[rows, np.newaxis]).astype(np.int32)
            part = {"token_ids": ids[rows, :length], "segment_ids": np.zeros_like(mask), "padding_mask": mask}
            try:
                parts.append(self._graph.run(part))
            except RuntimeError as error:
                raise ServingError("INTERNAL", str(error)) from None
        answers = np.concatenate(parts)
        answers[order] = answers.copy()
        return answers


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
