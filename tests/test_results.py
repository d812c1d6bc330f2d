"""The page of results is what the benchmark files say."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def test_the_page_is_written_from_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import write_results

    assert write_results.PAGE.read_text("utf-8") == write_results.page()
    for name in ("write_results", "machine"):
        sys.modules.pop(name)
