"""Hugging Face transformers on PyTorch, as workers of a contest (see contest.py). Runs in the peers' environment."""

import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import contest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertTokenizerFast,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)

LENGTH = 128
STYLES = {
    # transformers' text classification guide: batches of 16, padded to their longest text, float32, the Trainer's
    # defaults otherwise (fused AdamW, linear decay, gradients clipped at norm 1).
    "guide": {"batch_size": 16, "bfloat16": False, "by_length": False, "compiled": False},
    "expert": {"batch_size": 32, "bfloat16": True, "by_length": True, "compiled": False},
    "expert_compiled": {"batch_size": 32, "bfloat16": True, "by_length": True, "compiled": True},
}


def main():
    asked = contest.request()
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    random.seed(0)
    {"finetuning": finetuning, "pretraining": pretraining, "matmul": matmul}[asked["work"]](asked)


def matmul(asked):
    """The most that this machine multiplies: bfloat16 and float32 squares, on all threads."""
    squares = [torch.randn(2048, 2048).to(dtype) for dtype in (torch.bfloat16, torch.float32)]

    def turn() -> dict:
        return {"tokens": 1, "flops_per_second": max(_flops_per_second(square) for square in squares)}

    contest.serve(turn)


def _flops_per_second(square) -> float:
    """By processor time, which other work on the machine hardly changes."""
    square @ square
    count, begin = 0, time.process_time()
    while time.process_time() - begin < 0.5 * torch.get_num_threads():
        square @ square
        count += 1
    return count * 2 * 2048**3 / (time.process_time() - begin) * torch.get_num_threads()


def finetuning(asked):
    """A turn is an epoch over the texts, from raw text to updated weights."""
    style, tokenizer = STYLES[asked["style"]], read_tokenizer(asked)
    texts, labels = zip(*json.loads(Path(asked["file"]).read_text("utf-8"))[: asked["examples"]], strict=True)
    number = {name: place for place, name in enumerate(sorted(set(labels)))}
    model = BertForSequenceClassification(config(asked, num_labels=len(number))).train()
    step = training_step(model, style, 1000)
    collate = DataCollatorWithPadding(tokenizer)

    def turn() -> dict:
        encoded = tokenizer(list(texts), truncation=True, max_length=LENGTH)
        rows = [
            {**{name: column[place] for name, column in encoded.items()}, "labels": number[labels[place]]}
            for place in range(len(texts))
        ]
        tokens = sum(len(row["input_ids"]) for row in rows)
        for batch in batches(rows, style):
            step(collate([rows[place] for place in batch]))
        return {"examples": len(rows), "tokens": tokens}

    contest.serve(turn)


def pretraining(asked):
    """A turn is some batches of a text that is read in an endless loop: tokenised, joined, cut into rows, masked."""
    style, tokenizer = STYLES[asked["style"]], read_tokenizer(asked)
    model = BertForMaskedLM(config(asked)).train()
    step = training_step(model, style, 10_000)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15)
    rows = grouped(tokenizer, Path(asked["file"]))

    def turn() -> dict:
        for _ in range(asked["batches"]):
            batch = collate(list(itertools.islice(rows, asked["batch_size"])))
            step(batch)
        tokens = asked["batches"] * asked["batch_size"] * LENGTH
        return {"tokens": tokens, "batches": asked["batches"]}

    contest.serve(turn)


def grouped(tokenizer, file: Path) -> Iterator[dict]:
    """Rows of 128 tokens without padding, as transformers' `group_texts` makes them."""
    rest = []
    while True:
        with open(file, encoding="utf-8") as stream:
            while lines := list(itertools.islice(stream, 1000)):
                ids = tokenizer(lines, return_attention_mask=False, return_token_type_ids=False)["input_ids"]
                joined = list(itertools.chain(rest, *ids))
                whole = len(joined) // LENGTH * LENGTH
                for start in range(0, whole, LENGTH):
                    yield {"input_ids": joined[start : start + LENGTH]}
                rest = joined[whole:]


def read_tokenizer(asked) -> BertTokenizerFast:
    return BertTokenizerFast(vocab=asked["vocabulary"], do_lower_case=True, model_max_length=1_000_000)


def config(asked, **more) -> BertConfig:
    size = asked["size"]
    return BertConfig(
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        hidden_size=size["hidden_dim"],
        intermediate_size=size["intermediate_dim"],
        **more,
    )


def training_step(model, style: dict, steps: int):
    """A function that takes one optimizer step on a batch, as the Trainer does."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, steps)
    run = torch.compile(model, dynamic=True) if style["compiled"] else model

    def step(batch) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=style["bfloat16"]):
            loss = run(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def batches(rows: list[dict], style: dict) -> Iterator[list[int]]:
    """Shuffled; by length as the Trainer's `group_by_length` does: sorted within 50 batches."""
    order, size = random.sample(range(len(rows)), len(rows)), style["batch_size"]
    if style["by_length"]:
        parts = [order[start : start + 50 * size] for start in range(0, len(order), 50 * size)]
        order = [place for part in parts for place in sorted(part, key=lambda row: -len(rows[row]["input_ids"]))]
    cut = [order[start : start + size] for start in range(0, len(order), size)]
    return iter(random.sample(cut, len(cut)))


if __name__ == "__main__":
    main()
