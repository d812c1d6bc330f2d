"""transformers and ONNX Runtime as workers of serving_latency.py. Runs in the peers' environment."""

import itertools
import json
from pathlib import Path

import contest
import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch_contenders import config, read_tokenizer
from transformers import BertForSequenceClassification, pipeline

LENGTH, LABELS = 128, ["negative", "positive"]


def main():
    asked = contest.request()
    label = {"pipeline": pipeline_labels, "onnx": onnx_labels}[asked["work"]](asked, random_model(asked))
    texts = itertools.cycle(json.loads(Path(asked["file"]).read_text("utf-8")))

    def turn() -> dict:
        chosen = list(itertools.islice(texts, asked["examples"]))
        for start in range(0, len(chosen), asked["batch_size"]):
            batch = chosen[start : start + asked["batch_size"]]
            assert len(label(batch)) == len(batch)
        return {"examples": len(chosen), "tokens": sum(len(text.split()) for text in chosen)}

    contest.serve(turn)


def random_model(asked):
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    return BertForSequenceClassification(config(asked, num_labels=len(LABELS))).eval()


def pipeline_labels(asked, model):
    """The pipeline as its documentation shows it, with batches."""
    tokenizer = read_tokenizer(asked)
    dtype = torch.bfloat16 if asked["bfloat16"] else torch.float32
    classify = pipeline("text-classification", model=model.to(dtype), tokenizer=tokenizer, device="cpu")

    def labels(texts: list[str]) -> list:
        answers = classify(texts, batch_size=asked["batch_size"], truncation=True, max_length=LENGTH)
        return [answer["label"] for answer in answers]

    return labels


def onnx_labels(asked, model):
    """The Rust tokenizer, batches padded to their longest text, ONNX Runtime."""
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    file, small = Path(asked["folder"], "model.onnx"), Path(asked["folder"], "int8.onnx")
    if not file.exists():
        write_onnx(model, file)
    if asked["int8"] and not small.exists():
        quantize_dynamic(file, small)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = asked["threads"]
    session = onnxruntime.InferenceSession(
        small if asked["int8"] else file, options, providers=["CPUExecutionProvider"]
    )
    tokenizer = BertWordPieceTokenizer(asked["vocabulary"], lowercase=True)
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding()

    def labels(texts: list[str]) -> list:
        rows = tokenizer.encode_batch(texts)
        columns = {
            "input_ids": [row.ids for row in rows],
            "attention_mask": [row.attention_mask for row in rows],
            "token_type_ids": [row.type_ids for row in rows],
        }
        (logits,) = session.run(None, {name: np.array(values, np.int64) for name, values in columns.items()})
        return [LABELS[place] for place in logits.argmax(axis=1)]

    return labels


def write_onnx(model, file: Path) -> None:
    example = torch.ones((2, 16), dtype=torch.int64)
    names = ("input_ids", "attention_mask", "token_type_ids")
    free = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens", max=LENGTH)}
    torch.onnx.export(
        model,
        kwargs=dict.fromkeys(names, example),
        f=file,
        input_names=names,
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, free),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
