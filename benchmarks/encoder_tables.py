"""The sections of docs/results.md about published encoders and tokenizers, from benchmarks/results/*.json."""

import machine


def sections() -> list[str]:
    """Every section for which there is a result."""
    makers = {"published_encoders": _published, "parity": _parity}
    found = ((make, machine.load(name)) for name, make in makers.items())
    return [make(result) for make, result in found if result]


def _published(result: dict) -> str:
    rows = []
    for part, found in result["parts"].items():
        name = "STS-B, the SavedModel as imported" if part == "savedmodel" else part
        scores = ", ".join(f"{score} {value:.4f}" for score, value in found["scores"].items())
        trained = ""
        if "trained" in found:
            trained = f"{found['trained']:,} ({found['trained'] / found['parameters']:.2%})"
        elif part != "savedmodel":
            trained = "all"
        rows.append(f"| {name} | {scores} | {trained} | {found['examples']:,} | {found['seconds']:.0f} |")
    return f"""## A published sentence encoder

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

all-MiniLM-L6-v2, taken over by `tfllm import`: its vectors from a SavedModel that takes strings (published Spearman
0.8203), and classification with all weights trained, with adapters of rank 8 (`--lora-rank 8`), or by three seeds as
one model (`--seeds 3 --ensemble`).

| | test scores | parameters trained | test rows | seconds |
|---|---|---:|---:|---:|
{chr(10).join(rows)}
"""


def _parity(result: dict) -> str:
    rows = [
        f"| {name} | {found['reference']} | {found['texts']:,} | {found['different']:,} | {found['remark']} |"
        for name, found in result["tokenizers"].items()
    ]
    return f"""## Tokenizers beside their references

    {result["command"]}

{machine.described(result["machine"])}

Ids of the op graph and of the reference library: half of the texts are lines of real English, Chinese and German, half
made up of emoji sequences, combining marks, NUL, right-to-left text, long runs of white space and giant words.

| tokenizer | reference | texts | other ids | |
|---|---|---:|---:|---|
{chr(10).join(rows)}
"""
