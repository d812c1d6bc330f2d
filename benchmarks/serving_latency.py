"""A classifier from raw text to label, one text at a time and many: tfllm's SavedModel, KerasHub, transformers, ONNX.

    python benchmarks/serving_latency.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

All have random weights, the same vocabulary and sizes and at most 128 tokens a text; the texts are those of SST-2's
test part. A contender's turn answers some of them, alone or in batches of 32; the slower it is, the fewer.
"""

import importlib.util
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import contest
import corpora
import machine
import typer
from step import SIZES

BATCHES = {"one": 1, "saturated": 32}
# name -> (runs in the peers' environment, texts a turn relative to the most, what the worker is asked for)
CONTENDERS = {
    "tfllm": (False, 1.0, {"work": "tfllm", "weights": "float32"}),
    "tfllm_bfloat16": (False, 1.0, {"work": "tfllm", "weights": "bfloat16"}),
    "keras_hub_savedmodel": (False, 0.25, {"work": "keras_hub_savedmodel"}),
    "keras_hub_predict": (False, 0.03, {"work": "keras_hub_predict"}),
    "transformers": (True, 0.5, {"work": "pipeline", "bfloat16": False}),
    "transformers_bfloat16": (True, 0.5, {"work": "pipeline", "bfloat16": True}),
    "onnx": (True, 1.0, {"work": "onnx", "int8": False}),
    "onnx_int8": (True, 1.0, {"work": "onnx", "int8": True}),
    "openvino": (False, 1.0, {"work": "openvino", "weights": "float32"}),
    "openvino_bfloat16": (False, 1.0, {"work": "openvino", "weights": "bfloat16"}),
}


def usual(contenders: dict) -> str:
    """The names of contenders, OpenVINO's only where it is installed: pip install 'tfllm[openvino]'."""
    found = importlib.util.find_spec("openvino")
    return ",".join(name for name in contenders if found or not name.startswith("openvino"))


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    peers: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = contest.PEERS,
    sizes: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(SIZES),
    batches: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(BATCHES),
    contenders: Annotated[str, typer.Option(help="Comma-separated, tfllm first.")] = usual(CONTENDERS),
    rounds: Annotated[int, typer.Option(help="Turns of every contender.")] = 5,
    texts: Annotated[int, typer.Option(help="Texts in a saturated turn of the fastest; a fifth of them alone.")] = 640,
    threads: Annotated[int, typer.Option(help="Processors and threads of every contender.")] = 2,
    tries: Annotated[int, typer.Option(help="Times that a turn is made on a busy machine.")] = contest.TRIES,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: one size, short turns.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        sizes, rounds, texts = "mini", 2, 320
    name = "serving_latency" if threads > 1 else "serving_latency_one_thread"
    result = machine.begin(name, peers, keep=not quick)
    for size in sizes.split(","):
        with tempfile.TemporaryDirectory() as folder:  # what is exported for the first kind serves the other, too
            asked = {"file": write_texts(data, Path(folder)), "folder": folder}
            asked |= {"vocabulary": str(vocabulary), "threads": threads}
            for kind in batches.split(","):
                print(f"{size} {kind}", flush=True)
                batch, most = {"batch_size": BATCHES[kind]}, texts if kind == "saturated" else texts // 5
                case = compare(contenders.split(","), asked | batch | {"size": SIZES[size]}, peers, rounds, most, tries)
                print(json.dumps([case["ratios"], case["cpu_ratios"]], indent=1), flush=True)
                machine.end(name, result, f"{size} {kind}", case, remark, keep=not quick)


def compare(contenders: list[str], asked: dict, peers: Path, rounds: int, texts: int, tries: int) -> dict:
    workers, batch = {}, asked["batch_size"]
    for name in contenders:
        peer, share, work = CONTENDERS[name]
        examples = max(1, round(texts * share / batch)) * batch
        script = "serving_peers.py" if peer else "serving_contenders.py"
        workers[name] = (peers if peer else sys.executable, script, asked | work | {"examples": examples})
    return summary(contest.hold(workers, rounds, warm_up=2, tries=tries), rounds, asked["threads"])


def write_texts(data: Path, folder: Path) -> str:
    """A file of SST-2's test texts, in another order; its name."""
    rows = [text for text, _ in corpora.read_task("sst2", data)[1]]
    file = folder / "texts.json"
    file.write_text(json.dumps(random.Random(0).sample(rows, len(rows))), "utf-8")
    return str(file)


def summary(turns: dict[str, list[dict]], rounds: int, threads: int) -> dict:
    """A case of the results; the first contender is the one others are compared with."""
    first = next(iter(turns))
    return {
        "contenders": {name: contest.rates(own, "examples") for name, own in turns.items()},
        "ratios": contest.ratios(turns, first, "examples"),
        "cpu_ratios": contest.ratios(turns, first, "examples", "cpu_seconds"),
        "rounds": rounds,
        "threads": threads,
    }


if __name__ == "__main__":
    typer.run(main)
