"""A classifier behind HTTP, from a request with texts to labels: `tfllm serve` beside ONNX Runtime on the same kind of
server, Starlette on uvicorn.

    python benchmarks/serving_http.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

A contender's turn answers some of SST-2's test texts over loopback, on connections that are used again: one text a
request, one request after another; or 32 texts a request, four requests at a time.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import contest
import machine
import typer
from serving_latency import summary, usual, write_texts
from step import SIZES

KINDS = {"one": {"batch_size": 1, "clients": 1}, "saturated": {"batch_size": 32, "clients": 4}}
CONTENDERS = {  # name -> what the worker is asked for
    "tfllm": {"server": "tfllm", "weights": "float32", "engine": "tensorflow"},
    "tfllm_bfloat16": {"server": "tfllm", "weights": "bfloat16", "engine": "tensorflow"},
    "openvino": {"server": "tfllm", "weights": "float32", "engine": "openvino"},
    "openvino_bfloat16": {"server": "tfllm", "weights": "bfloat16", "engine": "openvino"},
    "onnx": {"server": "onnx", "int8": False},
    "onnx_int8": {"server": "onnx", "int8": True},
}


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = contest.PEERS,
    sizes: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(SIZES),
    kinds: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(KINDS),
    contenders: Annotated[str, typer.Option(help="Comma-separated, tfllm first.")] = usual(CONTENDERS),
    rounds: Annotated[int, typer.Option(help="Turns of every contender.")] = 5,
    texts: Annotated[int, typer.Option(help="Texts in a saturated turn; a quarter of them alone.")] = 1280,
    threads: Annotated[int, typer.Option(help="Processors and threads of every server.")] = 2,
    tries: Annotated[int, typer.Option(help="Times that a turn is made on a busy machine.")] = contest.TRIES,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: one size, short turns.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        sizes, rounds, texts = "mini", 2, 256
    result = machine.begin("serving_http", peers, keep=not quick)
    for size in sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:  # what is exported for the first kind serves the other, too
            asked = {"file": write_texts(data, Path(folder)), "folder": folder}
            asked |= {"vocabulary": str(vocabulary), "threads": threads}
            asked |= {"size": SIZES[size], "peers": str(peers)}
            for kind in kinds.split(","):
                asked |= {**KINDS[kind], "examples": texts if kind == "saturated" else texts // 4}
                workers = {
                    name: (sys.executable, "http_contenders.py", asked | CONTENDERS[name])
                    for name in contenders.split(",")
                }
                turns = contest.hold(workers, rounds, warm_up=2, tries=tries)
                case = summary(turns, rounds, threads)
                print(json.dumps([case["ratios"], case["cpu_ratios"]], indent=1), flush=True)
                machine.end("serving_http", result, f"{size} {kind}", case, remark, keep=not quick)


if __name__ == "__main__":
    typer.run(main)
