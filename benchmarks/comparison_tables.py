"""The sections of docs/results.md about speed, memory and growth, from benchmarks/results/*.json."""

import statistics

import machine

NAMES = {
    "tfllm": "tfllm",
    "keras_hub": "KerasHub",
    "transformers_guide": "transformers, its guide's settings",
    "transformers_expert": "transformers, an expert's settings",
    "transformers_expert_compiled": "the same with torch.compile",
    "tfllm_bfloat16": "tfllm, --weights bfloat16",
    "keras_hub_savedmodel": "KerasHub, SavedModel with a hand-made string signature",
    "keras_hub_predict": "KerasHub, `predict`",
    "transformers": "transformers pipeline, float32",
    "transformers_bfloat16": "transformers pipeline, bfloat16",
    "onnx": "ONNX Runtime, float32, Rust tokenizer",
    "openvino": "tfllm, --engine openvino, float32",
    "openvino_bfloat16": "tfllm, --engine openvino, --weights bfloat16",
    "onnx_int8": "ONNX Runtime, int8, Rust tokenizer",
    "tokenizers": "Rust `tokenizers`",
    "tokenizers_fast": "Rust `tokenizers`, without offsets",
}
FINETUNING = """From raw text to updated weights: SST-2 and AG News with the lengths their texts have,
at most 128 tokens, the vocabulary of bert-base-uncased, random weights.
"mini" has 4 layers of width 256, "minilm" 6 of 384.
tfllm: as `tfllm finetune` (bfloat16 where the machine multiplies it, packed rows).
KerasHub: BertTextClassifier with its own preprocessor, all defaults.
transformers: its text classification guide (batches of 16 padded to their longest text, float32); an expert
(bfloat16 autocast, batches of 32 grouped by length and padded to their longest, fused AdamW)."""
LATENCY = """One classifier from raw text to label: SST-2's test texts with the lengths they have, at most 128 tokens,
the vocabulary of bert-base-uncased, random weights; called one text after the other ("one") or in batches of 32
("saturated"), in the process. SavedModels run in a Session, as a server runs them. KerasHub pads to 128; transformers
and ONNX Runtime pad to the longest text of a batch; tfllm computes no padding. Its OpenVINO engine
computes a text alone, whose token ids TensorFlow makes, and leaves several together to TensorFlow."""
HTTP = """One classifier behind a server on the same machine, from a request with SST-2's test texts to their labels;
random weights, as above. "one": one text a request, one request after another; "saturated": 32 texts a request, four
requests at a time. tfllm is `tfllm serve` with its defaults, which gives every text's label and the scores of all;
ONNX Runtime with the Rust tokenizer stands behind Starlette on uvicorn, too, and gives labels alone. The client, in
Python, has the same two processors; the processor time is that of both, the memory the server's."""
PRETRAINING = """Masked-language-model training from raw text, rows of 128 tokens, 32 in a batch.
transformers: `group_texts`, DataCollatorForLanguageModeling, BertForMaskedLM, bfloat16 autocast, fused AdamW."""


def sections() -> list[str]:
    """Every section for which there is a result."""
    makers = {
        "finetuning": lambda result: _contest("Fine-tuning", FINETUNING, result, "examples"),
        "finetuning_one_thread": lambda result: _contest("Fine-tuning, one thread", FINETUNING, result, "examples"),
        "pretraining_speed": lambda result: _contest("Pretraining", PRETRAINING, result, "tokens"),
        "pretraining_speed_one_thread": lambda result: _contest(
            "Pretraining, one thread", PRETRAINING, result, "tokens"
        ),
        "step": _step,
        "tokenizing": _tokenizing,
        "memory": _memory,
        "scaling": _scaling,
        "same_curve": _same_curve,
        "serving_latency": lambda result: _latency("From text to label", result),
        "serving_latency_one_thread": lambda result: _latency("From text to label, one thread", result),
        "serving_http": lambda result: _latency("From an HTTP request to labels", result, HTTP),
        "serving_proof": _serving_proof,
    }
    found = ((make, machine.load(name)) for name, make in makers.items())
    return [make(result) for make, result in found if result]


