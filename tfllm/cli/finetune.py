"""`tfllm finetune`: labelled rows and an encoder -> a model for a task."""

from pathlib import Path
from typing import Annotated

import typer

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.cli import options, running
from tfllm.cli.defaults import check_lora_rank, fill_in, suited_dropout, suited_learning_rate
from tfllm.cli.finetuning import FineTuning
from tfllm.cli.startup import load_tensorflow, log
from tfllm.cli.tasks import TASKS, find_task

CLASS_WEIGHTS = ("none", "balanced")
_VALIDATION_SHARE = 0.1
_READ_BY = {  # an option that not every task reads -> the value that asks for nothing, and the tasks that read it
    "labels": (None, ("classify", "pairs", "multilabel")),
    "class_weights": ("none", ("classify", "pairs")),
    "label_smoothing": (0.0, ("classify", "pairs", "multilabel", "tag", "qa", "choice", "seq2seq", "chat")),
    "source": (None, ("seq2seq",)),
    "target": (None, ("seq2seq",)),
    "target_length": (None, ("seq2seq",)),
    "score_range": (None, ("regress", "similarity")),
    "text_pair": (None, ("classify", "pairs", "multilabel", "regress", "embed", "similarity", "qa")),
    "pooling": (None, ("classify", "pairs", "multilabel", "regress", "embed", "similarity", "choice")),
    "label_separator": ("|", ("multilabel",)),
    "similarity_loss": ("cosine", ("similarity",)),
    "temperature": (0.05, ("embed", "similarity")),
    "max_answer_tokens": (30, ("qa",)),
    "choices": (None, ("choice",)),
    "stride": (None, ("qa",)),
}


