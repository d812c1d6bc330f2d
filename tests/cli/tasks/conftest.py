"""Fixtures of the tests of tasks."""

import keras
import pytest

from tfllm import load_model, load_tokenizer, manifest
from tfllm.generation.text import TextWriter


@pytest.fixture
def model_calls(monkeypatch):
    """A list that grows whenever Python computes a functional model, or writes with one: while that is traced, not when
    its trace is run.
    """
    calls = []
    for kind, name in ((type(keras.Model(*[keras.Input((1,))] * 2)), "call"), (TextWriter, "write")):
        method = getattr(kind, name)

        def counted(*given, method=method, **named):
            calls.append(method)
            return method(*given, **named)

        monkeypatch.setattr(kind, name, counted)
    return calls


@pytest.fixture
def check_traced_once(model_calls):
    """`check_traced_once(task, model directory, data)`: a training's validation, asked again with other weights, is not
    traced anew and scores the new weights. Returns the arguments of the training.
    """

    def check(task, directory, data) -> dict:
        run = manifest.read_manifest(directory, "model")["arguments"]["run"]
        model, tokenizer = load_model(directory), load_tokenizer(directory)
        given = model, tokenizer, task.read([str(data)], run), {}, run
        validate = task.validator(*given)
        first, traced = validate(), len(model_calls)
        for weight in model.trainable_weights:
            weight.assign(weight * 0.5)
        second = validate()
        assert len(model_calls) == traced
        assert second["loss"] != first["loss"] and second == task.validator(*given)()
        return run

    return check
