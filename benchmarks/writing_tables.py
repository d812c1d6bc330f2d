"""The sections of docs/results.md about models that write, from benchmarks/results/*.json."""

import machine


def sections() -> list[str]:
    """Every section for which there is a result."""
    makers = {
        "shakespeare": _shakespeare,
        "translation_en_de": lambda result: _translation("German", 41.0, result),
        "translation_en_fr": lambda result: _translation("French", None, result),
    }
    found = ((make, machine.load(name)) for name, make in makers.items())
    return [make(result) for make, result in found if result]


def _shakespeare(result: dict) -> str:
    arguments, scores, characters = result["arguments"], result["scores"], result["characters"]
    steps, rows, length = (arguments[name] for name in ("steps", "batch_size", "sequence_length"))
    tokens = steps * rows * length
    cells = [
        f"{scores['nats_per_character']:.3f}",
        f"{scores['bits_per_byte']:.3f}",
        f"{result['seconds'] / 60:.1f}",
        "1.88",
        "1.47",
    ]
    return f"""## Tiny Shakespeare, byte by byte

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

A decoder of size {arguments["size"]} ({result["parameters"] / 1e6:.1f} million parameters), trained on the first
{characters["train"]:,} characters: {steps:,} steps of {rows} x {length} tokens ({tokens / 1e6:.0f} million).
The last {characters["test"]:,} characters are read in windows of {length} that overlap by half. nanoGPT's numbers are
those of its own notes: its setting for a laptop's processor, and 10.7 million parameters on a GPU.

| nats per character | bits per byte | minutes of training | nanoGPT, processor | nanoGPT, GPU |
|---:|---:|---:|---:|---:|
| {" | ".join(cells)} |
"""


def _translation(language: str, published: float | None, result: dict) -> str:
    arguments, example = result["arguments"], result["example"]
    rows = [
        f"| {name} | {' | '.join(f'{scores[score]:.1f}' for score in ('bleu', 'chrf', 'ter'))} |"
        for name, scores in result["scores"].items()
    ]
    signature = next(iter(result["scores"].values()))["signatures"]["bleu"]
    size = f"{arguments['size']} ({result['parameters'] / 1e6:.1f} million parameters"
    vocabulary, pairs = f"{arguments['vocabulary_size']:,}", f"{result['examples']:,}"
    other = (
        ""
        if published is None
        else f"""
Published, with BLEU counted otherwise: {published} by the Transformer-Tiny of arXiv:2105.14462, of the same size."""
    )
    return f"""## Translation of captions, English to {language}

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

Multi30k, all text in lower case: 29,000 pairs to learn from, the {pairs} of test_2016_flickr to be scored on.
An encoder-decoder of size {size}, a vocabulary of {vocabulary}), from random weights:
{arguments["epochs"]} epochs, {result["seconds"] / 60:.0f} minutes.
BLEU by sacrebleu: `{signature}`.{other}

| | BLEU | chrF | TER |
|---|---:|---:|---:|
{chr(10).join(rows)}

> {example["source"]}
> → {example["written"]}
"""
