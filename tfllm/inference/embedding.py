"""A model's vectors."""

import numpy as np

OUTPUTS = ("embedding",)  # of serving_default


def to_rows(inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """For each text its `embedding`, a list of D numbers."""
    return [
        {"text": text, "embedding": vector.tolist()}
        for text, vector in zip(inputs["text"], outputs["embedding"], strict=True)
    ]