def _head(title: str, result: dict) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in result["peers"].items())
    lines = [machine.described(result["machine"]), f"Peers: {peers}." if peers else ""]
    return f"## {title}\n\n" + "\n".join(line for line in lines if line) + "\n"


def _measured(case: dict) -> str:
    """The command of a case, and what else there is to say of it."""
    return f"    {case['command']}\n\n{case['remark']}\n"


def _measured_all(result: dict) -> list[str]:
    """`_measured`, once for cases that were measured together."""
    return list(dict.fromkeys(map(_measured, result["cases"].values())))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _contest(title: str, text: str, result: dict, unit: str) -> str:
    parts = [_head(title, result), text + "\n"]
    for name, case in result["cases"].items():
        columns = _by_processor_time(case, unit) if case["threads"] == 1 else _by_the_clock(case, unit)
        columns |= {
            "GiB": lambda name, row: f"{row['peak_bytes'] / 2**30:.2f}",
            "of the matmul peak": lambda name, row: f"{100 * row['share_of_matmul_peak']:.0f} %",
            "machine taken by others": lambda name, row: f"{100 * row['taken_by_others']:.0f} %",
        }
        rows = [
            [NAMES[contender], *(cell(contender, row) for cell in columns.values())]
            for contender, row in case["contenders"].items()
        ]
        peak = case["matmul_flops_per_second"] / 1e9
        threads = "one thread" if case["threads"] == 1 else f"{case['threads']} threads"
        parts += [_measured(case), _table([name, *columns], rows)]
        parts.append(f"{threads}, {case['rounds']} rounds; matmul peak {peak:.0f} GFLOP/s.\n")
    return "\n".join(parts)


def _by_processor_time(case: dict, unit: str) -> dict:
    """Columns that other work on the machine hardly changes."""
    seconds = f"cpu_seconds_per_{unit.removesuffix('s')}"
    texts = {"texts per CPU second": lambda name, row: f"{1 / row[seconds]:.0f}"} if unit == "examples" else {}
    return texts | {
        "tokens per CPU second": lambda name, row: f"{row['tokens_per_cpu_second']:,.0f}",
        "times the CPU time": lambda name, row: f"{case['cpu_ratios'].get(name, 1):.2f}",
    }


def _by_the_clock(case: dict, unit: str) -> dict:
    seconds = f"cpu_seconds_per_{unit.removesuffix('s')}"
    texts = {"texts/s": lambda name, row: f"{row['examples_per_second']:.0f}"} if unit == "examples" else {}
    return texts | {
        "tokens/s": lambda name, row: f"{row['tokens_per_second']:,.0f}",
        f"CPU ms per {'text' if unit == 'examples' else 'token'}": lambda name, row: f"{1000 * row[seconds]:.3g}",
        "times slower": lambda name, row: f"{case['ratios'].get(name, 1):.2f}",
        "times the CPU time": lambda name, row: f"{case['cpu_ratios'].get(name, 1):.2f}",
    }


def _step(result: dict) -> str:
    rows = [
        [name, contender, f"{row['cpu_seconds']:.3f}", f"{row['ratio']:.2f}"]
        for name, case in result["cases"].items()
        for contender, row in case["contenders"].items()
    ]
    table = _table(["size and task", "contender", "CPU seconds", "times tfllm's"], rows)
    text = "One step on a full batch of 32 x 128 tokens, one pinned thread, 20 masked positions a row.\n"
    return "\n".join([_head("The step alone", result), *_measured_all(result), text, table])


def _tokenizing(result: dict) -> str:
    parts = [_head("Tokenizing", result)]
    titles = {"ids": "text to batches of ids", "training": "training a vocabulary of 30,000"}
    for name, case in result["cases"].items():
        rows = [
            [
                NAMES[contender],
                f"{row['megabytes_in_a_turn']:.1f}",
                f"{row['megabytes_per_second']:.3g}",
                f"{row['cpu_seconds_per_megabyte']:.3g}",
                f"{row['peak_bytes'] / 2**30:.2f}",
                f"{case['ratios'].get(contender, 1):.2f}",
                f"{case['cpu_ratios'].get(contender, 1):.2f}",
                f"{100 * row['taken_by_others']:.0f} %",
            ]
            for contender, row in case["contenders"].items()
        ]
        header = [
            titles[name],
            "MB",
            "MB/s",
            "CPU s per MB",
            "GiB",
            "times slower",
            "times the CPU time",
            "taken by others",
        ]
        parts += [_measured(case), _table(header, rows)]
    return "\n".join(parts)


