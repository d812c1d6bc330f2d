"""Programs in processes of their own, without the seconds in which each would import TensorFlow.

A process imports what they share, starts nothing of it, and does every program in a fork; what one does to its memory,
directory and environment, no other sees.

    python forks.py PREPARATION

PREPARATION: Python that imports what is shared. In, a line each: JSON {"program": a file, or the name of a module,
"arguments": [...], "directory", "environment": {...}, "stdout": file, "stderr": file}; out: the fork's process number.
In: JSON {"process", "block"}; out: how it ended, null if it goes on.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
        fork = self.start(program, arguments, directory, environment)
        stdout, stderr = fork.communicate()
        return subprocess.CompletedProcess([program, *map(str, arguments)], fork.returncode, stdout, stderr)

    def start(
        self, program: str, arguments: Sequence, directory: str | Path = ".", environment: Mapping | None = None
    ) -> "Fork":
        """A program that goes on while others do."""
        if self._server is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._server = subprocess.Popen(self._command, stderr=subprocess.DEVNULL, **pipes)
        folder = tempfile.TemporaryDirectory()
        job = {
            "program": program,
            "arguments": list(map(str, arguments)),
            "directory": str(Path(directory).resolve()),
            "environment": dict(os.environ if environment is None else environment),
            **{name: str(Path(folder.name, name)) for name in ("stdout", "stderr")},
        }
        return Fork(self.ask, self.ask(job), folder)

    def ask(self, line: dict) -> int | None:
        """What the process answers to a line."""
        self._server.stdin.write(json.dumps(line) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        if self._server is not None:
            self._server.communicate()


class Fork:
    """A program in a fork, with what of `subprocess.Popen` the tests need."""

    def __init__(self, ask: Callable, process: int, folder: tempfile.TemporaryDirectory):
        self._ask, self._process, self._folder = ask, process, folder
        self.returncode = None

    def poll(self, block: bool = False) -> int | None:
        """How it ended; None if it goes on, for whose end `block` waits."""
        if self.returncode is None:
            self.returncode = self._ask({"process": self._process, "block": block})
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self._process, number)

    def said(self) -> list[str]:
        """What stands so far in its standard output and error."""
        files = (Path(self._folder.name, name) for name in ("stdout", "stderr"))
        return [file.read_text("utf-8", "replace") if file.exists() else "" for file in files]

    def communicate(self, timeout: float | None = None) -> list[str]:
        """Its standard output and error, at its end; after `timeout` seconds it is killed."""
        deadline = time.monotonic() + (timeout or 0)
        while self.poll(block=timeout is None) is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired([str(self._process)], timeout, *self.said())
            time.sleep(0.01)
        said = self.said()
        self._folder.cleanup()
        return said


def serve(preparation: str) -> None:
    """Do the programs that standard input names, each in a fork."""
    exec(preparation, {})
    for line in sys.stdin:
        job = json.loads(line)
        if "process" in job:
            ended, status = os.waitpid(job["process"], 0 if job["block"] else os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
            continue
        child = os.fork()
        if child == 0:
            become(job)
            return
        print(child, flush=True)


def become(job: dict) -> None:
    """Go on as a program that was started on its own."""
    os.chdir(job["directory"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, file in enumerate((os.devnull, job["stdout"], job["stderr"])):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    sys.argv = [job["program"], *job["arguments"]]
    if not job["program"].endswith(".py"):
        runpy.run_module(job["program"], run_name="__main__")
        return
    if not sys.flags.isolated:
        sys.path.insert(0, str(Path(job["program"]).parent))
    runpy.run_path(job["program"], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
