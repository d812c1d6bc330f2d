"""Every understanding task, fine-tuned from one encoder and scored on its test part, beside the data's floor.

    python benchmarks/understanding.py --data ../shared/data --init benchmarks/runs/en/pretrained --name scratch-en
    python benchmarks/understanding.py --data ../shared/data --init minilm --name minilm --kind sentences --only stsb-en

Every finished task is kept in `benchmarks/results/understanding_NAME.json` and not repeated unless its arguments have
changed; an unfinished one goes on.
"""

from pathlib import Path
from typing import Annotated

import machine
import typer
from understanding_tasks import TASKS, write_task

from tfllm import manifest
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.startup import start

# What suits an encoder of this project's own benchmarks, and a published one, unless a task says otherwise.
KINDS = {
    "scratch": {"learning_rate": 5e-4, "epochs": 10},
    "published": {"learning_rate": 1e-4, "epochs": 5},
    "sentences": {"learning_rate": 1e-4, "epochs": 5},  # published, and trained to give sentences vectors
}
COMMON = {"batch_size": 32, "sequence_length": 128, "patience": 3, "layer_decay": 0.9}

_TOLD = ("learning_rate", "epochs", "batch_size", "sequence_length", "task")


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    init: Annotated[Path, typer.Option(help="The encoder: a model directory.")],
    name: Annotated[str, typer.Option(help="What the result is called.")],
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    kind: Annotated[str, typer.Option(help="scratch, published or sentences: which arguments.")] = "scratch",
    only: Annotated[list[str] | None, typer.Option(help="These tasks.")] = None,
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    result = machine.load(f"understanding_{name}") or {"tasks": {}}
    result |= {"machine": machine.describe(), "encoder": _described(init), "remark": remark}
    result["command"] = (
        f"python benchmarks/understanding.py --data ../shared/data --init {init.name} --name {name} "
        f"--language {language} --kind {kind}"
    )
    for task in only or [task for task in TASKS if TASKS[task].language == language]:
        arguments = suited(task, kind)
        if not _is_measured(result["tasks"].get(task), arguments):
            result["tasks"][task] = measure(task, data, init, runs / name, arguments)
            machine.save(f"understanding_{name}", result)


def suited(name: str, kind: str) -> dict:
    """The arguments of `tfllm finetune` for a task and a kind of encoder."""
    task = TASKS[name]
    return {**COMMON, **KINDS[kind], **((kind == "sentences" and task.sentences) or task.arguments)}


def _is_measured(found: dict | None, arguments: dict) -> bool:
    return bool(found) and all(found["arguments"][key] == arguments[key] for key in found["arguments"])


def measure(name: str, data: Path, init: Path, runs: Path, arguments: dict, variant: str = "") -> dict:
    """Fine-tune for a task, unless that is done, and score on its test part; a `variant` has a directory of its own."""
    task = TASKS[name]
    vectors = "" if arguments["task"] == task.arguments["task"] else f"-{arguments['task']}"
    out = runs / f"{name}{vectors}{variant}"
    files = write_task(name, data, runs / "data")
    if not (out / manifest.FILE_NAME).is_file():
        validation = {"validation": [str(file) for file in files.validation]} if files.validation else {}
        finetune([str(file) for file in files.train], out, init=init, **validation, **arguments)
    scores = evaluate(out, [str(file) for file in files.test], on_bad_rows=arguments.get("on_bad_rows", "error"))
    run = manifest.read_manifest(out, "model")["arguments"]["run"]
    found = {score: scores[score] for score in task.scores}
    print(name, found, flush=True)
    return {
        "scores": found,
        "examples": scores["examples"],
        "floor": task.floor,
        "arguments": {key: arguments[key] for key in _TOLD},
        "seconds": run["seconds"],
    }


def _described(init: Path) -> dict:
    arguments = manifest.read_manifest(init, "model")["arguments"]
    encoder = arguments["recipe"]["encoder"] or arguments["recipe"]
    sizes = ("num_layers", "hidden_dim", "vocabulary_size")
    return {name: encoder["arguments"].get(name) for name in sizes} | {"steps": arguments["run"].get("steps")}


if __name__ == "__main__":
    typer.run(main)
