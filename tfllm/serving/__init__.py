"""A local server with TF Serving's REST and gRPC API, and a client for either; never Keras.

The names are imported when they are used: a client of REST needs no TensorFlow.
"""

import importlib

_MODULES = {
    "Batching": "batching",
    "Client": "client",
    "Limits": "limits",
    "ModelConfig": "config",
    "ServingError": "errors",
    "Settings": "server",
    "find_models": "config",
    "read_config": "config",
    "serve": "server",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
