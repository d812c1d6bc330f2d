"""Fixtures of the tests of tasks."""

import keras
import pytest

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
