"""What a published sentence encoder does here: its own score from strings, and adapters beside full tuning.

    tfllm import hf:sentence-transformers/all-MiniLM-L6-v2 --out minilm
    python benchmarks/published_encoders.py --data ../shared/data --init minilm

Spearman correlation on the test part of the STS benchmark, of the SavedModel of the encoder as it was imported. Then
trec and ag_news, all weights trained, adapters of rank 8 only, and three seeds as one model. Every finished part is
kept in `benchmarks/results/published_encoders.json` and not repeated; an unfinished training goes on.
"""

import csv
import time
from pathlib import Path
from typing import Annotated

import machine
import typer
from understanding import measure, suited

from tfllm.cli.startup import start

RANK = 8
TASKS = ("trec", "ag_news")
# Few weights take a higher learning rate, and some more passes.
ADAPTERS = {"lora_rank": RANK, "learning_rate": 1e-3, "epochs": 10, "layer_decay": 1.0}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    init: Annotated[Path, typer.Option(help="The encoder: a model directory that `tfllm import` wrote.")],
    only: Annotated[list[str] | None, typer.Option(help="savedmodel, trec, ag_news. Default: all.")] = None,
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    name = "published_encoders"
    result = machine.load(name) or {"parts": {}}
    result |= {"machine": machine.describe(), "remark": remark or result.get("remark", "")}
    result["command"] = f"python benchmarks/{name}.py --data ../shared/data --init {init.name}"
    wanted = only or ["savedmodel", *TASKS]
    parts = {"savedmodel": lambda: score_savedmodel(init, data / "stsb/stsb-en-test.csv", runs / name)}
    for task in TASKS:
        full, adapters = suited(task, "published"), {**suited(task, "published"), **ADAPTERS}
        parts[task] = lambda task=task, full=full: measure(task, data, init, runs / name, full)
        parts[f"{task}, adapters"] = lambda task=task, adapters=adapters: {
            **measure(task, data, init, runs / name, adapters, "-adapters"),
            **count_trained(runs / name / f"{task}-adapters", init),
        }
        together = {**full, "seeds": 3, "ensemble": True}
        parts[f"{task}, ensemble of 3"] = lambda task=task, together=together: measure(
            task, data, init, runs / name, together, "-ensemble"
        )
    for part, run in parts.items():
        if part.split(",")[0] in wanted and part not in result["parts"]:
            result["parts"][part] = run()
            machine.save(name, result)


def score_savedmodel(init: Path, file: Path, runs: Path) -> dict:
    """Correlation of the cosines of a SavedModel's vectors with the scores of pairs."""
    import numpy as np
    from scipy.stats import pearsonr, spearmanr

    from tfllm import Predictor, export_savedmodel, load_model, load_tokenizer, manifest

    savedmodel = runs / "savedmodels" / init.name
    if not savedmodel.exists():
        length = manifest.read_manifest(init, "model")["arguments"]["run"].get("sequence_length")
        export_savedmodel(load_model(init), load_tokenizer(init), savedmodel, sequence_length=length)
    with open(file, encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    ask = Predictor(savedmodel)
    started = time.monotonic()
    first, second = (
        np.array([row["embedding"] for row in ask.predict(text=[row[column] for row in rows])]) for column in (0, 1)
    )
    seconds = time.monotonic() - started
    cosines = (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    scores = [float(row[2]) for row in rows]
    found = {"spearman": spearmanr(cosines, scores).statistic, "pearson": pearsonr(cosines, scores).statistic}
    print(found, flush=True)
    return {"scores": {name: float(value) for name, value in found.items()}, "examples": len(rows), "seconds": seconds}


def count_trained(directory: Path, init: Path) -> dict:
    """How many parameters a training with adapters changed, and how many the model has."""
    from tfllm import add_adapters, add_classifier_head, load_encoder, manifest

    head = manifest.read_manifest(directory, "model")["arguments"]["recipe"]["arguments"]
    model = add_classifier_head(load_encoder(init), **head)
    parameters = model.count_params()
    add_adapters(model, RANK)
    trained = sum(weight.shape.num_elements() for weight in model.trainable_variables)
    return {"trained": int(trained), "parameters": int(parameters)}


if __name__ == "__main__":
    typer.run(main)
