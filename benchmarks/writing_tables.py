"""The sections of docs/results.md about models that write, from benchmarks/results/*.json."""

import machine


def sections() -> list[str]:
    """Every section for which there is a result."""
    makers = {
        "shakespeare": _shakespeare,
        "translation_en_de": lambda result: _translation("German", 41.0, result),
        "translation_en_fr": lambda result: _translation("French", None, result),
        "dialogue": _dialogue,
        "summarising": _summarising,
        "generation_speed": _generation_speed,
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
Published, with BLEU counted otherwise: {published} by the Transformer-Tiny of arXiv:2105.14462, as deep and as wide."""
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


def _dialogue(result: dict) -> str:
    pretraining, tuning, rows = (result["arguments"] | {"rows": result["rows"]}).values()
    tokens = pretraining["steps"] * pretraining["batch_size"] * pretraining["sequence_length"]
    lines = [
        f"| {name} | {stage['perplexity']:.1f} | {100 * stage['exact_match']:.1f} % | {stage['seconds'] / 60:.0f} |"
        for name, stage in (("pretrained", result["writer"]), ("fine-tuned", result["chat"]))
    ]
    talk = [f"> **{asked}** {' '.join(answer.split())}" for asked, answer in result["chat"]["answers"].items()]
    return f"""## Dialogue

    {result["command"]}

{machine.described(result["machine"])}
{result["remark"]}

A decoder of size {pretraining["size"]}, pretrained on speeches and dialogues as text ({tokens / 1e6:.1f} million
tokens), fine-tuned for {tuning["epochs"]} epochs on {rows["prompts"]} prompts of the ChatterBot corpus with their first
answers and {rows["dialogues"]} dialogues of Schema-Guided Dialogue. Perplexity of the answers in {rows["held_out"]}
dialogues that were held out; share of the trained prompts that get, word for word, the answer they were trained with.

| model | perplexity of held-out answers | trained prompts answered | minutes of training |
|---|---:|---:|---:|
{chr(10).join(lines)}

{(chr(10) + ">" + chr(10)).join(talk)}
"""


def _summarising(result: dict) -> str:
    names = {
        "first sentence": "first sentence of the abstract",
        "published": "the published model",
        "tuned": "fine-tuned",
    }
    scores, tuning, papers = result["scores"], result["tuning"], result["papers"]
    rows = [
        f"| {name} | {' | '.join(f'{scores[key][rouge]:.1f}' for rouge in ('rouge1', 'rouge2', 'rougeL'))} |"
        for key, name in names.items()
    ]
    minutes, epochs = result["seconds"] / 60, f"{tuning['epochs']} epoch{'s' if tuning['epochs'] > 1 else ''}"
    return f"""## Summaries of papers in a sentence

    python benchmarks/summarising.py --file {result["file"]}

{machine.described(result["machine"])}
{result["remark"]}

SciTLDR, abstracts. `{result["file"]}` answers a chat that asks for a summary; as published, and after {epochs} on
{papers["train"]:,} papers with adapters of rank {tuning["lora_rank"]} ({minutes:.0f} minutes). ROUGE F1 in percent on
{papers["test"]} papers, of several summaries the best. The data's own notes give 28.2, 10.5 and 22.4 for the first
sentence; BART-Large reached 43.3, 20.8 and 35.0 (arXiv:2004.15011).

| | ROUGE-1 | ROUGE-2 | ROUGE-L |
|---|---:|---:|---:|
{chr(10).join(rows)}

> {scores["tuned"]["example"]}
"""


_CONTENDERS = {
    "tfllm": "tfllm, Python",
    "savedmodel": "tfllm, SavedModel",
    "keras_hub": "KerasHub",
    "transformers": "transformers",
}


def _generation_speed(result: dict) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in result["peers"].items())
    lines = []
    for case in result["cases"].values():
        rates = [f"{case['contenders'][name]['tokens_per_second']:,.0f}" for name in _CONTENDERS]
        ratios = [f"{case['ratios'][name]:.2f}" for name in ("keras_hub", "transformers")]
        ratios += [f"{case['savedmodel_ratios'][name]:.2f}" for name in ("keras_hub", "transformers")]
        lines.append(f"| {case['size']}, {case['kind']} | {case['rows']} | {' | '.join([*rates, *ratios])} |")
    compared = [f"{ours} : {theirs}" for ours in ("Python", "SavedModel") for theirs in ("KerasHub", "transformers")]
    first = next(iter(result["cases"].values()))
    measured = dict.fromkeys(f"    {case['command']}\n\n{case['remark']}" for case in result["cases"].values())
    return f"""## Tokens a second of generation

{chr(10).join(measured)}
{machine.described(result["machine"])}
Peers: {peers}.

Greedy, {first["new_tokens"]} new tokens after a prompt of 32, random weights, a vocabulary of 8,000; "mini" has 4
layers of width 256, "small" 6 of 512. Every contender has a cache of keys and values; tfllm takes and gives strings,
the others token ids. Medians of {first["rounds"]} interleaved turns in processes of their own, and of their ratios.

| model | prompts at a time | {" | ".join([*_CONTENDERS.values(), *compared])} |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{chr(10).join(lines)}
"""
