"""`tfllm export`: a model directory becomes a SavedModel that TF Serving serves, or a directory for transformers."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfllm.checks import InputError, check_one_of
from tfllm.cli.startup import load_tensorflow

FORMATS, WEIGHTS = ("savedmodel", "huggingface"), ("float32", "bfloat16", "int8")


def export(
    model: Annotated[Path, typer.Argument(help="Model directory.", metavar="MODEL_DIR", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            help="savedmodels/NAME; the version number is added. For huggingface the directory itself.",
            show_default=False,
        ),
    ],
    format: Annotated[str, typer.Option(help="savedmodel, or huggingface: what transformers loads.")] = "savedmodel",
    weights: Annotated[
        str,
        typer.Option(
            help="savedmodel: float32; bfloat16: faster where the server's processor multiplies it; int8: a quarter of "
            "the room. The last two for nearly the same answers."
        ),
    ] = "float32",
) -> None:
    """Write a SavedModel that takes plain strings, and check it in a process without Keras; or another format."""
    check_one_of("format", format, FORMATS)
    check_one_of("weights", weights, WEIGHTS)
    if format == "huggingface" and weights != "float32":
        raise InputError("Weights for transformers are float32: give --weights only for a SavedModel.")
    load_tensorflow()
    if format == "huggingface":
        _export_huggingface(Path(model), Path(out))
    else:
        _export_savedmodel(Path(model), Path(out), weights)


def _export_huggingface(model: Path, out: Path) -> None:
    from tfllm import manifest
    from tfllm.export import export_huggingface
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    run = manifest.read_manifest(model, "model")["arguments"]["run"]
    left_out = export_huggingface(
        load_model(model),
        load_tokenizer(model),
        out,
        sequence_length=run.get("sequence_length"),
        card=(model / manifest.CARD).read_text("utf-8"),
    )
    console = Console(highlight=False)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    console.out(f"{out}: {size / 1e6:.1f} MB, for transformers")
    for what in left_out.values():
        console.out(f"Left out: {what}.")


def _export_savedmodel(model: Path, out: Path, weights: str) -> None:
    from tfllm.export import export_savedmodel
    from tfllm.export.check import read_signatures
    from tfllm.export.columns import named_columns
    from tfllm.manifest import read_manifest
    from tfllm.models import load_model
    from tfllm.tokenizers import load_tokenizer

    console = Console(highlight=False)
    run = read_manifest(model, "model")["arguments"]["run"]
    version = export_savedmodel(
        load_model(model),
        load_tokenizer(model),
        out,
        sequence_length=run.get("sequence_length"),
        weights=weights,
        columns=named_columns(run),
    )
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    signatures = read_signatures(version)
    asked = signatures["serving_default"]["inputs"]
    console.out(f"{version}: {size / 1e6:.1f} MB, signatures {', '.join(signatures)}")
    console.out("Checked in a process without Keras: the same answers, scores to 1e-5.")
    if "classify" in signatures:
        console.out(f"Try it:    tfllm predict {out}" + ' "A text"' * len(asked))
    console.out(f"Look:      saved_model_cli show --dir {version} --tag_set serve --signature_def serving_default")
    console.out(
        f"Served by TF Serving, or by `tfllm serve {version.parent.parent}`:  curl -d '{example_request(asked)}' "
        f"http://localhost:8501/v1/models/{version.parent.name}:predict"
    )


def example_request(inputs: dict[str, dict]) -> str:
    """A request of one row to TF Serving, as JSON; `inputs` are those of a signature, as `read_signatures` has them."""
    row = {name: "A text" if len(one["shape"]) == 1 else ["One", "Another"] for name, one in inputs.items()}
    return json.dumps({"instances": [row if len(row) > 1 else "A text"]})
