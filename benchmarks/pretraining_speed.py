"""Masked-language-model pretraining from raw text, tokens a second: tfllm against transformers.

    python benchmarks/pretraining_speed.py --data DATA --vocabulary VOCABULARY

Both read the same text in an endless loop while they train, fill rows of 128 tokens and mask 15 %; batches of 32 rows.
tfllm packs texts that do not see each other and predicts at masked positions; transformers joins and cuts texts
(`group_texts`), masks with DataCollatorForLanguageModeling, and BertForMaskedLM predicts at every position, under
bfloat16 autocast with the fused AdamW.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import contest
import corpora
import machine
import typer
from step import SIZES, VOCABULARY

BATCH_SIZE, MASKED_SHARE = 32, 0.15
CONTENDERS = {  # name -> (runs in the peers' environment, what the worker is asked for)
    "tfllm": (False, {}),
    "transformers_expert": (True, {"style": "expert"}),
    "transformers_expert_compiled": (True, {"style": "expert_compiled"}),
}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = contest.PEERS,
    sizes: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(SIZES),
    contenders: Annotated[str, typer.Option(help="Comma-separated, tfllm first.")] = ",".join(CONTENDERS),
    rounds: Annotated[int, typer.Option(help="Turns of every contender.")] = 5,
    batches: Annotated[int, typer.Option(help="Batches in a turn.")] = 20,
    threads: Annotated[int, typer.Option(help="Processors and threads of every contender.")] = 2,
    tries: Annotated[int, typer.Option(help="Times that a turn is made on a busy machine.")] = contest.TRIES,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: one size, short turns.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        sizes, rounds, batches = "mini", 2, 4
    name = "pretraining_speed" if threads > 1 else "pretraining_speed_one_thread"
    result = machine.begin(name, peers, keep=not quick)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpora.write_corpus("en", data, corpus)
        for size in sizes.split(","):
            asked = {
                "work": "pretraining",
                "file": str(corpus),
                "vocabulary": str(vocabulary),
                "size": SIZES[size],
                "threads": threads,
                "batches": batches,
                "batch_size": BATCH_SIZE,
            }
            case = compare(contenders.split(","), asked, peers, rounds, tries)
            print(json.dumps(case["cpu_ratios"], indent=1), flush=True)
            machine.end(name, result, size, case, remark, keep=not quick)


def compare(contenders: list[str], asked: dict, peers: Path, rounds: int, tries: int) -> dict:
    workers = {"matmul": (peers, "torch_contenders.py", asked | {"work": "matmul"})}
    for name in contenders:
        peer, work = CONTENDERS[name]
        script = "torch_contenders.py" if peer else "keras_contenders.py"
        workers[name] = (peers if peer else sys.executable, script, asked | work)
    turns = contest.hold(workers, rounds, tries=tries)
    peak = max(turn["flops_per_second"] for turn in turns.pop("matmul"))
    table = {name: contest.rates(own, "tokens") for name, own in turns.items()}
    for row in table.values():
        rate = row["tokens_per_cpu_second" if asked["threads"] == 1 else "tokens_per_second"]
        flops = contest.training_flops(asked["size"], rate, VOCABULARY, MASKED_SHARE * rate)
        row["share_of_matmul_peak"] = flops / peak
    return {
        "contenders": table,
        "ratios": contest.ratios(turns, "tfllm", "tokens"),
        "cpu_ratios": contest.ratios(turns, "tfllm", "tokens", "cpu_seconds"),
        "matmul_flops_per_second": peak,
        "rounds": rounds,
        "threads": asked["threads"],
    }


if __name__ == "__main__":
    typer.run(main)
