"""Contenders that take turns: every one in a process of its own, only one running at a time, A B A B.

A worker, in whatever Python has its libraries, calls `serve(turn)` (or `Turns`); `turn()` does a piece of work and
returns what it counted, e.g. {"examples": 320, "tokens": 8000}. `hold` starts the workers and lets them alternate; a
worker that waits is stopped (SIGSTOP), so that no thread of it runs on. A turn in which other processes took more than
a little of the processors is repeated, and the quietest is kept: threads that wait for each other (PyTorch's) lose far
more than their share on a busy machine, which would flatter the others. This file needs the standard library only.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent
QUIET = 0.05  # share of the processors' time that others may take during a turn
TRIES = 4
PEERS = FOLDER / ".venv-peers" / "bin" / "python"


class Turns:
    """The worker's side. `begin` waits for its turn, `end` reports it; a closed pipe ends the process."""

    def __init__(self):
        self._answers = os.fdopen(os.dup(1), "w")  # what libraries print must not mix with the answers
        os.dup2(2, 1)

    def begin(self) -> None:
        if not sys.stdin.readline():
            os._exit(0)  # from whatever depth of a library's training loop
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def end(self, **counted) -> None:
        seconds, cpu_seconds = time.perf_counter() - self._wall, time.process_time() - self._processor
        answer = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_bytes(), **counted}
        print(json.dumps(answer), file=self._answers, flush=True)


def serve(turn: Callable[[], dict]) -> None:
    """Do one turn whenever asked."""
    turns = Turns()
    while True:
        turns.begin()
        turns.end(**turn())


def peak_bytes(process: int | str = "self") -> int:
    """The most memory a process has had resident (not `ru_maxrss`, which a child inherits)."""
    for line in Path(f"/proc/{process}/status").read_text().split("\n"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def request() -> dict:
    """What a worker was asked for: its only argument."""
    return json.loads(sys.argv[1])


def hold(
    workers: dict[str, tuple[Path | str, str, dict]], rounds: int, warm_up: int = 1, tries: int = TRIES
) -> dict[str, list[dict]]:
    """Let workers take turns; the turns that warm up are not returned.

    Args:
        workers: name -> (Python interpreter, script in this folder, what `request` returns there).
        rounds: turns of each worker.
        warm_up: turns of each worker before these.
        tries: how often a turn on a busy machine is made.
    """
    with contextlib.ExitStack() as stack:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a stopped worker would outlive this process
        stack.callback(signal.signal, signal.SIGTERM, before)
        running = {}
        for name, (python, script, asked) in workers.items():
            running[name] = stack.enter_context(_started(python, script, asked))
            for _ in range(warm_up):
                print(f"  warm-up {name}: {_turn(name, running[name])}", flush=True)
        turns: dict[str, list[dict]] = {name: [] for name in running}
        for number in range(rounds):
            for name, process in running.items():
                turns[name].append(_quiet_turn(name, process, tries))
                print(f"  round {number + 1} {name}: {turns[name][-1]}", flush=True)
    return turns


@contextlib.contextmanager
def _started(python: Path | str, script: str, asked: dict):
    threads = asked.get("threads", os.cpu_count())
    counts = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict.fromkeys(counts, str(threads))
    command = [str(python), str(FOLDER / script), json.dumps(asked)]
    environment |= {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        os.sched_setaffinity(process.pid, range(threads))
        try:
            yield process
        finally:
            process.kill()  # a stopped process too


def _quiet_turn(name: str, process: subprocess.Popen, tries: int) -> dict:
    best = None
    for _ in range(tries):
        turn = _turn(name, process)
        if best is None or turn["others"] < best["others"]:
            best = turn
        if best["others"] <= QUIET:
            break
    return best


def _turn(name: str, process: subprocess.Popen) -> dict:
    busy, begin = _busy_seconds(), time.perf_counter()
    process.send_signal(signal.SIGCONT)
    process.stdin.write("turn\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{name} ended before its time.")
    process.send_signal(signal.SIGSTOP)
    turn = json.loads(answer)
    others = max(0.0, _busy_seconds() - busy - turn["cpu_seconds"])
    return turn | {"others": others / (time.perf_counter() - begin) / os.cpu_count()}


def _busy_seconds() -> float:
    """Seconds that all processors have worked, for whomever; time stolen by other virtual machines included."""
    user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def rates(turns: list[dict], unit: str) -> dict:
    """Medians over a contender's turns: per second, CPU seconds per unit, tokens per second, memory."""
    return {
        f"{unit}_per_second": statistics.median(turn[unit] / turn["seconds"] for turn in turns),
        "tokens_per_second": statistics.median(turn["tokens"] / turn["seconds"] for turn in turns),
        f"cpu_seconds_per_{unit.removesuffix('s')}": statistics.median(
            turn["cpu_seconds"] / turn[unit] for turn in turns
        ),
        "tokens_per_cpu_second": statistics.median(turn["tokens"] / turn["cpu_seconds"] for turn in turns),
        "peak_bytes": max(turn["peak_bytes"] for turn in turns),
        f"{unit}_in_a_turn": turns[0][unit],
        "taken_by_others": max(turn["others"] for turn in turns),
    }


def ratios(turns: dict[str, list[dict]], first: str, unit: str, seconds: str = "seconds") -> dict[str, float]:
    """How many times faster `first` is than each other: the median over the rounds.

    With `seconds="cpu_seconds"` it is how many times less processor time it takes, which other work on the machine
    hardly changes as long as every contender has one thread.
    """

    def rate(turn: dict) -> float:
        return turn[unit] / turn[seconds]

    return {
        name: statistics.median(rate(a) / rate(b) for a, b in zip(turns[first], others, strict=True))
        for name, others in turns.items()
        if name != first
    }


def training_flops(size: dict, tokens: float, vocabulary: int = 0, predicted: float = 0.0) -> float:
    """Multiplications and additions that training on so many real tokens needs: three times the forward pass's.

    Counted are the weight matrices of the layers and, at `predicted` tokens, of a masked-LM head; attention scores and
    everything that padding costs are not.
    """
    width, inner = size["hidden_dim"], size["intermediate_dim"]
    layers = size["num_layers"] * (4 * width * width + 2 * width * inner)
    head = width * width + width * vocabulary if predicted else 0
    return 6.0 * (layers * tokens + head * predicted)
