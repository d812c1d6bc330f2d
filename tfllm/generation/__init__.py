"""Writing text with a language model: the next token chosen again and again, by TensorFlow operations that export.

The names are imported when they are used: asking a SavedModel must not import Keras.
"""

import importlib

_MODULES = {"Sampling": "choose", "TextGenerator": "text_generator", "TextWriter": "text"}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
