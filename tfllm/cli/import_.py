"""`tfllm import`: a published checkpoint becomes a model directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli import options
from tfllm.cli.startup import load_tensorflow, log

if TYPE_CHECKING:
    from tfllm.models.pretrained import Checkpoint, Folder
    from tfllm.tokenizers import Tokenizer

_HUB, _KERAS_HUB = "hf:", "keras-hub:"


def import_checkpoint(
    source: Annotated[
        str,
        typer.Argument(
            help="A directory of transformers, of sentence-transformers or of TensorFlow's BERT; hf:ORG/NAME; or "
            "keras-hub:PRESET.",
            show_default=False,
        ),
    ],
    out: options.Out,
) -> dict:
    """Take over a published model: its weights, its head and its tokenizer."""
    source, out = str(source), Path(out)
    manifest.check_free(out)
    load_tensorflow()
    from tfllm.evaluation import model_card
    from tfllm.models import save_model

    checkpoint, tokenizer, length = _read_preset(source) if source.startswith(_KERAS_HUB) else _read_folder(source)
    _check_vocabulary(checkpoint, tokenizer)
    run = {
        "command": "import",
        "source": source,
        "class_name": checkpoint.class_name,
        "sequence_length": length,
        "left_out": checkpoint.left_out,
    }
    card = model_card(out.name, checkpoint.model, run)
    save_model(checkpoint.model, out, tokenizer, run=run, card=card)
    log.info("wrote %s: %s, %s parameters", out, checkpoint.class_name, f"{checkpoint.model.count_params():,}")
    for name, reason in checkpoint.left_out.items():
        log.info("left out %s: %s", name, reason)
    return run


def _read_folder(source: str) -> tuple["Checkpoint", "Tokenizer", int]:
    """The model and tokenizer of a directory, and the length at which its texts are cut."""
    from tfllm.models import pretrained

    if source.startswith(_HUB):
        folder = pretrained.fetch(source.removeprefix(_HUB))
    else:
        folder = pretrained.open_folder(source)
    if pretrained.is_tensorflow_bert(folder):
        checkpoint, tokenizer = pretrained.load_tensorflow_bert(folder), _plain_tokenizer(folder)
    else:
        checkpoint, tokenizer = pretrained.load_checkpoint(folder), _plain_tokenizer(folder)
    return checkpoint, tokenizer, pretrained.read_length(folder, checkpoint.model)
