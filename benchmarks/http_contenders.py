"""Servers as workers of serving_http.py: a worker starts one, and a turn asks it."""

import contextlib
import ctypes
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import contest

PATH = "/v1/models/reviews:predict"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PATIENCE = 120  # seconds until a server answers


def main():
    ask_server(contest.request())


def ask_server(asked):
    """A turn asks a server for the labels of some texts."""
    port = _free_port()
    texts = itertools.cycle(json.loads(Path(asked["file"]).read_text("utf-8")))
    with _started(_command(asked, port)) as process, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(_Client(port))) for _ in range(asked["clients"])]
        clients[0].wait(process)
        pool = stack.enter_context(ThreadPoolExecutor(len(clients)))

        def turn() -> dict:
            before, wanted = _used_seconds(process.pid) + time.process_time(), asked["examples"]
            chosen = list(itertools.islice(texts, wanted))
            requests = [chosen[start : start + asked["batch_size"]] for start in range(0, wanted, asked["batch_size"])]
            shares = [requests[number :: len(clients)] for number in range(len(clients))]
            for client in clients:
                client.close()  # the server has hung up while others took their turns
            answered = sum(pool.map(_Client.ask_all, clients, shares))
            assert answered == len(chosen)
            return {
                "examples": answered,
                "tokens": sum(len(text.split()) for text in chosen),
                "cpu_seconds": _used_seconds(process.pid) + time.process_time() - before,  # the client's among them
                "peak_bytes": contest.peak_bytes(process.pid),
            }

        contest.serve(turn)


class _Client:
    """One connection, used again."""

    def __init__(self, port: int):
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask_all(self, requests: list[list[str]]) -> int:
        """How many labels came."""
        return sum(len(self.ask(texts)) for texts in requests)

    def ask(self, texts: list[str]) -> list:
        self._connection.request("POST", PATH, json.dumps({"instances": texts}))
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{answer.status}: {found[:500]!r}")
        return json.loads(found)["predictions"]

    def wait(self, process: subprocess.Popen) -> None:
        """Until the server answers."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self.ask(["good"])
                return
            except (OSError, SystemExit):
                if process.poll() is not None or time.monotonic() > end:
                    raise
                self._connection.close()
                time.sleep(0.1)

    def close(self) -> None:
        self._connection.close()


def _command(asked: dict, port: int) -> list[str]:
    if asked["server"] == "onnx":
        program = Path(__file__).with_name("onnx_server.py")
        return [asked["peers"], str(program), json.dumps(asked | {"port": port})]
    import serving_contenders

    directory = serving_contenders.exported(asked, Path(asked["folder"])).parent
    served = directory.with_name(f"served_{asked['weights']}") / "reviews"  # the name it is asked by
    if not served.exists():
        served.parent.mkdir()
        served.symlink_to(directory)
    ports = ["--rest-port", str(port), "--grpc-port", "0"]
    return [sys.executable, "-m", "tfllm", "serve", str(served.parent), *ports, "--engine", asked["engine"]]


@contextlib.contextmanager
def _started(command: list[str]):
    def die_with_parent():
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)

    with subprocess.Popen(command, preexec_fn=die_with_parent, stdout=sys.stderr) as process:
        try:
            yield process
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _used_seconds(process: int) -> float:
    """Processor time of all threads of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
