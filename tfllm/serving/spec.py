"""Which model a request asks."""

from typing import NamedTuple


class ModelSpec(NamedTuple):
    """A model: of a version, or of a label's version, or the latest.

    Attributes:
        signature_name: "" is `serving_default`.
    """

    name: str
    version: int | None = None
    label: str | None = None
    signature_name: str = ""
