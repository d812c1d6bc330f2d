"""How a command starts."""

import os
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import gc
from tfllm.cli.startup import load_tensorflow, start
start(quiet=False, verbose=False)
collections = []
gc.callbacks.append(lambda phase, info: collections.append(info))
load_tensorflow()
import tensorflow
print(len(collections), gc.isenabled())
"""


def test_no_garbage_is_looked_for_in_tensorflow_and_some_afterwards():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, text=True)
    collections, enabled = done.stdout.split()
    assert int(collections) < 20 and enabled == "True", done.stderr
