"""Answers to texts, from a tfllm model directory or from a SavedModel.

A SavedModel is asked without tfllm importing Keras or KerasHub: what answers is what TF Serving would run.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError, check_exists, check_texts
from tfllm.export.check import FACTS_FILE, KIND
from tfllm.export.clean_process import load_text_ops
from tfllm.export.columns import columns_of
from tfllm.export.ops import check_ops
from tfllm.export.versions import find_version
from tfllm.inference.tasks import module_of, task_of

_BATCH_SIZE = 32


def predict_texts(directory: str | Path, texts: Sequence[str], *, trust: bool = False) -> list[dict]:
    """Ask a model that takes one text a row; see `Predictor`."""
    return Predictor(directory, trust=trust).predict(text=texts)


class Predictor:
    """A model ready to answer.

    Args:
        directory: a model directory, `savedmodels/NAME` (its highest version answers) or `savedmodels/NAME/VERSION`.
        trust: True also runs a SavedModel that tfllm did not write or whose files have changed. A SavedModel is code:
            it can read and write files.

    Attributes:
        task: "classification", "tagging", ...: the name of the file in `tfllm.inference` that describes the answers.
        inputs: the names of the texts it asks for: text, text_pair, question, context, ...
        columns: those it was trained with, by input, where the training named them.

    Raises:
        InputError: when there is no model, or it is damaged or not trusted.
    """

    def __init__(self, directory: str | Path, *, trust: bool = False):
        directory = Path(directory)
        check_exists(directory)
        if is_model(directory):
            self.task, self._function, self._specs, run = _from_model(directory)
        else:
            self.task, self._function, self._specs, run = _from_savedmodel(find_version(directory), trust)
        self.inputs = list(self._specs)
        self.columns = columns_of(run, self.task, self.inputs)

    def predict(self, **inputs: Sequence[str]) -> list[dict]:
        """Ask.

        Args:
            inputs: a list for every name in `inputs`, all of one length; of strings, or of lists of strings where the
                model asks for several, `choices` say.

        Returns:
            For each row a dict with its texts and the answer, as `to_rows` of the task tells.

        Raises:
            InputError: when a list is missing, not asked for, shorter than another, or does not hold what it must.
        """
        self._check(inputs)
        columns = [
            list(inputs[name]) if spec.shape.rank == 1 else _string_lists(name, inputs[name])
            for name, spec in self._specs.items()
        ]
        results = []
        for start in range(0, len(columns[0]), _BATCH_SIZE):
            batch = {
                name: column[start : start + _BATCH_SIZE] for name, column in zip(self.inputs, columns, strict=True)
            }
            outputs = self._function(**{name: _strings(column) for name, column in batch.items()})
            results += module_of(self.task).to_rows(batch, {name: value.numpy() for name, value in outputs.items()})
        return results

    def _check(self, inputs: dict[str, Sequence[str]]) -> None:
        for name, column in inputs.items():
            check_texts(name, column)
        lengths = {name: len(column) for name, column in inputs.items()}
        if set(inputs) != set(self.inputs) or len(set(lengths.values())) > 1:
            raise InputError(
                f"This model asks for {' and '.join(self.inputs)}, as many of each. Received: "
                + (", ".join(f"{count} of {name}" for name, count in lengths.items()) or "nothing")
                + "."
            )


def _strings(column: list) -> tf.Tensor:
    """string (B,), or (B, C) of B lists, the shorter ones filled up with ""; half a surrogate pair becomes "?"."""
    if isinstance(column[0], list):
        longest = max(map(len, column))
        column = [row + [""] * (longest - len(row)) for row in column]
    encode = np.vectorize(lambda text: text.encode("utf-8", "replace"), otypes=[object])
    return tf.constant(encode(np.array(column, object)))


def _string_lists(name: str, column: Sequence) -> list[list[str]]:
    """A list of strings for each row; a text is read as JSON."""
    lists = []
    for value in column:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
            raise InputError(
                f"`{name}` must be a list of strings for each row, in a text written as JSON. Received: {value!r}."
            )
        lists.append(found)
    return lists


_Found = tuple[str, Callable[..., dict[str, tf.Tensor]], dict[str, tf.TensorSpec], dict]


def _from_model(directory: Path) -> _Found:
    """Task, what answers, what it asks for, and the arguments of the training."""
    from tfllm.inference.signatures import build_signatures, choose_length
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    model = load_model(directory)
    arguments = manifest.read_manifest(directory, "model")["arguments"]
    length = choose_length(model, arguments["run"].get("sequence_length"))
    signature = build_signatures(model, load_tokenizer(directory), length)["serving_default"]
    function = tf.function(lambda **inputs: signature.function(**inputs), autograph=False, reduce_retracing=True)
    concrete = function.get_concrete_function(**signature.inputs)
    task, run = task_of(arguments["recipe"]["builder"]), arguments["run"]
    return task, lambda **inputs: concrete(**inputs), signature.inputs, run


def _from_savedmodel(savedmodel: Path, trust: bool) -> _Found:
    loaded, facts = open_savedmodel(savedmodel, trust=trust)
    task = facts.get("task", "classification")
    function = loaded.signatures.get("serving_default")
    if not set(getattr(function, "structured_outputs", ())) >= set(module_of(task).OUTPUTS):
        raise InputError(f"{savedmodel} is no {task} model of tfllm: its serving_default gives something else.")
    specs = function.structured_input_signature[1]
    order = facts.get("inputs", ())
    specs = {name: specs[name] for name in (order if set(order) == set(specs) else specs)}
    run = facts.get("columns")
    run = run if isinstance(run, dict) else {}

    def ask(**inputs):
        return loaded.signatures["serving_default"](**inputs)  # holds `loaded`: its variables

    return task, ask, specs, run


def open_savedmodel(savedmodel: Path, *, trust: bool = False) -> tuple[tf.Module, dict]:
    """A SavedModel, which must be held as long as its signatures are used, and what is written beside its graph.

    Raises:
        InputError: unless it is tfllm's and as it was written, or trusted.
    """
    if not trust:
        _check_ours(savedmodel)
    facts = _read_facts(savedmodel)
    load_text_ops()
    return tf.saved_model.load(str(savedmodel)), facts


def is_model(directory: str | Path) -> bool:
    """Whether a path is a finished model directory."""
    try:
        manifest.read_manifest(directory, "model")
    except InputError:
        return False
    return True


def _read_facts(savedmodel: Path) -> dict:
    """What is written beside the graph; a SavedModel without that is taken for a classifier."""
    file = savedmodel / FACTS_FILE
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _check_ours(savedmodel: Path) -> None:
    try:
        manifest.check_files(savedmodel, manifest.read_manifest(savedmodel, KIND))
        check_ops(savedmodel)
    except InputError as error:
        raise InputError(
            f"{error}\nA SavedModel is code. If you know where {savedmodel} comes from, run it with --trust."
        ) from None
