"""Text to batches of ids, and the training of a vocabulary: tfllm against the Rust `tokenizers` and KerasHub.

    python benchmarks/tokenizing.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

Ids: both make int32 arrays of 1,024 texts, [CLS] and [SEP] added, cut and padded to 128, of the same text with the same
vocabulary, on all processors. Training: 30,000 WordPiece tokens from a 100 MB text. KerasHub's trainer is given a
small part of it, and its seconds per MB are compared; both sizes are in the result.
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

TEXTS_IN_A_BATCH, LENGTH, VOCABULARY_SIZE = 1024, 128, 30_000
TOKENIZERS = ("tfllm", "tokenizers", "tokenizers_fast")
TRAINERS = ("tfllm", "tokenizers", "keras_hub")


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    rounds: Annotated[int, typer.Option(help="Turns of every tokenizer.")] = 7,
    megabytes: Annotated[float, typer.Option(help="Text that the vocabularies are trained on.")] = 100,
    keras_hub_megabytes: Annotated[float, typer.Option(help="The part of it that KerasHub gets.")] = 0.5,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: little text.")] = False,
    training: Annotated[bool, typer.Option(help="Train vocabularies too.")] = True,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    if quick:
        rounds, megabytes, keras_hub_megabytes = 2, 4, 0.1
    result = machine.begin("tokenizing", None, keep=not quick)
    with tempfile.TemporaryDirectory() as folder:
        corpus, large, small = (Path(folder) / name for name in ("corpus.txt", "large.txt", "small.txt"))
        corpora.write_corpus("en", data, corpus)
        asked = {"file": str(corpus), "vocabulary": str(vocabulary)}
        names = [(name, asked | {"work": "encode", "contender": name}) for name in TOKENIZERS]
        turns = contest.hold({name: (sys.executable, "tokenizing_contenders.py", work) for name, work in names}, rounds)
        machine.end("tokenizing", result, "ids", _case(turns, rounds), remark, keep=not quick)
        if training:
            machine.repeat_text(corpus, large, int(megabytes * 1e6))
            machine.repeat_text(corpus, small, int(keras_hub_megabytes * 1e6))
            workers = {}
            for name in TRAINERS:
                work = {"work": "train", "contender": name, "vocabulary_size": VOCABULARY_SIZE}
                work["file"] = str(small if name == "keras_hub" else large)
                workers[name] = (sys.executable, "tokenizing_contenders.py", work)
            turns = contest.hold(workers, 1, warm_up=0, tries=1)
            machine.end("tokenizing", result, "training", _case(turns, 1), remark, keep=not quick)


def _case(turns: dict[str, list[dict]], rounds: int) -> dict:
    table = {name: contest.rates(own, "megabytes") for name, own in turns.items()}
    ratios = contest.ratios(turns, "tfllm", "megabytes")
    cpu_ratios = contest.ratios(turns, "tfllm", "megabytes", "cpu_seconds")
    print(json.dumps({"table": table, "ratios": ratios}, indent=1), flush=True)
    return {"contenders": table, "ratios": ratios, "cpu_ratios": cpu_ratios, "rounds": rounds}


if __name__ == "__main__":
    typer.run(main)
