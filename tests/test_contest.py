"""Contests of the benchmarks: processes that take turns, and the numbers made from their turns."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
WORKER = """
import contest

turns = 0


def turn():
    global turns
    turns += 1
    print("what libraries print does no harm")
    return {"examples": contest.request()["examples"], "tokens": turns}


contest.serve(turn)
"""


@pytest.fixture
def contest(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    import contest

    yield contest
    sys.modules.pop("contest")


def test_every_worker_gets_its_turns_and_those_that_warm_up_are_left_out(contest, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER, "utf-8")
    workers = {name: (sys.executable, str(script), {"examples": count}) for name, count in (("a", 3), ("b", 5))}
    turns = contest.hold(workers, rounds=2, warm_up=1, tries=1)
    assert [(turn["examples"], turn["tokens"]) for turn in turns["a"]] == [(3, 2), (3, 3)]
    assert [(turn["examples"], turn["tokens"]) for turn in turns["b"]] == [(5, 2), (5, 3)]
    assert all(turn["seconds"] > 0 and turn["peak_bytes"] > 1e6 for turn in turns["a"] + turns["b"])


def test_a_ratio_is_the_median_over_the_rounds(contest):
    fast = [{"examples": 10, "seconds": seconds} for seconds in (1, 1, 4)]
    slow = [{"examples": 5, "seconds": seconds} for seconds in (1, 2, 2)]
    assert contest.ratios({"fast": fast, "slow": slow}, "fast", "examples") == {"slow": 2.0}


def test_training_counts_three_multiplications_and_additions_for_every_weight_and_token(contest):
    size = {"num_layers": 2, "hidden_dim": 4, "intermediate_dim": 8}
    weights = 2 * (4 * 4 * 4 + 2 * 4 * 8)
    assert contest.training_flops(size, tokens=10) == 6 * weights * 10
    assert contest.training_flops(size, 10, vocabulary=100, predicted=3) == 6 * (weights * 10 + 3 * (4 * 4 + 4 * 100))
