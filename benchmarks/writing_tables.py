"""The sections of docs/results.md about models that write, from benchmarks/results/*.json."""

import machine


def sections() -> list[str]:
    """Every section for which there is a result."""
    makers = {"shakespeare": _shakespeare}
    found = ((make, machine.load(name)) for name, make in makers.items())
    return [make(result) for make, result in found if result]


def _shakespeare(result: dict) -> str:
    arguments, scores, characters = result["arguments"], result["scores"], result["characters"]
    tokens = arguments["steps"] * arguments["batch_size"] * arguments["sequence_length"]
    return f"""## Tiny Shakespeare, byte by byte

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

A decoder of size {arguments["size"]} ({result["parameters"] / 1e6:.1f} million parameters), trained on the first
{characters["train"]:,} characters: {arguments["steps"]:,} steps of {arguments["batch_size"]} x {arguments["sequence_length"]} tokens
({tokens / 1e6:.0f} million). The last {characters["test"]:,} characters are read in windows of {arguments["sequence_length"]}, every token with
at least half a window before it.

| nats per character | bits per byte | minutes of training | nanoGPT, setting for a laptop's processor | nanoGPT, 10.7 million parameters, GPU |
|---:|---:|---:|---:|---:|
| {scores["nats_per_character"]:.3f} | {scores["bits_per_byte"]:.3f} | {result["seconds"] / 60:.1f} | 1.88 | 1.47 |

The last two are as nanoGPT's notes give them.
"""