def finetune(
    data: options.Data,
    out: options.RunOut,
    task: Annotated[str, typer.Option(help=f"{', '.join(TASKS)}.")] = "classify",
    validation: Annotated[list[str] | None, typer.Option(help="Validation files. Default: a part of --data.")] = None,
    validation_share: Annotated[float, typer.Option(help="Share of --data kept for validation, by label.")] = (
        _VALIDATION_SHARE
    ),
    init: Annotated[Path | None, typer.Option(help="Pretrained model directory.", metavar="MODEL_DIR")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Tokenizer, to train from random weights.", metavar="DIR")
    ] = None,
    size: options.Size = running.DEFAULT_SIZE,
    pre_norm: options.PreNorm = False,
    bigram_buckets: options.BigramBuckets = 0,
    text: options.TextColumn = None,
    text_pair: options.TextPairColumn = None,
    label: options.LabelColumn = None,
    choices: options.Choices = None,
    source: options.SourceColumn = None,
    target: options.TargetColumn = None,
    target_length: options.TargetLength = None,
    labels: Annotated[str | None, typer.Option(help="The labels there are: good,bad. Any other is a bad row.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows, at most.")] = 6,
    batch_size: options.BatchSize = 32,
    sequence_length: options.SequenceLength = 128,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="The highest, after the warm-up. Default: 3e-4 from random weights; with --init, the wider the model "
            "the lower: 2.5e-4 for size mini, 2.8e-5 for base; with --lora-rank ten times that, 2e-3 at most."
        ),
    ] = None,
    weight_decay: options.WeightDecay = 0.01,
    layer_decay: Annotated[
        float, typer.Option(help="Each layer's learning rate is that of the layer above times this.")
    ] = 1.0,
    dropout: options.Dropout = None,
    label_smoothing: Annotated[float, typer.Option(help="Probability moved from the right label to all.")] = 0.0,
    augment_case: Annotated[
        float, typer.Option(help="Share of training texts put in lower, upper or title case.")
    ] = 0.0,
    augment_typos: Annotated[float, typer.Option(help="Share of their characters swapped, dropped or doubled.")] = 0.0,
    augment_word_dropout: Annotated[float, typer.Option(help="Share of their words left out.")] = 0.0,
    class_weights: Annotated[str, typer.Option(help="none, or balanced: rare labels count more.")] = "none",
    pooling: Annotated[
        str | None, typer.Option(help="mean of the tokens; cls; of pairs also compare, how they differ: their default.")
    ] = None,
    label_separator: Annotated[str, typer.Option(help="multilabel: what joins the names in a cell.")] = "|",
    score_range: Annotated[
        str | None, typer.Option(help="regress, similarity: lowest and highest score: 0,5.", metavar="LOW,HIGH")
    ] = None,
    similarity_loss: Annotated[
        str, typer.Option(help="similarity: cosine, learn the scores as cosines; or rank, learn their order only.")
    ] = "cosine",
    temperature: Annotated[
        float,
        typer.Option(help="embed, rank: cosines are divided by it; the smaller, the more the worst mistake counts."),
    ] = 0.05,
    stride: Annotated[
        int | None, typer.Option(help="qa: tokens between the beginnings of a long context's windows.")
    ] = None,
    max_answer_tokens: Annotated[int, typer.Option(help="qa: no answer is longer.")] = 30,
    monitor: Annotated[
        str | None,
        typer.Option(
            help="The score that decides the best epoch, of equal ones the loss. classify: macro_f1, accuracy, ..."
        ),
    ] = None,
    patience: Annotated[int, typer.Option(help="Epochs without a better value until training stops.")] = 2,
    frozen_layers: Annotated[
        int, typer.Option(help="Keep the embeddings and this many lowest layers as they are.")
    ] = 0,
    unfreeze_gradually: Annotated[
        bool, typer.Option("--unfreeze-gradually", help="Train the head first, then one more layer with each epoch.")
    ] = False,
    lora_rank: Annotated[
        int, typer.Option(help="Train only adapters of this rank beside query and value, and the head; 0 trains all.")
    ] = 0,
    folds: Annotated[int, typer.Option(help="First cross-validate on this many folds; each keeps its best epoch.")] = 0,
    seeds: Annotated[int, typer.Option(help="Train with this many seeds and keep the best on validation.")] = 1,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Keep the models of all --seeds, as one that averages them.")
    ] = False,
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
    chosen, data, out = find_task(task), running.as_list(data), Path(out)
    run["monitor"] = monitor or next(iter(chosen.monitors))
    checks.check_one_of("monitor", run["monitor"], chosen.monitors)
    checks.check_one_of("class_weights", class_weights, CLASS_WEIGHTS)
    _check_read(task, run)
    checks.check_at_least("seeds", seeds, 1)
    checks.check_at_least("batch_size", batch_size, 1)
    checks.check_between("micro_batches", micro_batches, 1, batch_size)
    checks.check_between("seed", seed, 0, 2**31 - 1 - seeds)
    running.check_tensorboard(tensorboard)
    if validation and validation_share != _VALIDATION_SHARE:
        raise InputError("--validation-share takes validation rows from --data, --validation names files: give one.")
    if ensemble and not chosen.averages:
        raise InputError(f"--ensemble averages what models give, and that of --task {task} has no mean. Leave it out.")
    checks.check_dropout(dropout or 0)
    if lora_rank and (frozen_layers or unfreeze_gradually):
        raise InputError("--lora-rank leaves all layers as they are: give no --frozen-layers and --unfreeze-gradually.")
    if folds:
        checks.check_at_least("folds", folds, 2)
    if ensemble and seeds < 2:
        raise InputError("--ensemble averages the models of several seeds: give --seeds 3, say.")
    running.check_start(init, tokenizer)
    check_lora_rank(lora_rank, init)
    if not dry_run:
        manifest.check_free(out, or_unfinished=True)
    suited = {"learning_rate": suited_learning_rate(init, lora_rank), "dropout": suited_dropout(init)}
    load_tensorflow()

    from tfllm.tokenizers import load_tokenizer
    from tfllm.training import choose_precision, choose_strategy

    replicas = choose_strategy(strategy)
    replicas.check_uneven_batches()

    rows = chosen.read(data, run)
    fill_in(run, **suited)
    subwords = load_tokenizer(init or tokenizer)
    head = chosen.fitted(chosen.head(rows, run), subwords)
    if validation:
        train, kept = rows, chosen.read(running.as_list(validation), run, head)
    else:
        train, kept = chosen.split(rows, validation_share, seed)
    bad_rows = rows.bad_rows + (kept.bad_rows if validation else [])
    if bad_rows and on_bad_rows == "collect" and not dry_run and replicas.is_chief:
        _collect(bad_rows, out.with_name(f"{out.name}.bad_rows.jsonl"))
    chosen.check_parts(train, kept)
    log.info("%d training rows, %d validation rows, %s", len(train), len(kept), chosen.describe(head))

    files = [*data, *running.as_list(validation or [])]
    job = FineTuning(
        chosen,
        run,
        head,
        subwords,
        tensorboard=tensorboard,
        save_minutes=save_minutes,
        writes=replicas.is_chief,
    )
    with replicas, running.precision_policy(choose_precision(precision)):
        if dry_run:
            return job.dry_run(train)
        with running.unfinished_run(
            out, "finetune", run, files, replicas=replicas.num_replicas, writes=replicas.is_chief
        ) as directory:
            if folds:
                job.cross_validate(rows, folds, seed, directory)
            model, scores = job.train_seeds(train, kept, range(seed, seed + seeds), directory)
            chosen.finish(model, job.tokenizer, kept, head, run)
    run |= {"seconds": round(job.seconds), "validation_rows": len(kept), "validation_scores": scores}
    if replicas.is_chief:
        running.save(model, out, job.tokenizer, run)
    replicas.wait()
    return run


def _check_read(task: str, run: dict) -> None:
    """Raise InputError for an option that the task would ignore."""
    for name, (nothing, tasks) in _READ_BY.items():
        if run[name] != nothing and task not in tasks:
            raise InputError(
                f"--{name.replace('_', '-')} is for --task {', '.join(tasks)}; others do not read it. Leave it out. "
                f"Received: --task {task}."
            )


def _collect(bad_rows: list, file: Path) -> None:
    from tfllm.data import write_bad_rows

    file.parent.mkdir(parents=True, exist_ok=True)
    write_bad_rows(bad_rows, file)
    log.warning("left out %d bad rows; they are listed in %s", len(bad_rows), file)
