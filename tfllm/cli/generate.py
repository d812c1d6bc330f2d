"""`tfllm generate`: a model writes on after prompts."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli.chatting import chat as hold_conversation
from tfllm.cli.predict import printable, read_lines
from tfllm.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from tfllm.export import SavedGenerator
    from tfllm.generation import TextGenerator


def generate(
    model: Annotated[
        Path,
        typer.Argument(help="Model directory, savedmodels/NAME or savedmodels/NAME/VERSION.", show_default=False),
    ],
    prompts: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]...", show_default=False, help="How a text begins.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Prompts, one a line; - reads standard input.")] = None,
    encoding: Annotated[str, typer.Option(help="--file: utf-8, latin-1, gb18030, utf-16, ...")] = "utf-8",
    max_new_tokens: Annotated[int | None, typer.Option(help="How many tokens at most.", show_default=False)] = None,
    min_new_tokens: Annotated[int | None, typer.Option(help="No text ends before.", show_default=False)] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0: always the most probable token; 1: as probable as the model says.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many tokens only, the most probable.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw from the most probable tokens that reach this probability together.")
    ] = None,
    min_p: Annotated[
        float | None, typer.Option(help="Draw from tokens at least so probable, as a share of the most probable.")
    ] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Above 1: tokens that came before become less probable.")
    ] = None,
    no_repeat_ngram: Annotated[int | None, typer.Option(help="No sequence of so many tokens comes twice.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends the text. May be repeated.")] = None,
    num_beams: Annotated[int | None, typer.Option(help="Follow so many texts at a time and keep the best.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="With beams: above 0 favours longer texts.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides what is drawn.")] = None,
    suffix: Annotated[
        str | None, typer.Option(help="Write what stands between each prompt and this text.", metavar="TEXT")
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Hold a conversation: prompts, lines of standard input or what is typed.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="chat: the system message.", metavar="TEXT")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show the text while it is written.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Run a SavedModel that tfllm cannot vouch for.")] = False,
) -> None:
    """Write on after prompts. What no option says is as the model was saved with."""
    settings = {
        "max_new_tokens": max_new_tokens,
        "min_new_tokens": min_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram,
        "stop": stop or None,
        "num_beams": num_beams,
        "length_penalty": length_penalty,
        "seed": seed,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    if suffix is not None and (chat or stream):
        raise InputError("Give --suffix without --chat and --stream.")
    if stream and as_json:
        raise InputError("Give --stream or --json, not both.")
    if encoding != "utf-8" and file is None:
        raise InputError("--encoding is that of a file: give --file, too.")
    if prompts and file is not None:
        raise InputError("Give prompts as arguments, or --file, not both.")
    prompts = read_lines(file, encoding) if file else [printable(prompt) for prompt in prompts or []]
    if system is not None and not chat:
        raise InputError("--system is for a conversation: give --chat, too.")
    if not prompts and not chat:
        raise InputError("Nothing to write on. Give prompts as arguments, or --file with one a line.")

    load_tensorflow()
    from tfllm.export import load_generator

    _check_writes(model)
    generator = load_generator(model, trust=trust)
    if chat:
        hold_conversation(generator, prompts, settings, system=system, as_json=as_json)
        return
    if stream:
        _stream(generator, prompts, settings)
        return
    if suffix is None:
        rows = generator.generate(prompts, **settings)
    else:
        rows = generator.fill(prompts, [printable(suffix)] * len(prompts), **settings)
    for number, row in enumerate(rows):
        if as_json:
            typer.echo(json.dumps(row, ensure_ascii=False))
        else:
            between = "\n" if generator.reads_first else ""
            lead = "\n" if number else ""
            typer.echo(lead + typer.style(row["prompt"], dim=True) + between + row["text"])  # tabs stay tabs


def _check_writes(model: Path) -> None:
    """Raise InputError for a model directory of another task; what is no model directory is for others to judge."""
    from tfllm.export.predict import is_model
    from tfllm.inference import task_of

    task = (
        task_of(manifest.read_manifest(model, "model")["arguments"]["recipe"]["builder"]) if is_model(model) else None
    )
    if task not in (None, "generation", "seq2seq"):
        raise InputError(
            f"{model} is a model for {task.replace('_', ' ')} and writes no text; ask it with `tfllm predict`. A model "
            "from `tfllm pretrain --objective causal` or `tfllm finetune --task chat` or `seq2seq` writes."
        )


def _stream(generator: "TextGenerator | SavedGenerator", prompts: list[str], settings: dict) -> None:
    for number, prompt in enumerate(prompts):
        sys.stdout.write(("\n" if number else "") + prompt + ("\n" if generator.reads_first else ""))
        for piece in generator.stream(prompt, **settings):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
