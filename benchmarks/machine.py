"""What a result was measured on: hardware, versions, date, command; and where results are kept."""

import datetime
import json
import os
import platform
import sys
from pathlib import Path

import psutil

from tfllm.manifest import versions, write_json

RESULTS = Path(__file__).parent / "results"
_UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def describe() -> dict:
    """Processor, cores, memory, matrix units, versions and date, as JSON values."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.is_file() else set()
    names = [line.split(":", 1)[1].strip() for line in info.read_text().split("\n") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "units": [unit for unit in _UNITS if unit in words],
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }


def command_line() -> str:
    """The command that is running, as a person would type it from the project's root."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def save(name: str, result: dict) -> None:
    """Write results/NAME.json whole; called after every part, so that nothing measured is lost."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", result)


def load(name: str) -> dict | None:
    """What `save` wrote, or None."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else None
