"""CPU seconds of one training step, without data and tokenizer: tfllm, KerasHub's layers, PyTorch.

    python benchmarks/step.py tfllm:bfloat16 keras_hub:float32 /path/to/peer/python=torch:bfloat16

Each contender is a process of its own, pinned to the first core with one thread; their steps alternate, so that all
meet the same weather. A contender is [PYTHON=]NAME:PRECISION; PYTHON is an interpreter that has its libraries (torch,
transformers). Rows are full: B = 32 texts of T = 128 tokens, V = 30522, 20 masked positions in a row. The CPU time of a
step is the median over the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

BATCH, LENGTH, VOCABULARY, MASKED, CLASSES = 32, 128, 30522, 20, 4
SIZES = {
    "mini": {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024},
    "minilm": {"num_layers": 6, "num_heads": 12, "hidden_dim": 384, "intermediate_dim": 1536},
}
TASKS = ("classify", "masked_lm")
OPTIMIZER = {"learning_rate": 1e-4, "weight_decay": 0.01}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contenders", nargs="+")
    parser.add_argument("--size", choices=SIZES, default="mini")
    parser.add_argument("--task", choices=TASKS, default="masked_lm")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--save", action="store_true", help="keep the result in results/")
    parser.add_argument("--remark", default="", help="what else ran on the machine")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(*arguments.contenders[0].split(":"), arguments.size, arguments.task)
    else:
        seconds = compare(arguments)
        if arguments.save:
            save(arguments, seconds)


def compare(arguments):
    """Let the contenders' steps alternate; print and return the median of each."""
    processes = {name: start(name, arguments) for name in arguments.contenders}
    seconds = {name: [] for name in processes}
    for turn in range(arguments.rounds + 3):  # the first three warm up
        for name, process in processes.items():
            process.stdin.write("step\n")
            process.stdin.flush()
            measured = float(process.stdout.readline())
            if turn >= 3:
                seconds[name].append(measured)
    for name, process in processes.items():
        process.stdin.close()
        process.wait()
        print(f"{arguments.size} {arguments.task} {name}: {statistics.median(seconds[name]):.3f} s", flush=True)
    first = seconds[arguments.contenders[0]]
    return {
        name.rpartition("=")[2]: {
            "cpu_seconds": statistics.median(own),
            "ratio": statistics.median(other / mine for other, mine in zip(own, first, strict=True)),
        }
        for name, own in seconds.items()
    }


def save(arguments, seconds):
    """Add a case to results/step.json."""
    import machine

    peers = [name.rpartition("=")[0] for name in arguments.contenders if "=" in name]
    result = machine.begin("step", peers[0] if peers else None, keep=True)
    case = {"contenders": seconds, "rounds": arguments.rounds}
    machine.end("step", result, f"{arguments.size} {arguments.task}", case, arguments.remark, keep=True)


