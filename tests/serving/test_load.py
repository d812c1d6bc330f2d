"""Three times what a server can take, while versions change: every answer is right, or says to come again."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil


def test_under_load_nothing_is_wrong_lost_or_mixed(saved_models, tmp_path, start_server, logged, torture_rounds):
    """4 seconds; a minute under `make torture`, which also looks at memory."""
    seconds = torture_rounds(4, 60)
    numbers = tmp_path / "numbers"
    shutil.copytree(saved_models / "numbers" / "1", numbers / "1")
    # A run of 4 rows and 8 requests that wait: 36 clients are three times as many as fit.
    options = "--trust --poll 0.2 --max-queue 8 --max-batch-size 4 --threads 1"
    server = start_server(tmp_path, *options.split())
    logged(server, "numbers version 1 is served")
    memory = []
    watcher = threading.Thread(target=_watch, args=(server.process.pid, memory), daemon=True)
    watcher.start()
    program = Path(__file__).with_name("load.py")
    command = [sys.executable, program, server.url, server.grpc, saved_models, numbers, str(seconds)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 200)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    counts = found["counts"]
    assert found["wrong"] == []
    assert set(counts) <= {
        *("200", "429", "503", "504", "version 1", "version 2"),
        *("OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"),
    }
    assert counts["200"] > 20 and counts["OK"] > 5 and counts["429"] > 20
    assert counts["version 1"] and counts["version 2"]
    log = "".join(server.log)
    assert "numbers version 4 is not served" in log and "numbers version 7 is served" in log
    assert server.stop() == 0
    assert "defect" not in log and "Traceback" not in "".join(server.log)
    if os.environ.get("TFLLM_TORTURE"):
        half = memory[len(memory) // 2 :]
        assert max(half) < 1.1 * max(memory[: len(memory) // 2]), memory[:: len(memory) // 20]


def _watch(process: int, memory: list[int]) -> None:
    """Write down the memory of a process every half second, as long as it lives."""
    try:
        watched = psutil.Process(process)
        while True:
            memory.append(watched.memory_info().rss)
            time.sleep(0.5)
    except psutil.NoSuchProcess:
        return
