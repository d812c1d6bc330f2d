"""Tiny SavedModels with every kind of signature, and one server for all tests that only ask."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Server(NamedTuple):
    """A running `tfllm serve`."""

    process: subprocess.Popen
    url: str
    grpc: str
    log: list[str]

    def stop(self) -> int:
        """End it as an operator would; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def start_server():
    """`start_server(*arguments)`: runs `tfllm serve` in a process and waits until it listens."""
    started = []

    def start(*arguments: str | Path) -> Server:
        ports = ["--rest-port", "0", "--grpc-port", "0"]
        command = [sys.executable, "-m", "tfllm", "serve", *ports, *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "500"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        started.append(process)
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stderr), daemon=True)
        reader.start()
        found = re.match(r"REST (\S+)  gRPC (\S+)", process.stdout.readline())
        if not found:
            reader.join(10)
            pytest.fail(f"the server did not start: {''.join(log)}")
        return Server(process, found[1], found[2], log)

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory):
    """The directory that saved.py writes. Tests read it; those that change it take a copy."""
    directory = tmp_path_factory.mktemp("served")
    subprocess.run([sys.executable, Path(__file__).parent / "saved.py", directory], check=True, capture_output=True)
    return directory


@pytest.fixture(scope="session")
def server(saved_models, start_server, tmp_path_factory):
    """A server of numbers/1 ("old") and numbers/2 ("new"), words/3 and reviews/1."""
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(
        f"""model_config_list {{
          config {{ name: "numbers" base_path: "{saved_models}/numbers" model_platform: "tensorflow"
                   model_version_policy {{ all {{}} }}
                   version_labels {{ key: "old" value: 1 }} version_labels {{ key: "new" value: 2 }}
                   version_labels {{ key: "gone" value: 9 }} }}
          config {{ name: "words" base_path: "{saved_models}/words" model_platform: "tensorflow" }}
          config {{ name: "reviews" base_path: "{saved_models}/reviews" model_platform: "tensorflow" }}
        }}"""
    )
    found = start_server("--trust", "--model-config", config)
    wait_for(
        found,
        "numbers version 1 is served",
        "numbers version 2 is served",
        "words version 3 is served",
        "reviews version 1 is served",
    )
    return found


@pytest.fixture(scope="session")
def rest(server):
    """An HTTP client of the server."""
    import httpx

    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def wait_for(server: Server, *lines: str) -> None:
    """Wait until the server has logged all of these."""
    import time

    for _ in range(600):
        if all(line in "".join(server.log) for line in lines):
            return
        time.sleep(0.1)
    pytest.fail(f"never logged {lines}: {''.join(server.log)}")


@pytest.fixture(scope="session")
def logged():
    """`logged(server, *lines)`: waits until the server has logged all of these."""
    return wait_for


@pytest.fixture
def base_path(saved_models, tmp_path):
    """A base path of its own with numbers/1."""
    shutil.copytree(saved_models / "numbers" / "1", tmp_path / "numbers" / "1")
    return tmp_path
