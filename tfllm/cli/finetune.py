"""`tfllm finetune`: labelled rows and an encoder -> a model for a task."""

import copy
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.cli import options, running
from tfllm.cli.startup import load_tensorflow, log

if TYPE_CHECKING:
    import keras

    from tfllm.data import Table
    from tfllm.tokenizers import Tokenizer
    from tfllm.training import Run

TASKS = ("classify",)
CLASS_WEIGHTS = ("none", "balanced")


def finetune(
    data: options.Data,
    out: options.RunOut,
    task: Annotated[str, typer.Option(help="classify.")] = "classify",
    validation: Annotated[list[str] | None, typer.Option(help="Validation files. Default: a part of --data.")] = None,
    validation_share: Annotated[float, typer.Option(help="Share of --data kept for validation, by label.")] = 0.1,
    init: Annotated[Path | None, typer.Option(help="Pretrained model directory.", metavar="MODEL_DIR")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Tokenizer, to train from random weights.", metavar="DIR")
    ] = None,
    size: options.Size = "mini",
    pre_norm: options.PreNorm = False,
    text: options.TextColumn = None,
    label: options.LabelColumn = None,
    labels: Annotated[str | None, typer.Option(help="The labels there are: good,bad. Any other is a bad row.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows, at most.")] = 6,
    batch_size: options.BatchSize = 32,
    sequence_length: options.SequenceLength = 128,
    learning_rate: options.LearningRate = 3e-4,
    weight_decay: options.WeightDecay = 0.01,
    dropout: Annotated[float, typer.Option(help="Share of activations dropped.")] = 0.1,
    label_smoothing: Annotated[float, typer.Option(help="Probability moved from the right label to all.")] = 0.0,
    class_weights: Annotated[str, typer.Option(help="none, or balanced: rare labels count more.")] = "none",
    pooling: Annotated[str, typer.Option(help="mean of the tokens, or cls.")] = "mean",
    monitor: Annotated[
        str, typer.Option(help="accuracy, macro_f1, matthews or loss decides the best epoch.")
    ] = "macro_f1",
    patience: Annotated[int, typer.Option(help="Epochs without a better value until training stops.")] = 2,
    frozen_layers: Annotated[
        int, typer.Option(help="Keep the embeddings and this many lowest layers as they are.")
    ] = 0,
    unfreeze_gradually: Annotated[
        bool, typer.Option("--unfreeze-gradually", help="Train the head first, then one more layer with each epoch.")
    ] = False,
    folds: Annotated[int, typer.Option(help="First cross-validate on this many folds; each keeps its best epoch.")] = 0,
    seeds: Annotated[int, typer.Option(help="Train with this many seeds and keep the best on validation.")] = 1,
    seed: options.Seed = 0,
    micro_batches: options.MicroBatches = 1,
    save_minutes: options.SaveMinutes = 10.0,
    on_divergence: options.OnDivergence = "stop",
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.OnBadRows = "error",
    remat: options.Remat = False,
    strategy: options.Strategy = "auto",
    precision: options.Precision = "auto",
    tensorboard: options.TensorBoard = None,
    dry_run: options.DryRun = False,
    config: options.Config = None,
) -> dict:
    """Fine-tune a model on labelled rows."""
    run = running.record(locals())
    data, out = running.as_list(data), Path(out)
    checks.check_one_of("task", task, TASKS)
    checks.check_one_of("class_weights", class_weights, CLASS_WEIGHTS)
    checks.check_at_least("seeds", seeds, 1)
    checks.check_between("seed", seed, 0, 2**31 - 1 - seeds)
    running.check_tensorboard(tensorboard)
    if folds:
        checks.check_at_least("folds", folds, 2)
    if (init is None) == (tokenizer is None):
        raise InputError("Give --init MODEL_DIR, or --tokenizer DIR to train from random weights.")
    if not dry_run:
        manifest.check_free(out, or_unfinished=True)
    load_tensorflow()

    from tfllm.data import fold_tables, overlap_warning, read_table, split_table
    from tfllm.tokenizers import load_tokenizer
    from tfllm.training import MONITORS, choose_precision, choose_strategy

    replicas = choose_strategy(strategy)
    replicas.check_uneven_batches()
    checks.check_one_of("monitor", monitor, MONITORS)

    reading = {"text": text, "label": label, "encoding": encoding, "on_bad_rows": on_bad_rows}
    table = read_table(data, labels=labels.split(",") if labels else None, **reading)
    if table.labels is None:  # none was named, and none is called `label`: the error lists the columns there are
        read_table(data, **{**reading, "label": "label"})
    label_names = _label_names(table)
    if validation:
        train, kept = table, read_table(running.as_list(validation), labels=label_names, **reading)
        if kept.labels is None:
            raise InputError("The validation data has no label column. Name it with --label.")
    else:
        train, kept = split_table(table, validation_share, seed)
    bad_rows = table.bad_rows + (kept.bad_rows if validation else [])
    if bad_rows and on_bad_rows == "collect" and not dry_run and replicas.is_chief:
        _collect(bad_rows, out.with_name(f"{out.name}.bad_rows.jsonl"))
    overlap_warning(train, kept)
    log.info("%d training rows, %d validation rows, labels: %s", len(train), len(kept), ", ".join(label_names))

    files = [*data, *running.as_list(validation or [])]
    job = _Job(run, label_names, load_tokenizer(init or tokenizer), tensorboard, save_minutes, replicas.is_chief)
    started = time.monotonic()
    with replicas, running.precision_policy(choose_precision(precision)):
        if dry_run:
            return job.dry_run(train)
        with running.unfinished_run(
            out, "finetune", run, files, replicas=replicas.num_replicas, writes=replicas.is_chief
        ) as directory:
            if folds:
                parts = enumerate(fold_tables(table, folds, seed))
                scores = [job.train(*part, seed, directory / f"fold-{number}")[1] for number, part in parts]
                run["cross_validation"] = _spread(scores)
            model, scores = job.train_seeds(train, kept, range(seed, seed + seeds), directory)
    run |= {"seconds": round(time.monotonic() - started), "validation_rows": len(kept), "validation_scores": scores}
    if replicas.is_chief:
        running.save(model, out, job.tokenizer, run, files)
    replicas.wait()
    return run


