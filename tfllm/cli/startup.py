"""How a command starts: what is logged, and TensorFlow kept quiet."""

import contextlib
import gc
import io
import logging
import os
import sys
import warnings

from rich.console import Console
from rich.logging import RichHandler

from tfllm.noise import ANYTHING, held_back

log = logging.getLogger("tfllm")
_SILENT = "3"  # only fatal messages; at 2 TensorFlow calls a missing oneDNN kernel an error
errors = Console(stderr=True)  # progress and messages; results go to standard output


def start(*, quiet: bool, verbose: bool) -> None:
    """Set up logging, and import TensorFlow later without its start-up noise unless `verbose`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: what a terminal cannot show is escaped
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.handlers = [RichHandler(console=errors, show_time=False, show_path=False, show_level=False, markup=False)]
    log.propagate = False
    errors.quiet = quiet
    if not verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = _SILENT
        warnings.simplefilter("ignore")


def load_tensorflow() -> None:
    """Import TensorFlow and find its devices; what it prints meanwhile is shown only if it fails, or with -v."""
    if "tensorflow" in sys.modules:
        return
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == _SILENT
    with held_back(ANYTHING) if quiet else contextlib.nullcontext():
        gc.disable()  # none of what is imported is garbage; looking for some would take a third of the time
        import tensorflow as tf

        gc.freeze()
        gc.enable()
        if "TF_CONFIG" not in os.environ:  # several processes must find each other first
            tf.config.list_logical_devices()
    if quiet:
        for name in ("tensorflow", "absl"):  # absl warns of the gradients that a SavedModel leaves out
            logging.getLogger(name).setLevel(logging.ERROR)