def start(contender, arguments):
    python, _, name = contender.rpartition("=")
    command = [python or sys.executable, __file__, name, "--size", arguments.size, "--task", arguments.task, "--worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def work(name, precision, size, task):
    """Take one step for every line read, and print its CPU seconds."""
    os.sched_setaffinity(0, {0})
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", **dict.fromkeys(threads, "1")}
    step = {"tfllm": tfllm_step, "keras_hub": keras_hub_step, "torch": torch_step}[name](precision, SIZES[size], task)
    for _ in sys.stdin:
        begin = time.process_time()
        step()
        print(time.process_time() - begin, flush=True)


def batch(task):
    """NumPy inputs, targets and weights of one batch, as the batch contract of tfllm names them."""
    import numpy as np

    random = np.random.default_rng(0)
    inputs = {
        "token_ids": random.integers(0, VOCABULARY, (BATCH, LENGTH), "int32"),
        "segment_ids": np.zeros((BATCH, LENGTH), "int32"),
        "padding_mask": np.ones((BATCH, LENGTH), "int32"),
    }
    if task == "classify":
        return inputs, random.integers(0, CLASSES, (BATCH,), "int32"), np.ones((BATCH,), "float32")
    positions = np.sort(random.permuted(np.tile(np.arange(LENGTH), (BATCH, 1)), axis=1)[:, :MASKED]).astype("int32")
    targets = random.integers(0, VOCABULARY, (BATCH, MASKED), "int32")
    return {**inputs, "mask_positions": positions}, targets, np.ones((BATCH, MASKED), "float32")


def keras_fit(model, task):
    """A function that takes one step as `fit` does."""
    import tensorflow as tf

    iterator = iter(tf.data.Dataset.from_tensors(batch(task)).repeat())
    model.make_train_function()
    return lambda: {name: float(value) for name, value in model.train_function(iterator).items()}


def tfllm_step(precision, size, task):
    import keras

    import tfllm
    from tfllm.training.pretraining import compile_masked_lm

    keras.config.set_dtype_policy(tfllm.choose_precision(precision))
    encoder = tfllm.build_encoder(VOCABULARY, **size)
    optimizer = tfllm.adamw(**OPTIMIZER, total_steps=1000)
    if task == "classify":
        model = tfllm.add_classifier_head(encoder, [str(label) for label in range(CLASSES)])
        model.compile(optimizer, loss=tfllm.ClassificationLoss())
    else:
        model = tfllm.add_masked_lm_head(encoder)
        compile_masked_lm(model, optimizer)
    return keras_fit(model, task)


def keras_hub_step(precision, size, task):
    import keras
    import keras_hub

    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    backbone = keras_hub.models.BertBackbone(VOCABULARY, **size)
    inputs, hidden = dict(backbone.input), backbone.output["sequence_output"]
    if task == "classify":
        outputs = keras.layers.Dense(CLASSES, dtype="float32")(keras.layers.Dropout(0.1)(hidden[:, 0]))
        metrics = []
    else:
        inputs["mask_positions"] = keras.Input((None,), dtype="int32", name="mask_positions")
        head = keras_hub.layers.MaskedLMHead(
            token_embedding=backbone.token_embedding, intermediate_activation="gelu", dtype=backbone.dtype_policy
        )
        outputs, metrics = head(hidden, inputs["mask_positions"]), [keras.metrics.SparseCategoricalAccuracy()]
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.AdamW(**OPTIMIZER, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss, weighted_metrics=metrics, jit_compile=False)
    return keras_fit(model, task)


def torch_step(precision, size, task):
    import torch
    from transformers import BertConfig, BertModel

    torch.set_num_threads(1)
    width = size["hidden_dim"]
    config = BertConfig(
        vocab_size=VOCABULARY,
        num_hidden_layers=size["num_layers"],
        num_attention_heads=size["num_heads"],
        hidden_size=width,
        intermediate_size=size["intermediate_dim"],
        hidden_act="gelu_new",
    )
    model = BertModel(config, add_pooling_layer=False).train()
    table = model.embeddings.word_embeddings.weight
    parts = [torch.nn.Linear(width, width), torch.nn.GELU("tanh"), torch.nn.LayerNorm(width)]
    head = torch.nn.Sequential(*parts) if task == "masked_lm" else torch.nn.Linear(width, CLASSES)
    bias = torch.nn.Parameter(torch.zeros(VOCABULARY))
    weights = [*model.parameters(), *head.parameters(), *([bias] if task == "masked_lm" else [])]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=0.01, fused=True)
    inputs, targets, _ = batch(task)
    inputs = {key: torch.from_numpy(value).long() for key, value in inputs.items()}
    targets, positions = torch.from_numpy(targets).long(), inputs.pop("mask_positions", None)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            hidden = model(
                input_ids=inputs["token_ids"],
                token_type_ids=inputs["segment_ids"],
                attention_mask=inputs["padding_mask"],
            ).last_hidden_state
            if task == "masked_lm":
                chosen = head(hidden.gather(1, positions[:, :, None].expand(-1, -1, width)))
                logits = torch.nn.functional.linear(chosen, table, bias)
            else:
                logits = head(torch.nn.functional.dropout(hidden.mean(1), 0.1))
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, -2), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
