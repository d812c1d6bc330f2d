"""tfllm and KerasHub as workers of a contest (see contest.py)."""

import json
from pathlib import Path

import contest
import keras
import numpy as np
import tensorflow as tf

import tfllm
from tfllm.data import classification_batches
from tfllm.losses import ClassificationLoss
from tfllm.models import packed_classifier
from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary
from tfllm.training import adamw, choose_precision
from tfllm.training.pretraining import compile_masked_lm

LENGTH = 128


def main():
    asked = contest.request()
    keras.utils.set_random_seed(0)
    works = {"finetuning": finetuning, "keras_hub_finetuning": keras_hub_finetuning, "pretraining": pretraining}
    works[asked["work"]](asked)


def finetuning(asked):
    """A turn is an epoch over the texts, as `tfllm finetune` does it: tokenised, packed, trained on."""
    texts, labels = read_rows(asked)
    names, tokenizer = sorted(set(labels)), read_tokenizer(asked)
    keras.config.set_dtype_policy(choose_precision("auto"))
    encoder = tfllm.build_encoder(tokenizer.vocabulary_size, **asked["size"])
    model, trained = tfllm.add_classifier_head(encoder, names), None
    seeds = iter(range(1_000_000))

    def turn() -> dict:
        nonlocal trained
        made_of = {"label_names": names, "sequence_length": LENGTH, "batch_size": 32, "seed": next(seeds)}
        batches = classification_batches(texts, labels, tokenizer, **made_of)
        if trained is None:
            trained = packed_classifier(model, batches.texts_per_row)
            trained.compile(
                adamw(3e-4, total_steps=1000, warmup_steps=100),
                loss=ClassificationLoss(reduction="mean_with_sample_weight"),
            )
        counts = Counts(batches.epoch_steps)
        trained.fit(batches().map(counts), steps_per_epoch=batches.epoch_steps, verbose=0, shuffle=False)
        return {"examples": int(counts.examples.numpy()), "tokens": int(counts.tokens.numpy())}

    contest.serve(turn)


class Counts:
    """Counts texts and tokens of the first `steps` packed batches as they pass; more are made ahead than are used."""

    def __init__(self, steps: int):
        self._left = tf.Variable(steps, dtype=tf.int64)
        self.examples, self.tokens = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)

    def __call__(self, inputs, label_ids, weights):
        used = tf.cast(self._left > 0, tf.int64)
        self._left.assign_sub(1)
        self.examples.assign_add(used * tf.math.count_nonzero(weights))
        self.tokens.assign_add(used * tf.math.count_nonzero(inputs["padding_mask"]))
        return inputs, label_ids, weights


def keras_hub_finetuning(asked):
    """A turn is an epoch over the texts with a BertTextClassifier and its own preprocessor, all defaults."""
    import keras_hub

    texts, labels = read_rows(asked)
    number = {name: place for place, name in enumerate(sorted(set(labels)))}
    targets = np.array([number[label] for label in labels])
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=asked["vocabulary"], lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LENGTH)
    backbone = keras_hub.models.BertBackbone(tokenizer.vocabulary_size(), **asked["size"])
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=len(number), preprocessor=preprocessor)
    lengths = [min(LENGTH, len(ids) + 2) for ids in read_tokenizer(asked).tokenize(texts).to_list()]

    def turn() -> dict:
        model.fit(texts, targets, batch_size=32, verbose=0)
        return {"examples": len(texts), "tokens": sum(lengths)}

    contest.serve(turn)


def pretraining(asked):
    """A turn is some batches of a `fit` on text that is read in an endless loop: tokenised, packed, masked."""
    tokenizer = read_tokenizer(asked)
    keras.config.set_dtype_policy(choose_precision("auto"))
    model = tfllm.add_masked_lm_head(tfllm.build_encoder(tokenizer.vocabulary_size, **asked["size"]))
    compile_masked_lm(model, adamw(1e-3, total_steps=10_000, warmup_steps=600))
    dataset = tfllm.masked_lm_dataset(
        asked["file"], tokenizer, sequence_length=LENGTH, batch_size=asked["batch_size"], held_out=0.0, part="train"
    )
    real = dataset.unbatch().take(1000).map(lambda inputs, ids, weights: tf.math.count_nonzero(inputs["padding_mask"]))
    filled = float(np.mean([int(count) for count in real]))
    turns = contest.Turns()

    class Wait(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            turns.begin()

        def on_train_batch_end(self, batch, logs=None):
            if (batch + 1) % asked["batches"] == 0:
                tokens = round(asked["batches"] * asked["batch_size"] * filled)
                turns.end(tokens=tokens, batches=asked["batches"])
                turns.begin()

    model.fit(dataset, steps_per_epoch=1_000_000, verbose=0, callbacks=[Wait()], shuffle=False)


def read_rows(asked) -> tuple[list[str], list[str]]:
    texts, labels = zip(*json.loads(Path(asked["file"]).read_text("utf-8"))[: asked["examples"]], strict=True)
    return list(texts), list(labels)


def read_tokenizer(asked) -> WordPieceTokenizer:
    return WordPieceTokenizer(read_vocabulary(Path(asked["vocabulary"])), lowercase=True)


if __name__ == "__main__":
    main()
