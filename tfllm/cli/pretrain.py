"""`tfllm pretrain`: raw text or records and a tokenizer -> a pretrained encoder or decoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.cli import options, running
from tfllm.cli.defaults import fill_in, suited_dropout, suited_learning_rate
from tfllm.cli.objectives import OBJECTIVES, check_objective
from tfllm.cli.startup import load_tensorflow, log

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.cli.objectives import Objective
    from tfllm.tokenizers import Tokenizer


def pretrain(
    data: options.Data,
    out: options.RunOut,
    tokenizer: Annotated[Path | None, typer.Option(help="Tokenizer directory.", metavar="DIR")] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="mlm; mlm-nsp: with next-sentence prediction; causal: a model that writes; prefix: one that reads the "
            "prompt in both directions; denoise, infill: an encoder-decoder that writes what is left out."
        ),
    ] = "mlm",
    size: options.Size = running.DEFAULT_SIZE,
    pre_norm: options.PreNorm = False,
    bigram_buckets: options.BigramBuckets = 0,
    init: Annotated[Path | None, typer.Option(help="Go on from this model instead of random weights.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps. Give this or --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the text, if no --steps. Default: 1.")] = None,
    batch_size: options.BatchSize = 32,
    sequence_length: Annotated[
        int | None, typer.Option(help="Tokens in a row, [CLS] and [SEP] included. Default: 128, or the records' own.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="The highest, after the warm-up. Default: 1e-3; with --init, the wider the model the lower: 2.5e-4 "
            "for size mini, 2.8e-5 for base."
        ),
    ] = None,
    warmup_share: Annotated[float, typer.Option(help="Share of the steps until the learning rate is reached.")] = 0.06,
    decay: Annotated[str, typer.Option(help="linear, cosine or constant.")] = "linear",
    weight_decay: options.WeightDecay = 0.01,
    dropout: options.Dropout = None,
    mask_rate: Annotated[float, typer.Option(help="Share of tokens to predict.")] = 0.15,
    span_length: Annotated[
        float, typer.Option(help="denoise, infill: tokens that are left out together, on average.")
    ] = 3.0,
    whole_word: Annotated[bool, typer.Option("--whole-word", help="Mask whole words.")] = False,
    fill_in_middle: Annotated[
        float, typer.Option(help="causal: share of the texts of which the middle is learnt from what surrounds it.")
    ] = 0.0,
    held_out: Annotated[
        float | None,
        typer.Option(help="Share of the texts kept for validation. Default: 0.01, or the records' own."),
    ] = None,
    text: options.TextColumn = None,
    document: options.Document = "line",
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.SkipBadRows = "error",
    seed: options.Seed = 0,
    micro_batches: options.MicroBatches = 1,
    save_minutes: options.SaveMinutes = 10.0,
    on_divergence: options.OnDivergence = "stop",
    remat: options.Remat = False,
    strategy: options.Strategy = "auto",
    precision: options.Precision = "auto",
    tensorboard: options.TensorBoard = None,
    dry_run: options.DryRun = False,
    config: options.Config = None,
) -> dict:
    """Pretrain on raw text: an encoder, a decoder that predicts the next token, or an encoder-decoder."""
    run = running.record(locals())
    data, out = running.as_list(data), Path(out)
    check_objective(run)
    checks.check_between("warmup_share", warmup_share, 0, 1)
    checks.check_between("fill_in_middle", fill_in_middle, 0, 1)
    checks.check_dropout(dropout or 0)
    checks.check_between("held_out", 0.01 if held_out is None else held_out, 0, 1)
    checks.check_between("seed", seed, 0, 2**31 - 1)
    checks.check_at_least("batch_size", batch_size, 1)
    checks.check_between("micro_batches", micro_batches, 1, batch_size)
    running.check_tensorboard(tensorboard)
    if not dry_run:
        manifest.check_free(out, or_unfinished=True)
    if steps is not None and epochs is not None:
        raise InputError("Give --steps or --epochs, not both.")
    checks.check_at_least("steps", 1 if steps is None else steps, 1)
    checks.check_between("epochs", 1 if epochs is None else epochs, 0.001, 10_000)
    running.check_start(init, tokenizer)
    suited = {"learning_rate": suited_learning_rate(init, anew=1e-3), "dropout": suited_dropout(init)}
    load_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)  # before the pipeline is built, whose shuffling it also decides

    from tfllm.data import expand_paths, find_records
    from tfllm.tokenizers import load_tokenizer
    from tfllm.training import Run, adamw, choose_precision, choose_strategy

    replicas = choose_strategy(strategy)
    replicas.check_batch_size(batch_size)
    vocabulary = load_tokenizer(init or tokenizer)
    reading = {"text_column": text, "document": document, "encoding": encoding, "on_bad_rows": on_bad_rows}
    records = find_records(data)
    if records is None:
        expand_paths(data)  # a missing file is told before defaults
    defaults = {"sequence_length": 128, "held_out": 0.01} if records is None else records._asdict()
    for name in ("sequence_length", "held_out"):
        run[name] = defaults[name] if run[name] is None else run[name]
    fill_in(run, **suited)
    task = OBJECTIVES[objective](data, run, reading, is_text=records is None)
    if records is not None and run["held_out"]:
        task.batches(vocabulary, "held-out", repeat=False)  # records without that part are refused now, not at the end
    kept = Run(
        out / manifest.RUN / "training",
        save_seconds=60 * save_minutes,
        on_divergence=on_divergence,
        writes=replicas.is_chief,
    )

    def train(start: int) -> "tf.data.Dataset":
        return task.batches(vocabulary, "train", start_batch=start)

    def optimizer_for(steps: int) -> "keras.optimizers.Optimizer":
        rate, warmup_steps = run["learning_rate"], int(steps * warmup_share)
        return adamw(rate, total_steps=steps, warmup_steps=warmup_steps, decay=decay, weight_decay=weight_decay)

    with replicas, running.precision_policy(choose_precision(precision)):
        optimizer_for(1)  # what is wrong with the arguments is told before all text is read, which may take an hour
        model = task.build(vocabulary)
        once = task.batches(vocabulary, "train", repeat=False)
        if records is None:
            _check_text(data, run["held_out"], reading)
        steps = steps or _count_steps(once, 1.0 if epochs is None else epochs)
        optimizer = optimizer_for(steps)
        if dry_run:
            return running.dry_run(
                model,
                train(0),
                steps,
                lambda few, callbacks: task.train(
                    model, train, optimizer, steps=few, micro_batches=micro_batches, callbacks=callbacks
                ),
            )
        log.info("training %s parameters for %s steps", f"{model.count_params():,}", f"{steps:,}")
        callbacks = running.training_callbacks(steps, running.count_tokens(once.take(4)), tensorboard)
        with running.unfinished_run(
            out, "pretrain", run, data, replicas=replicas.num_replicas, writes=replicas.is_chief
        ):
            trained = task.train(
                model, train, optimizer, steps=steps, micro_batches=micro_batches, run=kept, callbacks=callbacks
            )
    run |= {"task": objective, "steps": steps, "seconds": round(kept.seconds), "training": trained}
    if not replicas.is_chief:
        replicas.wait()
        return run
    if run["held_out"]:
        _score(run, task, model, vocabulary)
    running.save(model, out, vocabulary, run)
    replicas.wait()
    return run


def _check_text(data: list[str], held_out: float, reading: dict) -> None:
    """Raise InputError before any training for a malformed text wherever it stands, or a part without texts.

    Reads all text once, unless malformed texts are to be left out: some 50 MB a second.
    """
    from tfllm.data import read_texts
    from tfllm.data.splits import is_held_out

    log.info("reading the text once, to find a malformed one before training")
    parts = set()
    for text in read_texts(data, **reading):
        parts.add(is_held_out(text, held_out))
        if reading["on_bad_rows"] == "skip" and parts == {True, False}:
            break
    if held_out and True not in parts:
        raise InputError(
            f"No text falls into the held-out part, a share of {held_out}: the corpus has too few documents. "
            "Raise --held-out, or give --held-out 0 to train without validation."
        )
    if False not in parts:
        raise InputError(f"All text falls into the held-out part, a share of {held_out}: lower --held-out.")


def _score(run: dict, task: "Objective", model: "keras.Model", vocabulary: "Tokenizer") -> None:
    """Put the scores on held-out text into `run`; what cannot be scored is saved all the same."""
    try:
        run["held_out_scores"] = task.held_out_scores(model, vocabulary)
    except InputError as error:
        log.warning("no scores on held-out text: %s", error)
    else:
        log.info("held-out text: %s", running.shown(run["held_out_scores"]))


def _count_steps(once: "tf.data.Dataset", epochs: float) -> int:
    """Batches in `epochs` passes; reads the corpus once, unless it is records, which know."""
    batches = int(once.cardinality())
    if batches < 0:
        log.info("counting the batches of one pass; --steps saves this")
        batches = sum(1 for _ in once)
    return max(1, round(batches * epochs))