def _collect(bad_rows: list, file: Path) -> None:
    from tfllm.data import write_bad_rows

    file.parent.mkdir(parents=True, exist_ok=True)
    write_bad_rows(bad_rows, file)
    log.warning("left out %d bad rows; they are listed in %s", len(bad_rows), file)


class _Job:
    """Trains the classifier that the command's arguments ask for, on any rows, with any seed."""

    def __init__(
        self,
        run: dict,
        label_names: list[str],
        tokenizer: "Tokenizer",
        tensorboard: Path | None,
        save_minutes: float,
        writes: bool,
    ):
        self._run, self._label_names, self.tokenizer, self._tensorboard = run, label_names, tokenizer, tensorboard
        self._save_seconds, self._writes = 60 * save_minutes, writes

    def train(
        self, train: "Table", validation: "Table", seed: int, directory: Path
    ) -> tuple["keras.Model", dict[str, float]]:
        """A model trained with `seed`, and the validation scores of its best epoch; checkpoints go to `directory`."""
        from tfllm.training import Run, best_epoch

        run = self._run
        model = self._model(seed)
        batches = self._training_batches(model, train, seed)
        steps = run["epochs"] * batches.epoch_steps
        callbacks = running.training_callbacks(steps, running.count_tokens(batches()), self._tensorboard)
        kept = Run(directory, save_seconds=self._save_seconds, on_divergence=run["on_divergence"], writes=self._writes)
        history = self._fit(model, batches, self._batches(validation), run["epochs"], callbacks, kept)
        best = best_epoch(history, run["monitor"])
        log.info("kept the best of %d epochs: %s", len(history), running.shown(best))
        return model, best

    def train_seeds(
        self, train: "Table", validation: "Table", seeds: Iterable[int], directory: Path
    ) -> tuple["keras.Model", dict[str, float]]:
        """The best on validation of one training per seed; the seed that won and the spread go into the run."""
        from tfllm.training import MONITORS

        sign = 1 if MONITORS[self._run["monitor"]] == "max" else -1
        best, all_scores = None, []
        for seed in seeds:
            model, scores = self.train(train, validation, seed, directory / f"seed-{seed}")
            all_scores.append(scores)
            value = sign * scores[self._run["monitor"]]
            if best is None or value > best[0]:
                best = value, model, scores
                self._run["seed"] = seed
        if len(all_scores) > 1:
            self._run["over_seeds"] = _spread(all_scores)
        return best[1:]

    def dry_run(self, train: "Table") -> dict:
        """Shapes, parameters, memory and time of one training."""
        model = self._model(self._run["seed"])
        batches = self._training_batches(model, train, self._run["seed"])
        return running.dry_run(
            model,
            batches(),
            self._run["epochs"] * batches.epoch_steps,
            lambda few, callbacks: self._fit(model, _few(batches, few), None, 1, callbacks),
        )

    def _model(self, seed: int) -> "keras.Model":
        import keras

        from tfllm import models

        run = self._run
        keras.utils.set_random_seed(seed)
        encoder = running.make_encoder(run, self.tokenizer.vocabulary_size)
        return models.add_classifier_head(encoder, self._label_names, dropout=run["dropout"], pooling=run["pooling"])

    def _training_batches(self, model: "keras.Model", table: "Table", seed: int):
        """Packed rows; for an encoder that would let packed texts see each other, one text a row."""
        from tfllm.data import ClassificationBatches, PackedBatches
        from tfllm.models import read_recipe

        packs = read_recipe(model)["encoder"]["builder"] == "build_encoder"
        batches = PackedBatches if packs else ClassificationBatches
        return batches(*self._reading(table), **self._shapes(), class_weights=self._class_weights(table), seed=seed)

    def _class_weights(self, table: "Table") -> list[float] | None:
        from tfllm.training import balanced_class_weights

        if self._run["class_weights"] == "none":
            return None
        number = {name: position for position, name in enumerate(self._label_names)}
        return balanced_class_weights([number[label] for label in table.labels], len(number))

    def _batches(self, table: "Table"):
        """Batches in the table's order."""
        from tfllm.data import classification_dataset

        return classification_dataset(*self._reading(table), **self._shapes(), shuffle=False)

    def _reading(self, table: "Table") -> tuple:
        return table.texts, table.labels, self.tokenizer

    def _shapes(self) -> dict:
        run = self._run
        return {
            "label_names": self._label_names,
            "sequence_length": run["sequence_length"],
            "batch_size": run["batch_size"],
        }

    def _fit(self, model, batches, validation, epochs: int, callbacks: list, kept: "Run | None" = None) -> list[dict]:
        from tfllm.models import packed_classifier
        from tfllm.training import train_classifier

        run = self._run
        return train_classifier(
            model,
            batches,
            validation,
            epochs=epochs,
            learning_rate=run["learning_rate"],
            weight_decay=run["weight_decay"],
            label_smoothing=run["label_smoothing"],
            monitor=run["monitor"],
            patience=run["patience"],
            frozen_layers=run["frozen_layers"],
            unfreeze_gradually=run["unfreeze_gradually"],
            micro_batches=run["micro_batches"],
            packed=packed_classifier(model, batches.texts_per_row) if batches.texts_per_row else None,
            run=kept,
            callbacks=callbacks,
        )


