"""Is pretraining worth it? Fine-tuning from a pretrained encoder against fine-tuning from random weights.

For a language: a tokenizer and an encoder are trained on raw text, from which everything is taken out that repeats
itself or quotes a test part. Then every task is fine-tuned from that encoder and from random weights with the same
arguments, three seeds each, and scored on the task's test part. A TF-IDF baseline is computed on the same split. Every
finished stage is a directory and is not repeated when the script is started again; an unfinished one goes on.

    python benchmarks/pretraining_is_worth_it.py --data ../shared/data --language en
"""

import statistics
from pathlib import Path
from typing import Annotated

import corpora
import machine
import typer

from tfllm import average_models, load_model, load_tokenizer, manifest, save_model
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.pretrain import pretrain
from tfllm.cli.startup import start
from tfllm.cli.tokenizer import train_tokenizer
from tfllm.data import read_table, write_records
from tfllm.evaluation import baseline_scores

TASKS = {"en": corpora.ENGLISH_TASKS, "zh": corpora.CHINESE_TASKS}
TOKENIZER = {"kind": "wordpiece", "vocabulary_size": 8000}  # Chinese: characters
SEQUENCE_LENGTHS = {"en": 64, "zh": 128}  # tokens: what most texts of the tasks need
PRETRAINING = {
    "en": {"size": "mini", "learning_rate": 1e-3, "steps": 24000, "tokens_per_step": 4096},
    "zh": {"size": "mini", "learning_rate": 1e-3, "steps": 8000, "tokens_per_step": 4096},
}
FINETUNING = {
    "en": {"size": "mini", "learning_rate": 5e-4},
    "zh": {"size": "mini", "learning_rate": 5e-4},
}
FOR_ALL = {
    "pre_norm": True,
    "epochs": 6,
    "batch_size": 32,
    "sequence_length": 128,
    "monitor": "accuracy",
    "patience": 6,
}
SEEDS = (0, 1, 2)


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    runs = runs / language
    result = machine.load(f"pretraining_{language}") or {"command": machine.command_line(), "tasks": {}}
    result["machine"] = machine.describe()
    parts = {task: corpora.write_task(task, data, runs / task) for task in TASKS[language]}
    result["pretraining"] = _pretrain(language, data, runs, [test for _, test in parts.values()])
    machine.save(f"pretraining_{language}", result)
    for task, (train, test) in parts.items():
        rows = result["tasks"].setdefault(task, {"baselines": _baselines(train, test), "runs": []})
        for seed in SEEDS:
            for init in ("pretrained", "random"):
                if not any(run["init"] == init and run["seed"] == seed for run in rows["runs"]):
                    rows["runs"].append(_finetune(language, runs, task, init, seed, train, test))
                    machine.save(f"pretraining_{language}", result)
        if "ensemble" not in rows:
            rows["ensemble"] = _average(runs, task, test)
            machine.save(f"pretraining_{language}", result)
        for init in ("pretrained", "random"):
            accuracies = [run["accuracy"] for run in rows["runs"] if run["init"] == init]
            print(f"{task} {init}: {statistics.mean(accuracies):.4f} {accuracies}")


def _pretrain(language: str, data: Path, runs: Path, tests: list[Path]) -> dict:
    corpus, length = runs / "corpus.txt", SEQUENCE_LENGTHS[language]
    if not corpus.is_file():
        runs.mkdir(parents=True, exist_ok=True)
        corpora.write_corpus(language, data, corpus)
    if not (runs / "tokenizer").is_dir():
        train_tokenizer(corpus, **TOKENIZER, out=runs / "tokenizer")
    if not (runs / "records" / manifest.FILE_NAME).is_file():
        cleaning = {"deduplicate": "exact", "remove_texts_of": [str(test) for test in tests]}
        write_records(corpus, runs / "tokenizer", runs / "records", sequence_length=length, **cleaning)
    if not (runs / "pretrained" / manifest.FILE_NAME).is_file():
        chosen = dict(PRETRAINING[language])
        pretrain(
            [str(runs / "records")],
            runs / "pretrained",
            tokenizer=runs / "tokenizer",
            batch_size=chosen.pop("tokens_per_step") // length,
            pre_norm=True,
            dropout=0.0,
            warmup_share=0.02,
            **chosen,
        )
    run = manifest.read_manifest(runs / "pretrained", "model")["arguments"]["run"]
    return {"corpus_bytes": corpus.stat().st_size, "tokenizer": TOKENIZER, "sequence_length": length, "run": run}


def _finetune(language: str, runs: Path, task: str, init: str, seed: int, train: Path, test: Path) -> dict:
    out = runs / f"{task}-{init}-{seed}"
    if not (out / manifest.FILE_NAME).is_file():
        source = {"init": runs / "pretrained"} if init == "pretrained" else {"tokenizer": runs / "tokenizer"}
        finetune([str(train)], out, seed=seed, **source, **FINETUNING[language], **FOR_ALL)
    scores = evaluate(out, [str(test)])
    return {
        "init": init,
        "seed": seed,
        "accuracy": scores["accuracy"],
        "macro_f1": scores["macro"]["f1"],
        "seconds": manifest.read_manifest(out, "model")["arguments"]["run"]["seconds"],
    }


def _average(runs: Path, task: str, test: Path) -> float:
    """Accuracy of the pretrained models of all seeds as one, the mean of their answers: `tfllm finetune --ensemble`."""
    out = runs / f"{task}-ensemble"
    if not (out / manifest.FILE_NAME).is_file():
        members = [runs / f"{task}-pretrained-{seed}" for seed in SEEDS]
        run = manifest.read_manifest(members[0], "model")["arguments"]["run"]
        save_model(average_models([load_model(member) for member in members]), out, load_tokenizer(members[0]), run=run)
    return evaluate(out, [str(test)])["accuracy"]


def _baselines(train: Path, test: Path) -> dict:
    known, asked = read_table(train), read_table(test)
    return baseline_scores(known.texts, known.labels, asked.texts, asked.labels)


if __name__ == "__main__":  # the records are written by processes that import this file
    typer.run(main)
