"""The command line: one file per command; the only place that sees every other part of the package.

Exit code 0: done. 2: something the user can mend, said in a line or two. 1: a defect, with its traceback.
"""

import re
import sys
from typing import Annotated

import typer

from tfllm.checks import InputError
from tfllm.cli import data, records, tokenizer
from tfllm.cli.check import check
from tfllm.cli.evaluate import EvaluateCommand, evaluate
from tfllm.cli.export import export
from tfllm.cli.finetune import finetune
from tfllm.cli.generate import generate
from tfllm.cli.import_ import import_checkpoint
from tfllm.cli.panels import PanelCommand
from tfllm.cli.predict import predict
from tfllm.cli.pretrain import pretrain
from tfllm.cli.quickstart import quickstart
from tfllm.cli.serve import serve
from tfllm.cli.startup import start
from tfllm.version import __version__

_SMALLER = "Give a smaller --batch-size or --sequence-length; a training also --micro-batches 2, or --remat."

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
app.command()(quickstart)
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(data.app, name="data")
app.add_typer(records.app, name="records")
for command in (pretrain, finetune):
    app.command(cls=PanelCommand)(command)
for command in (predict, generate, export, check, serve):
    app.command()(command)
app.command(cls=EvaluateCommand)(evaluate)
app.command("import")(import_checkpoint)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tfllm {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only results and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Also what TensorFlow says.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """From raw text to a language model that TF Serving serves."""
    start(quiet=quiet, verbose=verbose)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # Ctrl-C
            print("tfllm: stopped.", file=sys.stderr)
        raise
    except InputError as error:
        message = str(error)
    except OSError as error:
        reason = error.strerror or str(error).rstrip(".")  # TensorFlow raises some that are only a text
        message = f"{error.filename or ''}: {reason}.".removeprefix(": ")
    except Exception as error:
        # tf.data wraps what a pipeline raises in its own error, before a traceback.
        quoted = re.search(r"InputError: (.+?)\s*(?:Traceback \(most|\Z)", str(error), re.DOTALL)
        memory = re.search(r"OOM when allocating tensor with shape\s*(\[[\d,]*\])", str(error))
        if quoted is None and memory is None:
            raise
        message = quoted[1] if quoted else f"There is no memory for numbers of shape {memory[1]}. {_SMALLER}"
    else:
        return
    print(f"tfllm: {message}", file=sys.stderr)
    sys.exit(2)
