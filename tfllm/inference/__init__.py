"""Model and tokenizer -> functions from strings to answers, in TensorFlow operations.

Evaluation scores these functions, `tfllm predict` prints what they say, and an export saves them: what is measured is
what is served. A task has a file of its name here, with two functions:

    build_signatures(model, arguments, tokenizer, sequence_length) -> dict[str, Signature]
    to_rows(inputs, outputs) -> list of dicts, one for every row, as a person wants to read them

and OUTPUTS, the names of what its `serving_default` gives.

The names are imported when they are used: asking a SavedModel must not import Keras.
"""

import importlib

_MODULES = {
    "Signature": "signatures",
    "build_signatures": "signatures",
    "choose_length": "signatures",
    "task_of": "tasks",
    "to_rows": "tasks",
}
__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
