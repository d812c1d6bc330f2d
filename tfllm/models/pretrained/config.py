"""`config.json` of a checkpoint, read with a type and a range for every value.

In: a parsed JSON object. Out: values; InputError names the file, the value and what it may be.
"""

import math
from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError

MOST = {  # far beyond any published encoder, and small enough that sizes can be multiplied and names listed
    "layers": 256,
    "heads": 1_024,
    "width": 65_536,
    "positions": 1_000_000,
    "vocabulary": 10_000_000,
    "segments": 1_024,
    "labels": 100_000,
}
ACTIVATIONS = {  # theirs -> ours; every "gelu" but the first is the tanh approximation
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
    "swish": "silu",
    "silu": "silu",
}
_NOT_READ = {  # what makes another model of an architecture, and the values with which it is the usual one
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "position_embedding_type": ("absolute", None),
    "quantization_config": (None,),
    "auto_map": (None, {}),  # names Python files, which are not run
}


class Config(NamedTuple):
    """The values of a `config.json`."""

    file: Path
    values: dict

    def integer(self, name: str, kind: str, default: int | None = None) -> int:
        """A whole number from 1 to what `MOST` allows for its kind."""
        value = self.values.get(name, default)
        if type(value) is not int or not 1 <= value <= MOST[kind]:
            raise self._error(name, f"a whole number from 1 to {MOST[kind]:,}")
        return value

    def identifier(self, name: str, default: int) -> int:
        """A token id; the default where the file has null."""
        value = default if self.values.get(name) is None else self.values[name]
        if type(value) is not int or not 0 <= value < MOST["vocabulary"]:
            raise self._error(name, "a token id")
        return value

    def number(self, *names: str, default: float, most: float = 1.0) -> float:
        """A number from 0 to `most`: the first of these that is there and not null."""
        name = next((name for name in names if self.values.get(name) is not None), names[0])
        value = default if self.values.get(name) is None else self.values[name]
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= most:
            raise self._error(name, f"a number from 0 to {most}")
        return float(value)

    def activation(self, name: str, default: str) -> str:
        """The name of an activation, as `build_encoder` calls it."""
        value = self.values.get(name, default)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self._error(name, f"one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[value]

    def truth(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.values.get(name, default)
        if type(value) is not bool:
            raise self._error(name, "true or false")
        return value

    def word(self, name: str) -> str:
        """A string."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self._error(name, "a string")
        return value

    def check_usual(self, *, encoder_decoder: bool = False) -> None:
        """Raise InputError if the model is a variant that is not read: a decoder, quantised, with code of its own."""
        self.check_values({**_NOT_READ, "is_encoder_decoder": (encoder_decoder, None)})

    def check_values(self, usual: dict[str, tuple]) -> None:
        """Raise InputError for a value that is not one of the usual ones, by its name; None stands for no value."""
        for name, values in usual.items():
            if self.values.get(name) not in values:
                raise self._error(name, "absent: tfllm does not read such a model")

    def labels(self) -> list[str] | None:
        """The names of the labels in the order of the logits; None if the file names none."""
        names = self.values.get("id2label")
        if names is None:
            return None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise self._error("id2label", "an object from numbers to names")
        if len(names) > MOST["labels"] or set(names) != set(map(str, range(len(names)))):
            raise self._error("id2label", f"an object with the keys 0, 1, 2 and so on, at most {MOST['labels']:,}")
        return [names[str(number)] for number in range(len(names))]

    def _error(self, name: str, rule: str) -> InputError:
        shown = repr(self.values[name]) if name in self.values else "nothing"
        return InputError(f"{self.file}: `{name}` must be {rule}. Received: {shown[:100]}.")
