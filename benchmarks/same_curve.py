"""Does the fast way learn the same? Fine-tuning in bfloat16 on packed rows against plain float32 KerasHub layers.

    python benchmarks/same_curve.py --data ../shared/data --vocabulary ../shared/models/bert-base-uncased/vocab.txt

SST-2, size mini, random weights, the same optimizer and schedule, three seeds. "fast" is what `tfllm finetune` trains;
"plain" is a KerasHub BertBackbone, mean pooling and Keras's own AdamW, one text a row, padded to the batch's longest.
The loss on the test part is taken at equal numbers of texts; the two agree when they differ by no more than seeds do.
"""

from pathlib import Path
from typing import Annotated

import corpora
import keras
import keras_hub
import machine
import numpy as np
import typer
from step import SIZES

import tfllm
from tfllm.cli.startup import start
from tfllm.data import ClassificationBatches, PackedBatches, classification_dataset
from tfllm.losses import ClassificationLoss
from tfllm.models import packed_classifier
from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary
from tfllm.training import WarmupDecay, adamw, choose_precision

LEARNING_RATE, WEIGHT_DECAY, DROPOUT, BATCH_SIZE, LENGTH = 3e-4, 0.01, 0.1, 32, 128
NOT_DECAYED = ["bias", "gamma", "beta"]


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")] = Path("../shared/data"),
    vocabulary: Annotated[Path, typer.Option(help="BERT's vocab.txt.")] = Path(
        "../shared/models/bert-base-uncased/vocab.txt"
    ),
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 3,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 2,
    points: Annotated[int, typer.Option(help="Losses taken in an epoch.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="A few minutes: 640 texts, two seeds.")] = False,
    remark: Annotated[str, typer.Option(help="What else ran on the machine.")] = "",
) -> None:
    start(quiet=True, verbose=False)
    train, test = corpora.read_task("sst2", data)
    if quick:
        train, test, seeds, epochs = train[:640], test[:320], 2, 1
    tokenizer = WordPieceTokenizer(read_vocabulary(vocabulary), lowercase=True)
    result = machine.begin("same_curve", None, keep=not quick)
    curves: dict[str, list] = {"fast": [], "plain": []}
    for seed in range(seeds):
        for name, learn in (("fast", fast), ("plain", plain)):
            keras.utils.set_random_seed(seed)
            curves[name].append(learn(train, test, tokenizer, seed, epochs, points))
            print(name, seed, curves[name][-1], flush=True)
    found = {"curves": curves, "texts": len(train), "epochs": epochs, "points": points}
    machine.end("same_curve", result, "sst2 mini", found, remark, keep=not quick)


def fast(train, test, tokenizer, seed: int, epochs: int, points: int) -> list[list[float]]:
    keras.config.set_dtype_policy(choose_precision("auto"))
    encoder = tfllm.build_encoder(tokenizer.vocabulary_size, **SIZES["mini"], dropout=DROPOUT)
    model = tfllm.add_classifier_head(encoder, ["0", "1"], dropout=DROPOUT, pooling="mean")
    batches = PackedBatches(*reading(train, tokenizer), **shapes(), seed=seed)
    trained = packed_classifier(model, batches.texts_per_row)
    total = epochs * batches.epoch_steps
    optimizer = adamw(LEARNING_RATE, total_steps=total, warmup_steps=total // 10, weight_decay=WEIGHT_DECAY)
    trained.compile(optimizer, loss=ClassificationLoss(reduction="mean_with_sample_weight"))
    return curve(model, trained, batches, test, tokenizer, total, epochs * points)


def plain(train, test, tokenizer, seed: int, epochs: int, points: int) -> list[list[float]]:
    keras.config.set_dtype_policy("float32")
    backbone = keras_hub.models.BertBackbone(tokenizer.vocabulary_size, **SIZES["mini"], dropout=DROPOUT)
    mask = keras.ops.cast(backbone.input["padding_mask"], "float32")[:, :, None]
    pooled = keras.ops.sum(backbone.output["sequence_output"] * mask, 1) / keras.ops.sum(mask, 1)
    logits = keras.layers.Dense(2, kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02))(
        keras.layers.Dropout(DROPOUT)(pooled)
    )
    model = keras.Model(backbone.input, logits)
    batches = ClassificationBatches(*reading(train, tokenizer), **shapes(), seed=seed)
    total = epochs * batches.epoch_steps
    schedule = WarmupDecay(LEARNING_RATE, total // 10, total)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY, global_clipnorm=1.0, epsilon=1e-6)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    model.compile(optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    return curve(model, model, batches, test, tokenizer, total, epochs * points)


def curve(model, trained, batches, test, tokenizer, total: int, points: int) -> list[list[float]]:
    """[test loss, test accuracy] at equal shares of the training."""
    kept = classification_dataset(*reading(test, tokenizer), **shapes(), shuffle=False)
    label_ids = np.concatenate([label_ids.numpy() for _, label_ids in kept])
    inputs, found = kept.map(lambda inputs, label_ids: inputs), []
    ends = {round(total * (number + 1) / points) for number in range(points)}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 in ends:
                logits = keras.ops.cast(model.predict(inputs, verbose=0), "float32")
                losses = keras.losses.sparse_categorical_crossentropy(label_ids, logits, from_logits=True)
                right = keras.ops.convert_to_numpy(logits).argmax(-1) == label_ids
                found.append([float(keras.ops.mean(losses)), float(right.mean())])

    trained.fit(batches(), steps_per_epoch=total, callbacks=[Look()], verbose=0, shuffle=False)
    return found


def reading(rows, tokenizer) -> tuple:
    texts, labels = zip(*rows, strict=True)
    return list(texts), list(labels), tokenizer


def shapes() -> dict:
    return {"label_names": ["0", "1"], "sequence_length": LENGTH, "batch_size": BATCH_SIZE}


if __name__ == "__main__":
    typer.run(main)
