"""What the training commands share: precision, progress, the record of a run, `--dry-run`."""

import contextlib
import fcntl
import glob
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.table import Table

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.cli.startup import errors, log

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.tokenizers import Tokenizer

_TRIAL_STEPS = 6
DEFAULT_SIZE = "mini"
_LOCK, _ARGUMENTS = "lock", "arguments.json"
_OF_NEW_MODELS = {"size": DEFAULT_SIZE, "pre_norm": False, "bigram_buckets": 0}  # options only these read -> defaults
_MAY_CHANGE = ("on_divergence",)  # arguments of a training that goes on: what is trained already is the same


def record(arguments: dict) -> dict:
    """A command's arguments as JSON values for a manifest, without those that had no effect on the result."""
    own = _OF_NEW_MODELS if arguments["init"] else {}
    given = [f"--{name.replace('_', '-')}" for name, default in own.items() if arguments[name] != default]
    if given:
        log.warning("Not read: %s. %s has a size and a form of its own.", ", ".join(given), arguments["init"])
    left_out = {
        "config",
        "dry_run",
        "tensorboard",
        "save_minutes",
        *own,
    }
    return {name: _json(value) for name, value in arguments.items() if name not in left_out}


def _json(value):
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


@contextlib.contextmanager
def unfinished_run(
    out: Path, command: str, arguments: dict, data: Sequence[str], *, replicas: int = 1, writes: bool = True
) -> Iterator[Path]:
    """The directory where a training of these arguments on these files keeps what it needs to go on.

    If the block raises before there is a checkpoint, nothing is left. Without `writes` another process writes it.

    Raises:
        InputError: when `out` holds something else, or an unfinished training of other arguments or other files.
    """
    directory = out / manifest.RUN
    if not writes:
        yield directory
        return
    if (out / manifest.FILE_NAME).exists():  # killed after the model stood
        shutil.rmtree(directory, ignore_errors=True)
    manifest.check_free(out, or_unfinished=True)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / _LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"Another process is training in {out}. Wait for it, or choose another --out.") from None
        for leftover in out.glob(f".{glob.escape(out.name)}.*.unfinished"):  # killed while it wrote the model
            shutil.rmtree(leftover)
        try:
            _go_on_or_begin(out, {"command": command, **arguments}, data, replicas)
            yield directory
        except BaseException:
            if not _has_trained(directory):
                shutil.rmtree(directory)
                with contextlib.suppress(OSError):  # somebody has put something else there
                    out.rmdir()
            raise


def _has_trained(directory: Path) -> bool:
    """Whether there is a checkpoint, or a batch that ended the training."""
    return any(entry.is_file() for entry in directory.rglob("*/*"))


def _go_on_or_begin(out: Path, arguments: dict, data: Sequence[str], replicas: int) -> None:
    """Write down what a training was begun with; or check that an unfinished one was begun with the same."""
    import keras

    from tfllm.data import expand_paths

    files = [source for source in expand_paths(data) if isinstance(source, Path) and source.is_file()]
    beginnings = [Path(arguments[name]) / manifest.FILE_NAME for name in ("tokenizer", "init") if arguments.get(name)]
    wanted = {name: value for name, value in arguments.items() if name != "out"}
    wanted["files"], wanted["beginnings"] = manifest.hash_files(files), manifest.hash_files(beginnings)
    wanted["surroundings"] = {
        **manifest.versions(),
        "precision": keras.config.dtype_policy().name,
        "replicas": str(replicas),
    }
    file = out / manifest.RUN / _ARGUMENTS
    if not file.exists() or not _has_trained(file.parent):
        manifest.write_json(file, wanted)
        return
    before = json.loads(file.read_text("utf-8"))
    _check_same(out, before, wanted)
    log.info("going on with the unfinished training in %s", out)
    for name, value in wanted["surroundings"].items():
        if before["surroundings"].get(name) != value:
            log.warning(
                "It was begun with %s %s, this is %s: the weights will not be those of an uninterrupted training.",
                name,
                before["surroundings"].get(name),
                value,
            )


