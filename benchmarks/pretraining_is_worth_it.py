"""Is pretraining worth it? Fine-tuning from a pretrained encoder against fine-tuning from random weights.

For a language: a tokenizer and an encoder are trained on raw text, and the encoder is pretrained further on the
training texts of the tasks, without their labels (Gururangan et al. 2020, arXiv:2004.10964). Then every task is
fine-tuned from that encoder and from random weights with the same arguments, three seeds each, and scored on the task's
test part. A TF-IDF baseline is computed on the same split. Every finished stage is a directory and is not repeated when
the script is started again.

    python benchmarks/pretraining_is_worth_it.py --data ../shared/data --language en
"""

import statistics
from pathlib import Path
from typing import Annotated

import corpora
import machine
import typer

from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.pretrain import pretrain
from tfllm.cli.startup import start
from tfllm.cli.tokenizer import train_tokenizer
from tfllm.data import read_table
from tfllm.evaluation import baseline_scores
from tfllm.manifest import read_manifest

TASKS = {"en": corpora.ENGLISH_TASKS, "zh": corpora.CHINESE_TASKS}
TOKENIZERS = {
    "en": {"kind": "wordpiece", "vocabulary_size": 8000},
    "zh": {"kind": "sentencepiece", "vocabulary_size": 16000},
}
PRETRAINING = {
    "size": "tiny",
    "pre_norm": True,
    "batch_size": 32,
    "sequence_length": 128,
    "learning_rate": 2e-3,
    "dropout": 0.0,
    "whole_word": True,
}
ADAPTATION = {
    "batch_size": 32,
    "sequence_length": 128,
    "learning_rate": 1e-3,
    "dropout": 0.0,
    "whole_word": True,
    "text": "text",
}
FINETUNING = {
    "size": "tiny",
    "pre_norm": True,
    "epochs": 6,
    "batch_size": 32,
    "sequence_length": 128,
    "learning_rate": 1e-3,
    "monitor": "accuracy",
    "patience": 6,
}
SEEDS = (0, 1, 2)


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    steps: Annotated[int, typer.Option(help="Pretraining steps on the raw text.")] = 12000,
    adaptation_steps: Annotated[int, typer.Option(help="Pretraining steps on the tasks' training texts.")] = 2500,
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    runs = runs / language
    result = machine.load(f"pretraining_{language}") or {"command": machine.command_line(), "tasks": {}}
    result["machine"] = machine.describe()
    parts = {task: corpora.write_task(task, data, runs / task) for task in TASKS[language]}
    result["pretraining"] = _pretrain(language, data, runs, steps)
    result["adaptation"] = _adapt([train for train, _ in parts.values()], runs, adaptation_steps)
    machine.save(f"pretraining_{language}", result)
    for task, (train, test) in parts.items():
        rows = result["tasks"].setdefault(task, {"baselines": _baselines(train, test), "runs": []})
        for seed in SEEDS:
            for init in ("pretrained", "random"):
                if not any(run["init"] == init and run["seed"] == seed for run in rows["runs"]):
                    rows["runs"].append(_finetune(runs, task, init, seed, train, test))
                    machine.save(f"pretraining_{language}", result)
        for init in ("pretrained", "random"):
            accuracies = [run["accuracy"] for run in rows["runs"] if run["init"] == init]
            print(f"{task} {init}: {statistics.mean(accuracies):.4f} {accuracies}")


def _pretrain(language: str, data: Path, runs: Path, steps: int) -> dict:
    corpus = runs / "corpus.txt"
    if not corpus.is_file():
        runs.mkdir(parents=True, exist_ok=True)
        corpora.write_corpus(language, data, corpus)
    if not (runs / "tokenizer").is_dir():
        train_tokenizer(corpus, **TOKENIZERS[language], out=runs / "tokenizer")
    if not (runs / "pretrained").is_dir():
        pretrain([str(corpus)], runs / "pretrained", tokenizer=runs / "tokenizer", steps=steps, **PRETRAINING)
    run = read_manifest(runs / "pretrained", "model")["arguments"]["run"]
    return {"corpus_bytes": corpus.stat().st_size, "tokenizer": TOKENIZERS[language], "run": run}


def _adapt(texts: list[Path], runs: Path, steps: int) -> dict:
    if not (runs / "adapted").is_dir():
        pretrain([str(file) for file in texts], runs / "adapted", init=runs / "pretrained", steps=steps, **ADAPTATION)
    return {"run": read_manifest(runs / "adapted", "model")["arguments"]["run"]}


def _finetune(runs: Path, task: str, init: str, seed: int, train: Path, test: Path) -> dict:
    out = runs / f"{task}-{init}-{seed}"
    if not out.is_dir():
        source = {"init": runs / "adapted"} if init == "pretrained" else {"tokenizer": runs / "tokenizer"}
        finetune([str(train)], out, seed=seed, **source, **FINETUNING)
    scores = evaluate(out, [str(test)])
    return {
        "init": init,
        "seed": seed,
        "accuracy": scores["accuracy"],
        "macro_f1": scores["macro"]["f1"],
        "seconds": read_manifest(out, "model")["arguments"]["run"]["seconds"],
    }


def _baselines(train: Path, test: Path) -> dict:
    known, asked = read_table(train), read_table(test)
    return baseline_scores(known.texts, known.labels, asked.texts, asked.labels)


if __name__ == "__main__":
    typer.run(main)
