"""Fine-tuning from raw text to updated weights, at the lengths real texts have: tfllm, KerasHub, transformers.

    python benchmarks/finetuning.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

A contender's turn is one epoch over its texts: they are tokenised, made into batches and trained on. All have random
weights, the same vocabulary and sizes and at most 128 tokens a text; slow ones get fewer texts a turn.
"""

import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import contest
import corpora
import machine
import typer
from step import SIZES

TASKS = ("sst2", "ag_news")
# name -> (runs in the peers' environment, texts a turn relative to the most, what the worker is asked for)
CONTENDERS = {
    "tfllm": (False, 1.0, {"work": "finetuning"}),
    "keras_hub": (False, 0.1, {"work": "keras_hub_finetuning"}),
    "transformers_guide": (True, 0.2, {"work": "finetuning", "style": "guide"}),
    "transformers_expert": (True, 0.5, {"work": "finetuning", "style": "expert"}),
    "transformers_expert_compiled": (True, 0.5, {"work": "finetuning", "style": "expert_compiled"}),
}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = contest.PEERS,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(TASKS),
    sizes: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(SIZES),
    contenders: Annotated[str, typer.Option(help="Comma-separated, tfllm first.")] = ",".join(CONTENDERS),
    rounds: Annotated[int, typer.Option(help="Turns of every contender.")] = 5,
    texts: Annotated[int, typer.Option(help="Texts in a turn of the fastest; more is fairer to all.")] = 3200,
    threads: Annotated[int, typer.Option(help="Processors and threads of every contender.")] = 2,
    tries: Annotated[int, typer.Option(help="Times that a turn is made on a busy machine.")] = contest.TRIES,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: one task, one size, short turns.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        tasks, sizes, rounds, texts = "sst2", "mini", 2, 640
    name = "finetuning" if threads > 1 else "finetuning_one_thread"
    result = machine.begin(name, peers, keep=not quick)
    for size in sizes.split(","):
        for task in tasks.split(","):
            print(f"{size} {task}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "rows.json"
                rows = corpora.read_task(task, data)[0]
                file.write_text(json.dumps(random.Random(0).sample(rows, len(rows))), "utf-8")
                asked = {"file": str(file), "vocabulary": str(vocabulary), "size": SIZES[size], "threads": threads}
                case = compare(contenders.split(","), asked, peers, rounds, texts, tries)
            print(json.dumps([case["ratios"], case["cpu_ratios"]], indent=1), flush=True)
            machine.end(name, result, f"{size} {task}", case, remark, keep=not quick)


def compare(contenders: list[str], asked: dict, peers: Path, rounds: int, texts: int, tries: int) -> dict:
    workers = {"matmul": (peers, "torch_contenders.py", asked | {"work": "matmul"})}
    for name in contenders:
        peer, share, work = CONTENDERS[name]
        examples = max(2, round(texts * share / 32)) * 32
        script = "torch_contenders.py" if peer else "keras_contenders.py"
        workers[name] = (peers if peer else sys.executable, script, asked | work | {"examples": examples})
    turns = contest.hold(workers, rounds, tries=tries)
    peak = max(turn["flops_per_second"] for turn in turns.pop("matmul"))
    table = {name: contest.rates(own, "examples") for name, own in turns.items()}
    for row in table.values():
        rate = row["tokens_per_cpu_second" if asked["threads"] == 1 else "tokens_per_second"]
        row["share_of_matmul_peak"] = contest.training_flops(asked["size"], rate) / peak
    length = statistics.mean(turn["tokens"] / turn["examples"] for turn in turns["tfllm"])
    return {
        "contenders": table,
        "ratios": contest.ratios(turns, "tfllm", "examples"),
        "cpu_ratios": contest.ratios(turns, "tfllm", "examples", "cpu_seconds"),
        "matmul_flops_per_second": peak,
        "tokens_per_text": length,
        "rounds": rounds,
        "threads": asked["threads"],
    }


if __name__ == "__main__":
    typer.run(main)
