"""Multi30k from English: an encoder-decoder trained from random weights, scored on test_2016_flickr.

    python benchmarks/translation.py --data ../shared/data --to de
    python benchmarks/translation.py --data ../shared/data --to fr

All text is in lower case. BLEU is sacrebleu's own, over its own words (13a), on lower-case text. Every stage is a
directory that is not made again; an interrupted training goes on.
"""

import gzip
import json
from pathlib import Path
from typing import Annotated

import machine
import typer

from tfllm import manifest
from tfllm.cli.finetune import finetune
from tfllm.cli.startup import start
from tfllm.cli.tokenizer import train_tokenizer
from tfllm.evaluation import evaluate_seq2seq
from tfllm.models import load_model
from tfllm.tokenizers import load_tokenizer

PARTS = ("train", "val", "test_2016_flickr")
VOCABULARY = 5000
TRAINING = {
    "size": "tiny",
    "epochs": 40,
    "batch_size": 256,
    "sequence_length": 64,
    "learning_rate": 3e-3,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "weight_decay": 0.01,
    "patience": 8,
}
DECODING = {"beam 5": {"num_beams": 5}, "greedy": {}}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    to: Annotated[str, typer.Option(help="de or fr.")] = "de",
    epochs: Annotated[int, typer.Option(help="Passes over the pairs, at most.")] = TRAINING["epochs"],
    size: Annotated[str, typer.Option(help="Of the model.")] = TRAINING["size"],
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs/translation"),
) -> None:
    start(quiet=False, verbose=False)
    runs = runs / to
    train, validation, test = (_write(data, part, to, runs) for part in PARTS)
    if not (runs / "tokenizer").is_dir():
        corpus = runs / "train.txt"
        corpus.write_text("\n".join(text for pair in _read(train) for text in pair), "utf-8")
        options = {"kind": "sentencepiece", "model_type": "bpe", "vocabulary_size": VOCABULARY}
        train_tokenizer(corpus, out=runs / "tokenizer", **options)
    arguments = {**TRAINING, "epochs": epochs, "size": size}
    out = runs / f"model-{size}"
    if not (out / manifest.FILE_NAME).is_file():
        files = {"validation": [str(validation)], "tokenizer": runs / "tokenizer"}
        finetune([str(train)], out, task="seq2seq", save_minutes=5.0, **files, **arguments)
    model, tokenizer = load_model(out), load_tokenizer(out)
    run = manifest.read_manifest(out, "model")["arguments"]["run"]
    sources, targets = zip(*_read(test), strict=True)
    result = {
        "machine": machine.describe(),
        "command": f"python benchmarks/translation.py --data ../shared/data --to {to} --epochs {epochs} --size {size}",
        "remark": remark,
        "arguments": {**arguments, "vocabulary_size": tokenizer.vocabulary_size},
        "parameters": model.count_params(),
        "seconds": run["seconds"],
        "validation": run["validation_scores"],
        "examples": len(sources),
        "scores": {},
    }
    for name, settings in DECODING.items():
        scores = evaluate_seq2seq(
            model, tokenizer, sources, targets, sequence_length=arguments["sequence_length"], **settings
        )
        written = scores.pop("predictions")
        (runs / f"{name.replace(' ', '_')}.txt").write_text("\n".join(written) + "\n", "utf-8")
        result["scores"][name] = scores
        print(name, scores, flush=True)
    result["example"] = {"source": sources[0], "target": targets[0], "written": written[0]}
    machine.save(f"translation_en_{to}", result)


def _write(data: Path, part: str, to: str, runs: Path) -> Path:
    """The pairs of a part in lower case as JSON lines; returns the file."""
    file = runs / f"{part}.jsonl"
    if not file.is_file():
        runs.mkdir(parents=True, exist_ok=True)
        columns = [_lines(data / "multi30k" / f"{part}.{language}.gz") for language in ("en", to)]
        rows = [{"source": source, "target": target} for source, target in zip(*columns, strict=True)]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return file


def _lines(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return [" ".join(line.lower().split()) for line in stream.read().strip().split("\n")]


def _read(file: Path) -> list[tuple[str, str]]:
    rows = map(json.loads, file.read_text("utf-8").splitlines())
    return [(row["source"], row["target"]) for row in rows]


if __name__ == "__main__":
    typer.run(main)
