"""Tokens a second of generation, greedy: tfllm, in Python and exported, beside KerasHub's and transformers' `generate`.

    python benchmarks/generation_speed.py --remark "Nothing else ran."

Every contender has random weights of one size, a cache of keys and values, and as many new tokens to write after the
same prompts. They take turns in processes of their own (see contest.py).
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import contest
import machine
import typer

SIZES = {
    "mini": {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024, "num_key_value_heads": 4},
    "small": {"num_layers": 6, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048, "num_key_value_heads": 8},
}
VOCABULARY, PROMPT = 8000, 32
CONTENDERS = {"tfllm": False, "savedmodel": False, "keras_hub": False, "transformers": True}  # by whether peers run it
PROGRAM = "generation_contenders.py"


def main(
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = contest.PEERS,
    sizes: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(SIZES),
    kinds: Annotated[str, typer.Option(help="gpt2, llama.")] = "gpt2,llama",
    batches: Annotated[str, typer.Option(help="Prompts at a time.")] = "1,8",
    new_tokens: Annotated[int, typer.Option(help="For each prompt.")] = 128,
    rounds: Annotated[int, typer.Option(help="Turns of every contender.")] = 7,
    threads: Annotated[int, typer.Option(help="Processors and threads of every contender.")] = 2,
    tries: Annotated[int, typer.Option(help="Times that a turn is made on a busy machine.")] = contest.TRIES,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: one size, one kind, short turns.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        sizes, kinds, new_tokens, rounds = "mini", "llama", 32, 2
    result = machine.begin("generation_speed", peers, keep=not quick)
    for size in sizes.split(","):
        for kind in kinds.split(","):
            for rows in map(int, batches.split(",")):
                asked = {
                    "size": SIZES[size],
                    "kind": kind,
                    "rows": rows,
                    "vocabulary_size": VOCABULARY,
                    "prompt_tokens": PROMPT,
                    "new_tokens": new_tokens,
                    "threads": threads,
                }
                workers = {
                    name: (peers if peer else sys.executable, PROGRAM, asked | {"work": name})
                    for name, peer in CONTENDERS.items()
                }
                turns = contest.hold(workers, rounds, warm_up=2, tries=tries)
                case = {
                    "size": size,
                    "kind": kind,
                    "rows": rows,
                    "new_tokens": new_tokens,
                    "threads": threads,
                    "rounds": rounds,
                    "contenders": {name: contest.rates(own, "tokens") for name, own in turns.items()},
                    "ratios": contest.ratios(turns, "tfllm", "tokens"),
                    "savedmodel_ratios": contest.ratios(turns, "savedmodel", "tokens"),
                    "cpu_ratios": contest.ratios(turns, "tfllm", "tokens", "cpu_seconds"),
                }
                print(json.dumps(case["ratios"] | {"rows": rows, "kind": kind, "size": size}, indent=1), flush=True)
                machine.end("generation_speed", result, f"{size}, {kind}, {rows}", case, remark, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
