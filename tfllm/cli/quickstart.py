"""`tfllm quickstart`: the whole chain on the sample data, from raw text to answers of a SavedModel."""

import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tfllm import checks, manifest
from tfllm.cli import options
from tfllm.cli.startup import load_tensorflow

_TRY = {
    "en": (
        "The kettle boils fast and still looks new after a year.",
        "It broke on the second day and nobody answered my letters.",
        "Friendly staff, a quiet room, and the best breakfast of the whole trip.",
    ),
    "zh": (
        "用了一年还跟新的一样，非常满意。",
        "第二天就坏了，客服也不理人，太失望了。",
        "房间安静，早餐好吃，下次还来。",
    ),
}


def quickstart(
    out: Annotated[Path, typer.Option(help="Directory to write; it must not exist.")] = Path("quickstart"),
    language: Annotated[str, typer.Option(help="en or zh: which sample data.")] = "en",
    pretraining_steps: Annotated[int, typer.Option(help="More steps, better model, more time.")] = 400,
    seed: options.Seed = 0,
) -> dict:
    """Raw text to served model, on sample data, in a few minutes: see every stage once."""
    from tfllm.cli.tokenizer import train_tokenizer

    checks.check_one_of("language", language, _TRY)
    manifest.check_free(out)
    load_tensorflow()
    from tfllm.cli.evaluate import evaluate
    from tfllm.cli.export import export
    from tfllm.cli.finetune import finetune
    from tfllm.cli.predict import predict
    from tfllm.cli.pretrain import pretrain
    from tfllm.data import read_table
    from tfllm.evaluation import baseline_scores

    console, started = Console(highlight=False), time.monotonic()
    text, reviews, test = _copy_samples(out / "data", language)
    name = out / "savedmodels" / "reviews"

    def run(command: str, function: Callable, *arguments, **flags):
        """Show a command as a user would type it, then call its function with the same arguments."""
        words = [*map(str, arguments), *(word for flag, value in flags.items() for word in _words(flag, value))]
        seconds = f"{time.monotonic() - started:5.0f} s"
        console.print(f"\n[bold]{seconds}  [cyan]tfllm {command} {escape(shlex.join(words))}", soft_wrap=True)
        return function(*arguments, **flags)

    run(
        "tokenizer train",
        lambda *corpus, **flags: train_tokenizer(corpus, **flags),
        text,
        reviews,
        vocabulary_size=4000,
        out=out / "tokenizer",
    )
    run(
        "pretrain",
        pretrain,
        data=[text, reviews],
        tokenizer=out / "tokenizer",
        size="mini",
        pre_norm=True,
        steps=pretraining_steps,
        batch_size=16,
        held_out=0.03,
        seed=seed,
        out=out / "pretrained",
    )
    run(
        "finetune",
        finetune,
        task="classify",
        data=[reviews],
        init=out / "pretrained",
        epochs=8,
        batch_size=16,
        seed=seed,
        out=out / "classifier",
    )
    scores = run("evaluate", evaluate, out / "classifier", data=[test])
    run("export", export, out / "classifier", out=name)
    run("predict", lambda model, *texts: predict(model, list(texts)), name, *_TRY[language])

    train, held = read_table(reviews), read_table(test)
    baselines = baseline_scores(train.texts, train.labels, held.texts, held.labels)
    _print_accuracies(console, len(held), scores["accuracy"], baselines)
    console.print("docs/results.md has the same comparison on public data sets.")
    console.print(f"\nEverything is in {out}/ ; the whole took {time.monotonic() - started:.0f} s.")
    return {"scores": scores, "baselines": baselines}


def _words(flag: str, value) -> list[str]:
    flag = f"--{flag.replace('_', '-')}"
    if value is True:
        return [flag]
    return [word for entry in (value if isinstance(value, list) else [value]) for word in (flag, str(entry))]


def _print_accuracies(console: Console, rows: int, accuracy: float, baselines: dict) -> None:
    table = Table(title=f"Accuracy on the {rows} test reviews", title_justify="left")
    table.add_column("method")
    table.add_column("accuracy", justify="right")
    table.add_row("always the commonest label", f"{baselines['majority']['accuracy']:.3f}")
    table.add_row("TF-IDF and logistic regression", f"{baselines['tfidf_logistic_regression']['accuracy']:.3f}")
    table.add_row("tfllm, pretrained and fine-tuned just now", f"{accuracy:.3f}", style="bold")
    console.print(table)


def _copy_samples(directory: Path, language: str) -> tuple[Path, Path, Path]:
    """Copies of the running text, the training reviews and the test reviews, to look at and to try commands on."""
    from tfllm.data.samples import sample_path

    directory.mkdir(parents=True, exist_ok=True)
    names = (f"text_{language}.txt", f"reviews_{language}_train.csv", f"reviews_{language}_test.csv")
    return tuple(Path(shutil.copyfile(sample_path(name), directory / name)) for name in names)
