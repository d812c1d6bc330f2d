"""`tfllm evaluate`: a model directory and data -> scores, as tables, as JSON and in the model card."""

import itertools
import json
import re
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from tfllm import manifest
from tfllm.checks import InputError, check_at_least, check_one_of
from tfllm.cli import options
from tfllm.cli.running import as_list
from tfllm.cli.startup import errors, load_tensorflow, log
from tfllm.cli.tasks import Task, find_task_of_model

SEQUENCE_LENGTH = 128  # at most, for a model whose manifest does not tell


class EvaluateCommand(TyperCommand):
    """`--json` without a file prints, as it does in the other commands."""

    def parse_args(self, ctx, args):
        alone = [
            name == "--json" and (after is None or (after[:1] == "-" and after != "-"))
            for name, after in itertools.zip_longest(args, args[1:])
        ]
        return super().parse_args(ctx, ["--json=-" if one else name for name, one in zip(args, alone, strict=True)])


def evaluate(
    model_directory: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="What pretrain or finetune wrote.")],
    data: options.Data,
    text: options.TextColumn = None,
    text_pair: options.TextPairColumn = None,
    label: options.LabelColumn = None,
    encoding: options.Encoding = "utf-8",
    on_bad_rows: options.SkipBadRows = "error",
    batch_size: options.BatchSize = 32,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="Print the scores as JSON; with a FILE, write them there.", metavar="[FILE]"),
    ] = None,
) -> dict:
    """Score a model: one for a task on labelled rows, a language model on a corpus, an encoder on pairs of texts.

    The columns are those the model was trained with, unless you name others. The scores are printed, and added to the
    model's card.
    """
    check_at_least("batch_size", batch_size, 1)
    check_one_of("on_bad_rows", on_bad_rows, ("error", "skip"))
    data = as_list(data)
    arguments = manifest.read_manifest(model_directory, "model")["arguments"]
    recipe, run = arguments["recipe"], _settings(**arguments)
    named = {"text": text, "text_pair": text_pair, "label": label}
    run |= {name: column or run.get(name) for name, column in named.items()}
    run |= {"encoding": encoding, "on_bad_rows": on_bad_rows, "batch_size": batch_size}
    _check_pairs(model_directory, recipe["arguments"].get("pairs"), text_pair, run["text_pair"])
    load_tensorflow()
    task = find_task_of_model(recipe, run)
    records_length = _records_length(data, model_directory, None if task else recipe["builder"])
    run["sequence_length"] = records_length or run["sequence_length"]
    reads = () if records_length else task.columns if task else ("text",)
    _check_read(model_directory, reads, named | ({"encoding": encoding != "utf-8"} if records_length else {}))
    if not task:
        _forget_unread(run, data, text, is_text=records_length is None)
    if task:
        scores = _score(task, model_directory, data, recipe["arguments"], run)
    elif recipe["builder"] in ("add_masked_lm_head", "add_pretraining_heads"):
        scores = _score_masked_lm(model_directory, data, run, is_text=records_length is None)
    elif recipe["builder"] == "add_next_sentence_head":
        scores = _score_next_sentence(model_directory, data, run)
    elif recipe["builder"] == "add_causal_lm_head":
        scores = _score_causal_lm(model_directory, data, run, is_text=records_length is None)
    else:
        raise InputError(f"{model_directory} was made by {recipe['builder']}: it is not a model that can be scored.")
    _show(scores, json_file)
    _add_to_card(model_directory, data, {name: value for name, value in scores.items() if name != "predictions"})
    return scores


def _settings(recipe: dict, run: dict) -> dict:
    """How the model was trained, with a sequence length even if the run does not tell it."""
    encoder = recipe["encoder"] or recipe
    longest = encoder["arguments"].get("max_sequence_length", SEQUENCE_LENGTH)
    return {"sequence_length": min(SEQUENCE_LENGTH, longest), **run}


def _check_pairs(model_directory: Path, pairs: bool | None, named: str | None, column: str | None) -> None:
    """Raise InputError unless a head that says whether it is for `pairs` is given as many texts as it takes."""
    if pairs is False and named:
        raise InputError(
            f"{model_directory} answers single texts: leave --text-pair out; or if it was trained on pairs elsewhere, "
            f"import it with --pairs. Received: --text-pair {named}."
        )
    if pairs and not column:
        raise InputError(f"{model_directory} answers pairs of texts: name the second's column: --text-pair COLUMN.")


def _check_read(model_directory: Path, reads: tuple[str, ...], options: dict) -> None:
    """Raise InputError for one of `options` that was given and is not in `reads`."""
    for name, given in options.items():
        if given and name not in reads:
            raise InputError(
                f"--{name.replace('_', '-')} says nothing where {model_directory} is scored on such data: leave it out."
            )


