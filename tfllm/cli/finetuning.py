"""The work behind `tfllm finetune`: a task's model trained with one seed, with several, on folds, or for a moment."""

import copy
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfllm.cli import running
from tfllm.cli.startup import log
from tfllm.cli.tasks import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.tokenizers import Tokenizer
    from tfllm.training import Run


_FIRST = 4  # batches that are looked at before a training
_MANY = 0.2  # of the tokens; in text that suits a tokenizer it is a hundredth or less
PACKING = ("build_encoder", "build_decoder", "build_encoder_decoder")  # builders that keep packed texts apart


class FineTuning:
    """Trains the model that the command's arguments ask for, on any rows, with any seed.

    Args:
        task: what the model is to learn.
        run: the command's arguments; the seed that won goes into it.
        head: the arguments of the task's head.
        tokenizer: of the encoder.
        tensorboard: where TensorBoard's logs go.
        save_minutes: pause between two checkpoints.
        writes: False in all processes of a training but one.

    Attributes:
        seconds: how long all trainings so far took.
    """

    def __init__(
        self,
        task: Task,
        run: dict,
        head: dict,
        tokenizer: "Tokenizer",
        *,
        tensorboard: Path | None,
        save_minutes: float,
        writes: bool,
    ):
        self._task, self._run, self._head, self.tokenizer = task, run, head, tokenizer
        self._tensorboard, self._save_seconds, self._writes = tensorboard, 60 * save_minutes, writes
        self._looked_at, self.seconds = False, 0.0

    def train(self, train: Any, validation: Any, seed: int, directory: Path) -> tuple["keras.Model", dict[str, float]]:
        """A model trained with `seed`, and the validation scores of its best epoch; checkpoints go to `directory`."""
        from tfllm.models import merge_adapters
        from tfllm.training import Run, best_epoch

        run = self._run
        model = self._model(seed)
        batches = self._batches(model, train, seed)
        steps = run["epochs"] * batches.epoch_steps
        first = list(batches().take(_FIRST))
        if not self._looked_at:
            warn_of_unknown([inputs for inputs, *_ in first], self.tokenizer)
            self._looked_at = True
        callbacks = running.training_callbacks(steps, running.count_tokens(first), self._tensorboard)
        kept = Run(directory, save_seconds=self._save_seconds, on_divergence=run["on_divergence"], writes=self._writes)
        validate = self._task.validator(model, self.tokenizer, validation, self._head, run)
        history = self._fit(model, batches, validate, run["epochs"], callbacks, kept)
        self.seconds += kept.seconds
        if run["lora_rank"]:
            merge_adapters(model)
        best = best_epoch(history, run["monitor"], self._task.monitors[run["monitor"]])
        few = len(history) < run["epochs"]
        early = f" ({run['epochs']} were allowed, the last {run['patience']} no better)" if few else ""
        log.info("kept the best of %d epochs%s: %s", len(history), early, running.shown(best))
        return model, best

    def train_seeds(
        self, train: Any, validation: Any, seeds: Iterable[int], directory: Path
    ) -> tuple["keras.Model", dict[str, float]]:
        """One training a seed: the best on validation, or all as an ensemble; their spread goes into the run."""
        monitor = self._run["monitor"]
        sign = 1 if self._task.monitors[monitor] == "max" else -1
        trained = {seed: self.train(train, validation, seed, directory / f"seed-{seed}") for seed in seeds}
        if len(trained) == 1:
            return next(iter(trained.values()))
        self._run["over_seeds"] = spread([scores for _, scores in trained.values()])
        if self._run["ensemble"]:
            return self._ensemble([model for model, _ in trained.values()], validation)
        self._run["seed"] = max(trained, key=lambda seed: sign * trained[seed][1][monitor])
        return trained[self._run["seed"]]

    def _ensemble(self, models: list["keras.Model"], validation: Any) -> tuple["keras.Model", dict[str, float]]:
        from tfllm.models import average_models

        model = average_models(models)
        scores = self._task.validator(model, self.tokenizer, validation, self._head, self._run)()
        log.info("the %d models as one: %s", len(models), running.shown(scores))
        return model, {name: float(value) for name, value in scores.items()}

    def cross_validate(self, rows: Any, folds: int, seed: int, directory: Path) -> None:
        """Train on every fold but one and score on that one; mean and deviation go into the run."""
        parts = enumerate(self._task.folds(rows, folds, seed))
        scores = [self.train(*part, seed, directory / f"fold-{number}")[1] for number, part in parts]
        self._run["cross_validation"] = spread(scores)

    def dry_run(self, train: Any) -> dict:
        """Shapes, parameters, memory and time of one training."""
        model = self._model(self._run["seed"])
        batches = self._batches(model, train, self._run["seed"])
        return running.dry_run(
            model,
            batches(),
            self._run["epochs"] * batches.epoch_steps,
            lambda few, callbacks: self._fit(model, _few(batches, few), None, 1, callbacks),
        )

    def _model(self, seed: int) -> "keras.Model":
        import keras

        keras.utils.set_random_seed(seed)
        from tfllm.models import add_adapters

        base = self._task.base(self._run, self.tokenizer.vocabulary_size)
        model = self._task.build(base, self._head)
        if self._run["lora_rank"]:
            add_adapters(model, self._run["lora_rank"])
            trained = sum(weight.shape.num_elements() for weight in model.trainable_variables)
            log.info("%s parameters are trained, %.1f %% of all", f"{trained:,}", 100 * trained / model.count_params())
        return model

    def _batches(self, model: "keras.Model", rows: Any, seed: int) -> Any:
        """Packed rows; for an encoder that would let packed texts see each other, one text a row."""
        from tfllm.models import read_recipe

        packs = read_recipe(model)["encoder"]["builder"] in PACKING
        rows, epochs = self._task.augmented(rows, self._run, seed)
        batches = self._task.batches(rows, self._head, self.tokenizer, self._run, packs=packs, seed=seed)
        batches.epoch_steps = -(-batches.epoch_steps // epochs)  # all epochs together see every copy
        return batches

    def _fit(
        self, model: "keras.Model", batches, validate, epochs: int, callbacks: list, kept: "Run | None" = None
    ) -> list[dict]:
        from tfllm.training import fine_tune

        run = self._run
        return fine_tune(
            model,
            batches,
            loss=self._task.loss(self._head, run),
            validate=validate,
            monitor=run["monitor"],
            better=self._task.monitors[run["monitor"]],
            epochs=epochs,
            learning_rate=run["learning_rate"],
            layer_decay=run["layer_decay"],
            weight_decay=run["weight_decay"],
            patience=run["patience"],
            frozen_layers=run["frozen_layers"],
            unfreeze_gradually=run["unfreeze_gradually"],
            micro_batches=run["micro_batches"],
            packed=self._task.packed(model, batches),
            run=kept,
            callbacks=callbacks,
        )


def warn_of_unknown(batches: list[dict[str, "tf.Tensor"]], tokenizer: "Tokenizer") -> None:
    """Say so when many tokens of these inputs are the unk token, and that stands for nothing else."""
    special = tokenizer.special_tokens
    if "unk" not in special or list(special.values()).count(special["unk"]) > 1:
        return
    pairs = (("token_ids", "padding_mask"), ("source_ids", "source_mask"))
    real = [part[ids].numpy()[part[mask].numpy() > 0] for part in batches for ids, mask in pairs if ids in part]
    total, unknown = sum(ids.size for ids in real), sum(int((ids == tokenizer.unk_id).sum()) for ids in real)
    if unknown > _MANY * total:
        log.warning(
            "%.0f %% of the tokens are %s: the tokenizer was not trained on such text, and what it does not know is "
            "lost. Begin with a model whose tokenizer knows it.",
            100 * unknown / total,
            special["unk"],
        )


def _few(batches, count: int):
    """The same batches in epochs of `count`."""
    short = copy.copy(batches)
    short.epoch_steps = count
    return short


def spread(scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of every score over several trainings; said in the log."""
    found = {
        name: {"mean": statistics.mean(values), "deviation": statistics.stdev(values)}
        for name, values in ((name, [score[name] for score in scores]) for name in scores[0])
    }
    for name, value in found.items():
        log.info("%s over %d trainings: %.4f ± %.4f", name, len(scores), value["mean"], value["deviation"])
    return found
