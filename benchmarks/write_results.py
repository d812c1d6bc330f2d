"""benchmarks/results/*.json -> docs/results.md. Run it whenever a result was added; a test holds the two equal."""

import statistics
from pathlib import Path

import comparison_tables
import encoder_tables
import machine
import published_decoder_tables
import writing_tables

PAGE = Path(__file__).parent.parent / "docs" / "results.md"
HEAD = """# Results

Every number here was measured by the command above its table and is kept in `benchmarks/results/`;
`python benchmarks/write_results.py` writes this page. The data sets are public ones that are not part of this project:
`benchmarks/corpora.py` names the files it reads, and how each is split.
"""
LANGUAGES = {"en": "English", "zh": "Chinese"}
FLOORS = {"sst2": 81.3, "trec": 91.0, "ag_news": 88.1, "chnsenticorp_htl": 89.8, "thucnews_titles": 85.0}
SEEDS = 3


def main() -> None:
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for language, name in LANGUAGES.items():
        result = machine.load(f"pretraining_{language}")
        if result:
            parts.append(_pretraining(name, result))
    parts += [_understanding(machine.load(file.stem)) for file in sorted(machine.RESULTS.glob("understanding_*.json"))]
    for tables in (writing_tables, published_decoder_tables, comparison_tables, encoder_tables):
        parts += tables.sections()
    return "\n".join(parts)


def _pretraining(language: str, result: dict) -> str:
    corpus_bytes, tokenizer, run = (result["pretraining"][name] for name in ("corpus_bytes", "tokenizer", "run"))
    held_out, tokens = run["held_out_scores"], run["steps"] * run["batch_size"] * run["sequence_length"]
    vocabulary = f"{tokenizer['kind']} vocabulary of {tokenizer['vocabulary_size']:,}"
    return f"""## Is pretraining worth it? {language}

    {result["command"]}

{machine.described(result["machine"])}
{result.get("remark", "")}

Pretrained: size {run["size"]}, {vocabulary}; {corpus_bytes / 1e6:.1f} MB of raw text, {run["steps"]:,} steps of
{run["batch_size"]} x {run["sequence_length"]} tokens ({tokens / 1e6:.0f} million), {run["seconds"] / 60:.0f} minutes.
Held-out text: loss {held_out["loss"]:.3f} nats, masked accuracy {held_out["masked_accuracy"]:.3f}
({held_out["masked_tokens"]:,} masked tokens).

Test accuracy in percent, mean ± standard deviation of {SEEDS} seeds: the same fine-tuning from the pretrained and from
random weights; the three pretrained ones as an `--ensemble`; TF-IDF with logistic regression on the same
split; the floor that the data's own notes give.

| task | pretrained | random | averaged | TF-IDF | floor | pretrained - random | pretrained - floor | seconds a run |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
{chr(10).join(_row(task, rows) for task, rows in result["tasks"].items())}
"""


def _understanding(result: dict) -> str:
    encoder = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in result["encoder"].items() if value)
    rows = []
    for task, found in result["tasks"].items():
        scores = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found["scores"].items())
        floor = "" if found["floor"] is None else f"{found['floor']:.3f}"
        gain = "" if found["floor"] is None else f"{next(iter(found['scores'].values())) - found['floor']:+.3f}"
        cells = [task, scores, floor, gain, f"{found['examples']:,}", found["arguments"]["epochs"], found["seconds"]]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return f"""## Understanding tasks, from {result["command"].split("--name ")[1].split()[0]}

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

Encoder: {encoder}. One training a task, best epoch on validation rows; scores on the test part; the floor that the
data's own notes give.

| task | scores | floor | first score - floor | test rows | epochs | seconds of training |
|---|---|---:|---:|---:|---:|---:|
{chr(10).join(rows)}
"""


def _row(task: str, rows: dict) -> str:
    scores = {
        init: [100 * run["accuracy"] for run in rows["runs"] if run["init"] == init]
        for init in ("pretrained", "random")
    }
    means = {init: statistics.mean(values) for init, values in scores.items()}
    baseline = 100 * rows["baselines"]["tfidf_logistic_regression"]["accuracy"]
    cells = [
        task,
        *(f"{means[init]:.1f} ± {statistics.stdev(values):.1f}" for init, values in scores.items()),
        f"{100 * rows['ensemble']:.1f}" if "ensemble" in rows else "",
        f"{baseline:.1f}",
        f"{FLOORS[task]:.1f}",
        f"{means['pretrained'] - means['random']:+.1f}",
        f"{means['pretrained'] - FLOORS[task]:+.1f}",
        f"{statistics.mean(run['seconds'] for run in rows['runs']):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
