"""SavedModels for TF Serving: written, checked in a clean process, asked from Python; directories for transformers.

The names are imported when they are used: asking a SavedModel must not import Keras.
"""

import importlib

_MODULES = {
    "Predictor": "predict",
    "SavedGenerator": "generate",
    "check_savedmodel": "check",
    "export_huggingface": "huggingface",
    "export_savedmodel": "savedmodel",
    "load_generator": "generate",
    "predict_texts": "predict",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
