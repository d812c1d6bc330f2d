"""Does a SavedModel of every kind run under another TensorFlow? TF Serving 2.20 embeds TensorFlow 2.20.

    make serving-proof

SavedModels with random weights are exported here, with the newest TensorFlow; the other Python, which has TensorFlow
and tensorflow-text only, repeats their warm-up requests in three ways and must give the same answers.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import keras
import machine
import numpy as np
import typer

from tfllm import models
from tfllm.data.samples import sample_path
from tfllm.export import export_savedmodel
from tfllm.export.replay import find_problems
from tfllm.export.requests import read_warm_up
from tfllm.tokenizers import Tokenizer, train_wordpiece

SIZE = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 64, "max_sequence_length": 48}
LABELS = ["negative", "positive", "中性"]
KINDS = {  # task -> a model, made of an encoder or of a tokenizer's vocabulary
    "classification": lambda encoder, _: models.add_classifier_head(encoder, LABELS),
    "classification of pairs": lambda encoder, _: models.add_classifier_head(encoder, LABELS, pairs=True),
    "multilabel": lambda encoder, _: models.add_multilabel_head(encoder, LABELS),
    "regression": lambda encoder, _: models.add_regression_head(encoder),
    "tagging": lambda encoder, _: models.add_tagger_head(encoder, ["LOC", "PER"]),
    "question_answering": lambda encoder, _: models.add_span_head(encoder),
    "multiple_choice": lambda encoder, _: models.add_choice_head(encoder),
    "fill_mask": lambda encoder, _: models.add_masked_lm_head(encoder),
    "embedding": lambda encoder, _: models.add_embedding_head(encoder),
    "generation": lambda _, vocabulary: models.add_causal_lm_head(models.build_decoder(vocabulary, **SIZE)),
    "seq2seq": lambda _, vocabulary: models.add_seq2seq_head(models.build_encoder_decoder(vocabulary, **SIZE)),
}
_VERSIONS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({name: m.version(name) for name in ('tensorflow', 'tensorflow-text', 'numpy')}))"
)


def main(
    other: Annotated[Path, typer.Argument(help="Python that has the other TensorFlow.")],
    kinds: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(KINDS),
) -> None:
    versions = json.loads(subprocess.check_output([other, "-c", _VERSIONS], text=True))
    tokenizer = train_wordpiece(sample_path("text_en.txt").read_text("utf-8").split("\n"), vocabulary_size=300)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds.split(","):
            found[kind] = prove(kind, tokenizer, Path(folder, kind), other)
            print(kind, found[kind], flush=True)
    result = {"machine": machine.describe(), "command": "make serving-proof", "other": versions, "kinds": found}
    machine.save("serving_proof", result)
    if any(problem for one in found.values() for problem in one["problems"].values()):
        raise SystemExit("Not all answers are those expected.")


def prove(kind: str, tokenizer: Tokenizer, directory: Path, other: Path) -> dict:
    """How many `requests` a model of one of the KINDS, exported to a directory, was asked by another Python, and the
    `problems`: what is wrong with the answers, by the way it was asked; empty texts where they are those given here."""
    keras.utils.set_random_seed(0)
    model = KINDS[kind](models.build_encoder(tokenizer.vocabulary_size, **SIZE), tokenizer.vocabulary_size)
    version = export_savedmodel(_randomized(model), tokenizer, directory, sequence_length=32)
    requests = read_warm_up(version)
    return {"requests": len(requests), "problems": find_problems(version, requests, str(other))}


def _randomized(model: keras.Model) -> keras.Model:
    """With large weights, so that other texts have other answers."""
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.5, weight.shape))
    return model


if __name__ == "__main__":
    typer.run(main)