def _check_same(out: Path, before: dict, now: dict) -> None:
    names = sorted({*before, *now} - {"surroundings", *_MAY_CHANGE})
    other = [name for name in names if before.get(name) != now.get(name)]
    other = [name for name in other if name in before or now[name]]  # not an option that came since, and asks nothing
    if other:
        shown = "; ".join(_difference(name, before.get(name), now.get(name)) for name in other)
        raise InputError(
            f"{out} holds an unfinished training that was begun otherwise: {shown}. "
            "Give the same arguments, those left out included, to go on with it, or another --out to begin anew."
        )


def _difference(name: str, before: object, now: object) -> str:
    if name in ("files", "beginnings"):
        changed = [file for file in sorted({*before, *now}) if before.get(file) != now.get(file)]
        return f"these files have changed: {', '.join(changed)}"
    return f"{name.replace('_', '-')} was {before!r}, now {now!r}"


def check_start(init: Path | None, tokenizer: Path | None) -> None:
    """Raise InputError unless a training starts from a model or, with a tokenizer, from random weights."""
    if init is not None and tokenizer is not None:
        raise InputError("Give --init or --tokenizer, not both: a model goes on with its own tokenizer.")
    if init is None and tokenizer is None:
        raise InputError("Give --init MODEL_DIR, or --tokenizer DIR to train from random weights.")


def check_tensorboard(directory: Path | None) -> None:
    """Raise InputError if TensorBoard logs are wanted, and TensorBoard is not installed or they cannot be written."""
    if directory is None:
        return
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError('--tensorboard needs TensorBoard, which is not installed: pip install "tfllm[tensorboard]".')
    manifest.check_writable(Path(directory))


def shown(scores: dict[str, float]) -> str:
    """Scores on one line."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in scores.items())


def as_list(data: str | Path | Sequence[str]) -> list[str]:
    """Python callers may name one file; the command line always gives a list."""
    return [str(data)] if isinstance(data, str | Path) else [str(entry) for entry in data]


@contextlib.contextmanager
def precision_policy(policy: str) -> Iterator[None]:
    """Build and train under a Keras dtype policy; the one before comes back afterwards."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def training_callbacks(
    total_steps: int, tokens_per_step: float, tensorboard: Path | None
) -> list["keras.callbacks.Callback"]:
    """Progress, and TensorBoard logs if a directory is given."""
    import keras

    from tfllm.training import Progress

    callbacks = [Progress(total_steps, tokens_per_step, errors)]
    if tensorboard is not None:
        callbacks.append(keras.callbacks.TensorBoard(str(tensorboard), update_freq=10))
    return callbacks


def make_encoder(run: dict, vocabulary_size: int) -> "keras.Model":
    """The encoder that a command's arguments ask for: loaded from `init`, or of `size` with random weights."""
    from tfllm import models

    if run["init"]:
        if base_recipe(run["init"])["builder"] in ("build_decoder", "build_encoder_decoder"):
            raise InputError(f"{run['init']} holds a decoder; this needs an encoder.")
        encoder = models.load_encoder(run["init"], dropout=run["dropout"])
        _warn_of_new_positions(run)
    else:
        checks.check_one_of("size", run["size"], models.SIZES)
        encoder = models.build_encoder(
            vocabulary_size,
            **models.SIZES[run["size"]],
            max_sequence_length=max(512, run["sequence_length"]),
            dropout=run["dropout"],
            normalize_first=run["pre_norm"],
            bigram_buckets=run["bigram_buckets"],
        )
    models.check_length(encoder, run["sequence_length"])
    if run["remat"]:
        models.recompute_activations(encoder)
    return encoder


def make_decoder(run: dict, vocabulary_size: int, *, prefix: bool = False) -> "keras.Model":
    """The decoder that the arguments ask for: loaded from `init`, or of `size` with random weights."""
    from tfllm import models

    if run["init"]:
        if base_recipe(run["init"])["builder"] != "build_decoder":
            raise InputError(f"{run['init']} holds no decoder, which this goes on from.")
        decoder = models.load_encoder(run["init"], dropout=run["dropout"])
    else:
        checks.check_one_of("size", run["size"], models.DECODER_SIZES)
        decoder = models.build_decoder(
            vocabulary_size,
            **models.DECODER_SIZES[run["size"]],
            max_sequence_length=max(512, run["sequence_length"]),
            dropout=run["dropout"],
            prefix=prefix,
        )
    if ("prefix_mask" in decoder.input) != prefix:
        raise InputError(
            f"{run['init']} was {'not ' if prefix else ''}trained with --objective prefix, and goes on so."
        )
    models.check_length(decoder, run["sequence_length"])
    if run["remat"]:
        models.recompute_activations(decoder)
    return decoder