def _few(batches, count: int):
    """The same batches in epochs of `count`."""
    short = copy.copy(batches)
    short.epoch_steps = count
    return short


def _label_names(table: "Table") -> list[str]:
    """The labels of the training data, sorted: by number if all are numbers, else by name."""
    names = set(table.labels)
    if len(names) < 2:
        raise InputError(f"The data has one label only, {names.pop()!r}: there is nothing to learn.")
    _warn_of_typos(Counter(table.labels))
    return sorted(sorted(names), key=int) if all(name.isdecimal() for name in names) else sorted(names)


def _warn_of_typos(counts: Counter) -> None:
    """Point out labels that are rare and look like a common one."""
    common = [name for name, rows in counts.most_common(100) if rows >= 20]
    for name, rows in counts.items():
        near = checks.did_you_mean(name, [other for other in common if counts[other] >= 20 * rows])
        if near:
            log.warning("label %r stands in %d of %d rows only%s", name, rows, counts.total(), near)


def _spread(scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of every score over several trainings; said in the log."""
    spread = {
        name: {"mean": statistics.mean(values), "deviation": statistics.stdev(values)}
        for name, values in ((name, [score[name] for score in scores]) for name in scores[0])
    }
    for name, value in spread.items():
        log.info("%s over %d trainings: %.4f ± %.4f", name, len(scores), value["mean"], value["deviation"])
    return spread
