"""What a result was measured on: hardware, versions, date, command; and where results are kept."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil

from tfllm.manifest import versions, write_json

RESULTS = Path(__file__).parent / "results"
_PEER_VERSIONS = (
    "import json, torch, transformers, tokenizers;"
    "print(json.dumps({library.__name__: library.__version__ for library in (torch, transformers, tokenizers)}))"
)
_UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def describe() -> dict:
    """Processor, cores, memory, matrix units, versions and date, as JSON values."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""  # Linux only
    words = set(text.split())
    names = [line.split(":", 1)[1].strip() for line in text.split("\n") if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "units": [unit for unit in _UNITS if unit in words],
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }


def described(hardware: dict) -> str:
    """What `describe` found, as two lines of text."""
    units = ", ".join(hardware["units"])
    packages = ", ".join(f"{name} {version}" for name, version in hardware["versions"].items())
    where = f"{hardware['processor']} ({units}), {hardware['cores']} cores, {hardware['memory_gib']} GiB, no GPU"
    return f"{hardware['date']}; {where}.\n{packages}."


def command_line() -> str:
    """The command that is running, as a person would type it from the project's root."""
    words, left_out = iter(sys.argv[1:]), ("--remark", "--peers", "--runs")
    shown = [word for word in words if word not in left_out or not next(words)]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown])


def save(name: str, result: dict) -> None:
    """Write results/NAME.json whole; called after every part, so that nothing measured is lost."""
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", result)


def begin(name: str, peers: Path | None, *, keep: bool) -> dict:
    """A result to fill in: cases of an earlier run are kept, so that they can be measured one by one."""
    before = load(name) if keep else None
    packages = json.loads(subprocess.check_output([peers, "-c", _PEER_VERSIONS], text=True)) if peers else {}
    return {"machine": describe(), "peers": packages, "cases": before["cases"] if before else {}}


def end(name: str, result: dict, case: str, found: dict, remark: str, *, keep: bool) -> None:
    """Add a case, and keep the result, or show the case if it is not to be kept: a quick run replaces no other."""
    result["cases"][case] = found | {"command": command_line(), "remark": remark}
    if keep:
        save(name, result)
    else:
        print(json.dumps(found, indent=1))


def load(name: str) -> dict | None:
    """What `save` wrote, or None."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def repeat_text(source: Path, file: Path, size: int) -> None:
    """Write at least `size` bytes of the lines of `source`; in every repetition other words are changed.

    Two letters of every fifth word are swapped, so that the number of different words grows as it does in real text.
    """
    written, repetition = 0, 0
    with open(file, "w", encoding="utf-8") as stream:
        while written < size:
            with open(source, encoding="utf-8") as lines:
                for line in lines:
                    changed = _changed(line, repetition) if repetition else line
                    stream.write(changed)
                    written += len(changed.encode())
                    if written >= size:
                        break
            repetition += 1


def _changed(line: str, repetition: int) -> str:
    words = line.rstrip("\n").split(" ")
    for place in range(repetition % 5, len(words), 5):
        word = words[place]
        if len(word) > 3:
            at = 1 + (repetition // 5 + place) % (len(word) - 2)
            words[place] = word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]
    return " ".join(words) + "\n"