def _memory(result: dict) -> str:
    rows = []
    for name, row in result["cases"].items():
        model = result["cases"].get(name.replace("pretraining", "model"), row)
        above = f"{(row['peak_bytes'] - model['peak_bytes']) / 2**30:.2f}" if name.startswith("pretraining") else ""
        rows.append([name, f"{row['peak_bytes'] / 2**30:.2f}", above, f"{row['seconds']:.0f}"])
    header = ["work and corpus", "peak GiB", "above the model, GiB", "seconds"]
    return "\n".join([_head("Memory", result), *_measured_all(result), _table(header, rows)])


def _scaling(result: dict) -> str:
    rows = [
        [
            what,
            ", ".join(f"{amount:,}" for amount in case["amounts"]),
            ", ".join(f"{seconds:.3g}" for seconds in case["cpu_seconds"]),
            f"{case['exponent']:.2f}",
            f"{case['exponent_of_the_last_doubling']:.2f}",
        ]
        for what, case in result["cases"].items()
    ]
    text = "CPU seconds on one thread; the first four are a training step, the last is tokenising and packing a text.\n"
    header = ["what grows", "amounts", "CPU seconds", "exponent", "of the last two"]
    return "\n".join([_head("How cost grows", result), *_measured_all(result), text, _table(header, rows)])


def _same_curve(result: dict) -> str:
    cases = result["cases"]["sst2 mini"]
    curves, rows = cases["curves"], []
    for place in range(len(curves["plain"][0])):
        cells = [f"{100 * (place + 1) / len(curves['plain'][0]):.0f} %"]
        for column, digits in ((0, 3), (1, 3)):
            for name in ("fast", "plain"):
                values = [curve[place][column] for curve in curves[name]]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}")
        rows.append(cells)
    text = (
        f"SST-2, size mini from random weights, {cases['texts']:,} texts, {cases['epochs']} epoch(s), "
        f"{len(curves['plain'])} seeds: loss and accuracy on the test part.\n"
        "Fast: tfllm, bfloat16, packed. Plain: KerasHub's layers, float32, one text a row. Mean ± standard deviation.\n"
    )
    header = ["of the training", "loss, fast", "loss, plain", "accuracy, fast", "accuracy, plain"]
    return "\n".join([_head("The same curve", result), _measured(cases), text, _table(header, rows)])


def _latency(title: str, result: dict, text: str = "") -> str:
    parts = [_head(title, result), (text or LATENCY) + "\n", *_measured_all(result)]
    header = [
        "texts/s",
        "ms per text",
        "CPU ms per text",
        "times slower",
        "times the CPU time",
        "GiB",
        "taken by others",
    ]
    for name, case in result["cases"].items():
        rows = [
            [
                NAMES[contender],
                f"{row['examples_per_second']:.0f}",
                f"{1000 / row['examples_per_second']:.2f}",
                f"{1000 * row['cpu_seconds_per_example']:.2f}",
                f"{case['ratios'].get(contender, 1):.2f}",
                f"{case['cpu_ratios'].get(contender, 1):.2f}",
                f"{row['peak_bytes'] / 2**30:.2f}",
                f"{100 * row['taken_by_others']:.0f} %",
            ]
            for contender, row in case["contenders"].items()
        ]
        parts.append(_table([name, *header], rows))
    return "\n".join(parts)


def _serving_proof(result: dict) -> str:
    ways = list(next(iter(result["kinds"].values()))["problems"])
    rows = [
        [kind, str(one["requests"]), *(one["problems"][way] or "same answers" for way in ways)]
        for kind, one in result["kinds"].items()
    ]
    other = ", ".join(f"{name} {version}" for name, version in result["other"].items())
    return f"""## Another TensorFlow runs what is exported

    {result["command"]}

{machine.described(result["machine"])}
Asked by: {other}; nothing of Keras or tfllm there.

Small models with random weights; the requests of their warm-up files. Strings and integers must be the same, floats
to 1e-5.

{_table(["kind", "requests", *ways], rows)}"""
