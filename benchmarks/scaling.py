"""How cost grows: a training step with tokens, layers, width and length; preparation with the size of the corpus.

    python benchmarks/scaling.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

CPU seconds on one thread, the least of some steps, the settings taking turns. The exponent is the slope of a straight
line through the logarithms: 1 is proportional growth. A step also has parts that do not grow with what is varied (the
update of the embedding table above all), so exponents below 1 are expected at small settings.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import contest
import corpora
import machine
import numpy as np
import typer

VOCABULARY_SIZE = 8000
USUAL = {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "rows": 32, "length": 128}
VARIED = {
    "tokens": [{"rows": rows} for rows in (8, 16, 32, 64)],
    "layers": [{"num_layers": layers} for layers in (2, 4, 8, 16)],
    "width": [{"hidden_dim": width, "num_heads": width // 64} for width in (128, 256, 512, 768)],
    "length": [{"length": length, "rows": 8192 // length} for length in (64, 128, 256, 512)],
}
MEGABYTES = (4, 8, 16, 32)


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    steps: Annotated[int, typer.Option(help="Steps of every setting.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: two settings of each.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    result = machine.begin("scaling", None, keep=not quick)
    count = 2 if quick else 4
    for what, settings in VARIED.items():
        asked = {"settings": [USUAL | setting for setting in settings[:count]]}
        rounds = contest.hold({what: (sys.executable, "scaling.py", asked | {"what": "steps"})}, steps)[what]
        seconds = np.min([turn["step_seconds"] for turn in rounds], axis=0).tolist()
        amounts = [_amount(what, setting) for setting in asked["settings"]]
        case = _fitted(amounts, seconds)
        print(what, case, flush=True)
        machine.end("scaling", result, what, case, remark, keep=not quick)
    with tempfile.TemporaryDirectory() as folder:
        source, seconds = Path(folder) / "source.txt", []
        corpora.write_corpus("en", data, source)
        for size in MEGABYTES[:count]:
            corpus = Path(folder) / f"{size}.txt"
            machine.repeat_text(source, corpus, size * 1_000_000)
            asked = {"what": "preparation", "file": str(corpus), "vocabulary": str(vocabulary)}
            (turn,) = contest.hold({f"{size} MB": (sys.executable, "scaling.py", asked)}, 1)[f"{size} MB"]
            seconds.append(turn["cpu_seconds"])
    case = _fitted(list(MEGABYTES[:count]), seconds)
    print("corpus megabytes", case)
    machine.end("scaling", result, "corpus megabytes", case, remark, keep=not quick)


def _amount(what: str, setting: dict) -> int:
    if what == "tokens":
        return setting["rows"] * setting["length"]
    return setting[{"layers": "num_layers", "width": "hidden_dim", "length": "length"}[what]]


def _fitted(amounts: list, seconds: list[float]) -> dict:
    logs = np.log(amounts), np.log(seconds)
    return {
        "amounts": amounts,
        "cpu_seconds": seconds,
        "exponent": float(np.polyfit(*logs, 1)[0]),
        "exponent_of_the_last_doubling": float((logs[1][-1] - logs[1][-2]) / (logs[0][-1] - logs[0][-2])),
    }


def work(asked):
    os.sched_setaffinity(0, {0})
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    contest.serve(_preparation(asked) if asked["what"] == "preparation" else _steps(asked["settings"]))


def _steps(settings: list[dict]):
    """A turn takes one step with each setting."""
    import time

    import keras

    import tfllm
    from tfllm.training.pretraining import compile_masked_lm

    keras.config.set_dtype_policy(tfllm.choose_precision("auto"))
    steps = []
    for setting in settings:
        setting = dict(setting)
        rows, length = setting.pop("rows"), setting.pop("length")
        encoder = tfllm.build_encoder(VOCABULARY_SIZE, **setting, intermediate_dim=4 * setting["hidden_dim"])
        model = tfllm.add_masked_lm_head(encoder)
        compile_masked_lm(model, tfllm.adamw(1e-4, total_steps=1000))
        steps.append(_step(model, rows, length))

    def turn() -> dict:
        seconds = []
        for step in steps:
            begin = time.process_time()
            step()
            seconds.append(time.process_time() - begin)
        return {"step_seconds": seconds}

    return turn


def _step(model, rows: int, length: int):
    import tensorflow as tf

    random, masked = np.random.default_rng(0), length * 15 // 100
    ids = random.integers(5, VOCABULARY_SIZE, (rows, length), "int32")
    inputs = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
        "mask_positions": np.tile(np.arange(masked, dtype="int32") * 6, (rows, 1)),
    }
    batch = inputs, ids[:, :masked], np.ones((rows, masked), "float32")
    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()
    return lambda: {name: float(value) for name, value in model.train_function(iterator).items()}


def _preparation(asked):
    """A turn tokenises and packs the corpus."""
    from tfllm.data import read_texts
    from tfllm.data.records_shards import tokenize_and_pack
    from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary

    tokenizer = WordPieceTokenizer(read_vocabulary(Path(asked["vocabulary"])), lowercase=True)

    def turn() -> dict:
        texts, rows = list(read_texts(asked["file"])), 0
        for start in range(0, len(texts), 2000):
            rows += len(tokenize_and_pack(texts[start : start + 2000], tokenizer, 128)[0])
        return {"rows": rows}

    return turn


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        work(json.loads(sys.argv[1]))
    else:
        typer.run(main)
