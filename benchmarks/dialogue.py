"""Dialogue: a small decoder pretrained on speeches and dialogues, then fine-tuned to answer.

    python benchmarks/dialogue.py --data ../shared/data

Pretrained on inaugural speeches and the training dialogues of Schema-Guided Dialogue as text; fine-tuned on the
English ChatterBot corpus (of several answers to a prompt the first) and those dialogues as conversations. Scored before
and after: perplexity of the answers in dialogues held out, and how many trained prompts get the answer they have there.
Every stage is a directory that is not made again; an interrupted training goes on.
"""

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import machine
import typer
import yaml

from tfllm import manifest
from tfllm.cli.finetune import finetune
from tfllm.cli.pretrain import pretrain
from tfllm.cli.startup import load_tensorflow, start
from tfllm.cli.tokenizer import train_tokenizer
from tfllm.data.chat import ChatBatches
from tfllm.evaluation.causal_lm import mean_loss
from tfllm.evaluation.seq2seq import text_scores
from tfllm.generation import TextGenerator
from tfllm.models import load_model
from tfllm.tokenizers import load_tokenizer
from tfllm.tokenizers.chat import default_template

LENGTH, VOCABULARY, LONGEST = 256, 4000, 200  # tokens; tokens; characters of a ChatterBot turn
PRETRAINING = {"size": "mini", "batch_size": 16, "sequence_length": LENGTH, "learning_rate": 2e-3, "dropout": 0.1}
TUNING = {"batch_size": 32, "sequence_length": LENGTH, "learning_rate": 1e-3, "dropout": 0.1, "epochs": 8}
REPEATS = 6  # of the ChatterBot corpus beside the dialogues
SHOWN = ["What is AI?", "Who are you?", "Tell me a joke"]


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    steps: Annotated[int, typer.Option(help="Of pretraining.")] = 600,
    dialogues: Annotated[int, typer.Option(help="Training dialogues of Schema-Guided Dialogue.")] = 1536,
    epochs: Annotated[int, typer.Option(help="Of fine-tuning.")] = TUNING["epochs"],
    threads: Annotated[int, typer.Option(help="Of every operation; 0: as many as there are processors.")] = 0,
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs/dialogue"),
) -> None:
    start(quiet=False, verbose=False)
    load_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    files, prompts, held_out = _files(data, runs, dialogues)
    if not (runs / "tokenizer").is_dir():
        train_tokenizer(files["text"], kind="byte-bpe", vocabulary_size=VOCABULARY, out=runs / "tokenizer")
    if not (runs / "writer" / manifest.FILE_NAME).is_file():
        pretrain(
            [str(files["text"])],
            runs / "writer",
            tokenizer=runs / "tokenizer",
            objective="causal",
            steps=steps,
            **PRETRAINING,
        )
    if not (runs / "chat" / manifest.FILE_NAME).is_file():
        tuning = {**TUNING, "epochs": epochs, "patience": epochs}
        finetune(
            [str(files["chat"])], runs / "chat", task="chat", init=runs / "writer", validation_share=0.02, **tuning
        )
    result = {
        "command": machine.command_line(),
        "remark": remark,
        "machine": machine.describe(),
        "arguments": {"pretraining": {**PRETRAINING, "steps": steps}, "tuning": {**TUNING, "epochs": epochs}},
        "rows": {"prompts": len(prompts), "dialogues": dialogues, "held_out": len(held_out)},
    }
    for stage in ("writer", "chat"):
        run = manifest.read_manifest(runs / stage, "model")["arguments"]["run"]
        result[stage] = {"seconds": run["seconds"], **_scores(runs / stage, prompts, held_out)}
    machine.save("dialogue", result)
    print(json.dumps(result, indent=1, ensure_ascii=False))


def _scores(model: Path, prompts: dict[str, str], held_out: list[list[dict]]) -> dict:
    """Perplexity of held-out answers, and the answers to the trained prompts."""
    network, tokenizer = load_model(model), load_tokenizer(model)
    tokenizer.chat_template = default_template(tokenizer.special_tokens)
    scores = mean_loss(network)(ChatBatches(held_out, tokenizer, sequence_length=LENGTH).once())
    generator = TextGenerator(network, tokenizer, LENGTH)
    asked = [[{"role": "user", "content": prompt}] for prompt in (*prompts, *SHOWN)]
    answers = [row["text"] for row in generator.answers(asked, max_new_tokens=64)]
    found = text_scores(answers[: len(prompts)], list(prompts.values()))
    shown = dict(zip(SHOWN, answers[len(prompts) :], strict=True))
    return {"perplexity": scores["perplexity"], "exact_match": found["exact_match"], "answers": shown}


def _files(data: Path, runs: Path, dialogues: int) -> tuple[dict[str, Path], dict[str, str], list[list[dict]]]:
    """What is pretrained on, a text a line, and fine-tuned on; ChatterBot's prompts; the held-out conversations."""
    runs.mkdir(parents=True, exist_ok=True)
    train, held_out = ([*_sgd(data / "sgd" / part)] for part in ("train", "dev"))
    train, prompts = train[:dialogues], _chatterbot(data / "chatterbot_corpus" / "english")
    pairs = [_messages([prompt, answer]) for prompt, answer in prompts.items()]
    files = {"text": runs / "text.txt", "chat": runs / "chat.jsonl"}
    texts = [" ".join(one["content"] for one in messages) for messages in train]
    speeches = _speeches(data / "us_speeches" / "inaugural.zip")
    files["text"].write_text("\n".join([*texts, *speeches]) + "\n", "utf-8")
    rows = [json.dumps({"messages": messages}) for messages in [*train, *(pairs * REPEATS)]]
    files["chat"].write_text("\n".join(rows) + "\n", "utf-8")
    return files, prompts, held_out


def _sgd(folder: Path) -> Iterator[list[dict]]:
    """The dialogues as messages, up to the last answer."""
    for file in sorted(folder.glob("*.json.gz")):
        for dialogue in json.loads(gzip.decompress(file.read_bytes())):
            turns = [turn["utterance"] for turn in dialogue["turns"]]
            yield _messages(turns[: len(turns) // 2 * 2])


def _chatterbot(folder: Path) -> dict[str, str]:
    """Prompt -> its first answer, in the order of the files; long ones are left out, programs mostly."""
    prompts: dict[str, str] = {}
    for file in sorted(folder.glob("*.yml")):
        for conversation in yaml.safe_load(file.read_text("utf-8"))["conversations"]:
            prompt, answer = (str(turn).strip() for turn in conversation[:2]) if len(conversation) > 1 else ("", "")
            if prompt and answer and max(len(prompt), len(answer)) <= LONGEST:
                prompts.setdefault(prompt, answer)
    return prompts


def _messages(turns: list[str]) -> list[dict]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": text} for number, text in enumerate(turns)]


def _speeches(archive: Path) -> Iterator[str]:
    """The paragraphs of the speeches."""
    with zipfile.ZipFile(archive) as files:
        for name in sorted(name for name in files.namelist() if name.endswith(".txt")):
            yield from (line for line in files.read(name).decode("utf-8", "replace").splitlines() if line.strip())


if __name__ == "__main__":
    typer.run(main)
