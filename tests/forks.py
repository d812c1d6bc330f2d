"""Programs in processes of their own, without the seconds in which each would import TensorFlow.

A process imports what they share, starts nothing of it, and does every program in a fork; what one does to its memory,
directory and environment, no other sees.

    python forks.py PREPARATION

PREPARATION: Python that imports what is shared. In, a line each: JSON {"program": a file, or the name of a module,
"arguments": [...], "directory", "environment": {...}, "stdout": file, "stderr": file}. Out: how each ended.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


class Forks:
    """Starts the process with the first program, and ends it with `close`."""

    def __init__(self, preparation: str, *options: str):
        """`options`: of Python, such as `-I`."""
        self._command = [sys.executable, *options, __file__, preparation]
        self._server = None

    def run(
        self, program: str, arguments: Sequence, directory: str | Path = ".", environment: Mapping | None = None
    ) -> subprocess.CompletedProcess:
        """What `subprocess.run` returns for a program, with its output as text."""
        if self._server is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._server = subprocess.Popen(self._command, stderr=subprocess.DEVNULL, **pipes)
        with tempfile.TemporaryDirectory() as folder:
            said = {name: str(Path(folder, name)) for name in ("stdout", "stderr")}
            job = {
                "program": program,
                "arguments": list(map(str, arguments)),
                "directory": str(Path(directory).resolve()),
                "environment": dict(os.environ if environment is None else environment),
                **said,
            }
            self._server.stdin.write(json.dumps(job) + "\n")
            self._server.stdin.flush()
            ended = int(self._server.stdout.readline())
            texts = {name: Path(file).read_text("utf-8", "replace") for name, file in said.items()}
        return subprocess.CompletedProcess([program, *job["arguments"]], ended, **texts)

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()


def serve(preparation: str) -> None:
    """Do the programs that standard input names, each in a fork."""
    exec(preparation, {})
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(job: dict) -> None:
    """Go on as a program that was started on its own."""
    os.chdir(job["directory"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, file in enumerate((os.devnull, job["stdout"], job["stderr"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    sys.argv = [job["program"], *job["arguments"]]
    run = runpy.run_path if job["program"].endswith(".py") else runpy.run_module
    run(job["program"], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