def make_encoder_decoder(run: dict, vocabulary_size: int) -> "keras.Model":
    """The encoder-decoder that a command's arguments ask for; as `make_encoder`."""
    from tfllm import models

    if run["init"]:
        if base_recipe(run["init"])["builder"] != "build_encoder_decoder":
            raise InputError(f"{run['init']} holds no encoder-decoder, which this goes on from.")
        model = models.load_encoder(run["init"], dropout=run["dropout"])
    else:
        checks.check_one_of("size", run["size"], models.SEQ2SEQ_SIZES)
        longest = max(512, run["sequence_length"], run.get("target_length") or 0)
        size = models.SEQ2SEQ_SIZES[run["size"]]
        model = models.build_encoder_decoder(
            vocabulary_size, **size, max_sequence_length=longest, dropout=run["dropout"]
        )
    models.check_length(model, max(run["sequence_length"], run.get("target_length") or 0))
    if run["remat"]:
        models.recompute_activations(model)
    return model


def start_of(init: str | Path | None) -> str | list[str]:
    """The special tokens that the targets of a saved encoder-decoder begin with; of a new one [CLS]."""
    recipe = manifest.read_manifest(init, "model")["arguments"]["recipe"] if init else {"arguments": {}}
    return recipe["arguments"].get("start", "cls")


def base_recipe(directory: str | Path) -> dict:
    """The recipe of a saved model, or of what is under its head."""
    recipe = manifest.read_manifest(directory, "model")["arguments"]["recipe"]
    return recipe["encoder"] or recipe


def _warn_of_new_positions(run: dict) -> None:
    before = manifest.read_manifest(run["init"], "model")["arguments"]["run"].get("sequence_length")
    if before and run["sequence_length"] > before:
        log.warning("%s was trained at %d tokens; positions beyond are learned only now.", run["init"], before)


def count_tokens(batches: Iterable[tuple]) -> float:
    """Mean number of non-padding tokens in batches."""
    counts = [float((inputs["padding_mask"].numpy() > 0).sum()) for inputs, *_ in batches]
    return sum(counts) / max(len(counts), 1)


def save(model: "keras.Model", out: Path, tokenizer: "Tokenizer", run: dict) -> None:
    """Write the trained model with its card, and say where."""
    from tfllm.evaluation import model_card
    from tfllm.models import save_model

    begun = json.loads((out / manifest.RUN / _ARGUMENTS).read_text("utf-8"))
    inputs = begun["files"]  # as they were read: they may be others by now, or none
    card = model_card(Path(out).name, model, run, inputs=inputs)
    save_model(model, out, tokenizer, run=run, card=card, inputs=inputs, seed=run["seed"], finish_run=True)
    log.info("wrote %s", out)


def dry_run(model: "keras.Model", dataset: "tf.data.Dataset", steps: int, train: Callable[[int, list], object]) -> dict:
    """Take a few real steps and report shapes, parameters, memory and the time `steps` will take.

    `train(few, callbacks)` must fit the model on `few` batches.
    """
    import keras

    ends = []
    timer = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    train(_TRIAL_STEPS, [timer])
    seconds = (ends[-1] - ends[0]) / (len(ends) - 1)  # the first step also traces the graph
    inputs = dataset.element_spec[0]
    report = {
        "inputs": {name: f"{spec.dtype.name} {tuple(spec.shape)}" for name, spec in inputs.items()},
        "parameters": model.count_params(),
        "steps": steps,
        "memory_bytes": psutil.Process().memory_info().rss,
        "seconds_per_step": seconds,
        "seconds_estimated": seconds * steps,
    }
    table = Table(title="Dry run: nothing was written", show_header=False)
    for name, shape in report["inputs"].items():
        table.add_row(f"input {name}", shape)
    table.add_row("parameters", f"{report['parameters']:,}")
    table.add_row("memory", f"{report['memory_bytes'] / 2**30:.1f} GiB")
    table.add_row("steps", f"{steps:,}")
    whole = f"{seconds * steps / 60:.0f} minutes" if seconds * steps > 120 else f"{seconds * steps:.0f} seconds"
    table.add_row("time", f"{seconds:.3f} s a step, about {whole} in all")
    errors.print(table)
    return report