def _records_length(data: list[str], model_directory: Path, builder: str | None) -> int | None:
    """The sequence length of the records that the data are, None for text; `builder` is that of a language model."""
    from tfllm.data import find_records

    records = find_records(data)
    if records and builder not in ("add_masked_lm_head", "add_pretraining_heads", "add_causal_lm_head"):
        raise InputError(
            f"{records.directory} holds rows of token ids, which score only masked and causal language models. Give "
            f"{model_directory} the files it is for."
        )
    return records.sequence_length if records else None


def _score(task: Task, model_directory: Path, data: list[str], head: dict, run: dict) -> dict:
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    rows = task.read(data, run, head)
    return task.scores(load_model(model_directory), load_tokenizer(model_directory), rows, head, run)


def _score_masked_lm(model_directory: Path, data: list[str], run: dict, *, is_text: bool) -> dict:
    from tfllm.data import masked_lm_dataset, read_texts
    from tfllm.evaluation import masked_lm_scores, pseudo_perplexity
    from tfllm.models import check_length, load_model
    from tfllm.tokenizers import load_tokenizer

    model, tokenizer = load_model(model_directory), load_tokenizer(model_directory)
    sequence_length, batch_size = run["sequence_length"], run["batch_size"]
    reading = _reading(run)
    dataset = masked_lm_dataset(
        data,
        tokenizer,
        sequence_length=sequence_length,
        batch_size=batch_size,
        mask_rate=run.get("mask_rate", 0.15),
        whole_word=run.get("whole_word", False),
        next_sentence=isinstance(model.output, dict),
        repeat=False,
        **reading,
    )
    if not is_text:
        check_length(model, sequence_length)
        log.warning("no pseudo-perplexity: records keep no texts")
        return masked_lm_scores(model, dataset)
    texts = read_texts(data, **reading)
    return {
        **masked_lm_scores(model, dataset),
        **pseudo_perplexity(model, tokenizer, texts, sequence_length=sequence_length, batch_size=batch_size),
    }


def _score_next_sentence(model_directory: Path, data: list[str], run: dict) -> dict:
    from tfllm.data import read_texts
    from tfllm.evaluation import evaluate_next_sentence
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    return evaluate_next_sentence(
        load_model(model_directory),
        load_tokenizer(model_directory),
        list(read_texts(data, **_reading(run))),
        sequence_length=run["sequence_length"],
        batch_size=run["batch_size"],
    )


def _score_causal_lm(model_directory: Path, data: list[str], run: dict, *, is_text: bool) -> dict:
    from tfllm.data import causal_lm_dataset, read_texts
    from tfllm.evaluation import causal_lm_scores, evaluate_causal_lm
    from tfllm.models import check_length, load_model
    from tfllm.tokenizers import load_tokenizer

    model, tokenizer = load_model(model_directory), load_tokenizer(model_directory)
    size = {"sequence_length": run["sequence_length"], "batch_size": run["batch_size"]}
    if is_text:
        return evaluate_causal_lm(model, tokenizer, read_texts(data, **_reading(run)), **size)
    check_length(model, size["sequence_length"])
    return causal_lm_scores(model, causal_lm_dataset(data, tokenizer, repeat=False, **size))


def _forget_unread(run: dict, data: list[str], text: str | None, *, is_text: bool) -> None:
    """Take out of `run` how the training's files were read where these have neither columns nor plain text."""
    from tfllm.data.sources import expand_paths, is_plain_text

    plain = [is_plain_text(source) for source in expand_paths(data)] if is_text else []
    if text is None and all(plain):
        run["text"] = None
    if not any(plain):
        run["document"] = "line"


def _reading(run: dict) -> dict:
    """How text is read, as `read_texts` takes it."""
    reading = {name: run[name] for name in ("encoding", "on_bad_rows")}
    return reading | {"text_column": run["text"], "document": run.get("document", "line")}


def _show(scores: dict, json_file: str | None) -> None:
    from rich.console import Console

    from tfllm.evaluation import print_scores

    text = json.dumps(scores, ensure_ascii=False, indent=1)
    print_scores(scores, errors if json_file == "-" else Console())
    if json_file == "-":
        print(text)
    elif json_file:
        try:
            Path(json_file).write_text(text + "\n", "utf-8")
        except OSError as error:
            raise InputError(f"{json_file}: {error.strerror}.") from None


def _add_to_card(model_directory: Path, data: list[str], scores: dict) -> None:
    from tfllm.data import expand_paths
    from tfllm.evaluation import add_evaluation

    name = re.sub(r"\W+", "-", Path(data[0]).name.split(".")[0]).strip("-") or "data"
    files = [source for source in expand_paths(data) if isinstance(source, Path)]
    try:
        add_evaluation(model_directory, name, scores, inputs=files)
    except OSError as error:
        log.warning("The scores are not in the model's card: %s: %s.", error.filename, error.strerror)
