"""Tiny Shakespeare at byte level: a small decoder, trained on the first 90 % and scored on the last 10 %.

    python benchmarks/shakespeare.py --data ../shared/data

Every stage is a directory that is not made again; an interrupted training goes on. The text is ASCII, so that a byte is
a character. The reference is nanoGPT, whose setting for a laptop's processor reaches 1.88 nats per character.
"""

import gzip
from pathlib import Path
from typing import Annotated

import machine
import typer

from tfllm import manifest
from tfllm.cli.pretrain import pretrain
from tfllm.cli.startup import start
from tfllm.cli.tokenizer import train_tokenizer
from tfllm.evaluation import evaluate_causal_lm
from tfllm.models import load_model
from tfllm.tokenizers import load_tokenizer

VOCABULARY = 260  # every byte, and four special tokens
LENGTH = 256  # tokens in a row
TRAINING = {
    "size": "mini",
    "batch_size": 32,
    "sequence_length": LENGTH,
    "learning_rate": 2e-3,
    "warmup_share": 0.05,
    "weight_decay": 0.1,
    "dropout": 0.1,
}
PROMPT = "ROMEO:\n"


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 2200,
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs/shakespeare"),
) -> None:
    start(quiet=False, verbose=False)
    train, test = _parts(data, runs)
    if not (runs / "tokenizer").is_dir():
        train_tokenizer(train, kind="byte-bpe", vocabulary_size=VOCABULARY, out=runs / "tokenizer")
    arguments = {**TRAINING, "steps": steps}
    if not (runs / "model" / manifest.FILE_NAME).is_file():
        pretrain(
            [str(train)],
            runs / "model",
            tokenizer=runs / "tokenizer",
            objective="causal",
            document="file",
            held_out=0.0,
            **arguments,
        )
    model, tokenizer = load_model(runs / "model"), load_tokenizer(runs / "model")
    scores = evaluate_causal_lm(model, tokenizer, [test.read_text("utf-8")], sequence_length=LENGTH)
    run = manifest.read_manifest(runs / "model", "model")["arguments"]["run"]
    result = {
        "command": machine.command_line(),
        "remark": remark,
        "machine": machine.describe(),
        "arguments": arguments,
        "parameters": model.count_params(),
        "characters": {part: len(file.read_text("utf-8")) for part, file in (("train", train), ("test", test))},
        "seconds": run["seconds"],
        "training": run["training"],
        "scores": scores,
    }
    machine.save("shakespeare", result)
    print(result)


def _parts(data: Path, runs: Path) -> tuple[Path, Path]:
    """The first nine tenths of the characters and the last, as files."""
    runs.mkdir(parents=True, exist_ok=True)
    text = gzip.decompress((data / "tiny_shakespeare" / "input.txt.gz").read_bytes()).decode()
    cut = len(text) * 9 // 10
    files = runs / "train.txt", runs / "test.txt"
    for file, part in zip(files, (text[:cut], text[cut:]), strict=True):
        file.write_text(part, "utf-8")
    return files


if __name__ == "__main__":
    typer.run(main)
