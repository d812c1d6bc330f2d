"""The most memory that a large corpus takes: while it is pretrained on, and while records are written from it.

    python benchmarks/memory.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

The corpus is real text, repeated with small changes. "model": a process that trains on one short text. "pretraining":
the same training on the corpus, which is then read to its end. "records": `write_records`, all its processes together.
Memory is the proportional set size (shared pages counted once), looked at ten times a second.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import contest
import corpora
import machine
import psutil
import typer

WORKS = ("model", "pretraining", "records")
STEPS = 20


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    megabytes: Annotated[str, typer.Option(help="Sizes of the corpus, comma-separated.")] = "200,2000",
    works: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(WORKS),
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: 20 MB.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no worker is left behind
    result = machine.begin("memory", None, keep=not quick)
    with tempfile.TemporaryDirectory() as folder:
        source, corpus = Path(folder) / "source.txt", Path(folder) / "corpus.txt"
        corpora.write_corpus("en", data, source)
        for size in ["20"] if quick else megabytes.split(","):
            machine.repeat_text(source, corpus, int(float(size) * 1e6))
            for work in works.split(","):
                asked = {"work": work, "file": str(corpus), "vocabulary": str(vocabulary), "folder": folder}
                row = watched(asked) | {"megabytes": corpus.stat().st_size / 1e6}
                print(work, size, row, flush=True)
                machine.end("memory", result, f"{work} {size} MB", row, remark, keep=not quick)


def watched(asked: dict) -> dict:
    """Run a worker; the most that it and its children hold, and how long it took."""
    begin, most = time.perf_counter(), 0
    command = [sys.executable, str(contest.FOLDER / "memory_workers.py"), json.dumps(asked)]
    with subprocess.Popen(command) as process:
        try:
            while process.poll() is None:
                most = max(most, _held(psutil.Process(process.pid)))
                time.sleep(0.1)
        finally:
            process.kill()
    if process.returncode:
        raise SystemExit(f"{asked['work']} failed.")
    return {"peak_bytes": most, "seconds": time.perf_counter() - begin}


def _held(process: psutil.Process) -> int:
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_full_info().pss
    except psutil.Error:
        pass  # it has just ended
    return total


if __name__ == "__main__":
    typer.run(main)
