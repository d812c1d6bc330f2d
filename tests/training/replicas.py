"""Trainings on one and on several devices, for the tests: a program, as devices are divided once in a process.

`python replicas.py mirrored` prints JSON: how far two logical CPUs end from one; `jax`, `jax_worker` the same on JAX.
"""

import contextlib
import json
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiles faster

import numpy as np

ROWS, TOKENS, MASKED, VOCABULARY = 8, 6, 4, 20
SIZE = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": TOKENS}


def masked_rows(rows: int = ROWS, seed: int = 0) -> tuple:
    """A batch of which the second half has one masked token in a row, the first half all."""
    random = np.random.default_rng(seed)
    inputs = {
        "token_ids": random.integers(5, VOCABULARY, (rows, TOKENS)),
        "segment_ids": np.zeros((rows, TOKENS)),
        "padding_mask": np.arange(TOKENS) < random.integers(MASKED, TOKENS + 1, (rows, 1)),
        "mask_positions": np.tile(np.arange(MASKED), (rows, 1)),
    }
    inputs = {name: value.astype("int32") for name, value in inputs.items()}
    wanted = np.where(np.arange(rows) < rows // 2, MASKED, 1)[:, None]
    mask_ids = random.integers(5, VOCABULARY, (rows, MASKED)).astype("int32")
    return inputs, mask_ids, (np.arange(MASKED) < wanted).astype("float32")


def masked_lm(seed: int = 1, dropout: float = 0.0):
    import keras

    from tfllm import add_masked_lm_head, build_encoder

    keras.utils.set_random_seed(seed)
    return add_masked_lm_head(build_encoder(VOCABULARY, **SIZE, dropout=dropout))


def fitted(model, optimizer, batch: tuple, steps: int = 3) -> tuple[list[np.ndarray], dict]:
    """The weights after `steps` of the same batch, and what `fit` reported."""
    import tensorflow as tf

    from tfllm.training.pretraining import compile_masked_lm

    compile_masked_lm(model, optimizer)
    data = tf.data.Dataset.from_tensors(batch).repeat(steps)
    history = model.fit(data, verbose=0, shuffle=False).history
    return model.get_weights(), {name: values[0] for name, values in history.items()}


def distance(left: list, right: list) -> float:
    return float(max(np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(left, right, strict=True)))


def stock_strategy():
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(cross_device_ops=tf.distribute.ReductionToOneDevice())


def apart(left: tuple, right: tuple) -> dict:
    """How far two trainings end from each other: (model, weights, reported numbers) each."""
    (_, weights, reported), (_, others, other) = left, right
    return {"weights": distance(weights, others), **{name: abs(reported[name] - other[name]) for name in reported}}


def our_adamw():
    from tfllm import adamw

    return adamw(1e-2, total_steps=10, clip_norm=0.1)


def mirrored() -> dict:
    import keras

    divide_processor()
    from tfllm.training import choose_strategy

    def ours(strategy, optimizer=our_adamw, micro_batches: int = 1, rows: int = ROWS):
        with strategy:
            model = masked_lm()
            model.micro_batches = micro_batches
            return model, *fitted(model, optimizer(), masked_rows(rows))

    def spread(model) -> float:
        """How far the replicas' own copies of weights and optimizer are from each other."""
        variables = [variable.value for variable in model.variables + model.optimizer.variables]
        return max(distance([v.values[0]], [v.values[1]]) for v in variables)

    def here():
        return contextlib.nullcontext()

    def two():
        return choose_strategy("mirrored")

    def clipped():
        return keras.optimizers.SGD(1.0, global_clipnorm=0.1)

    one, replicated = ours(here()), ours(two())
    results = {"adamw": apart(one, replicated), "copies": spread(replicated[0])}
    results["micro_batches"] = apart(one, ours(two(), micro_batches=2))
    results["uneven"] = apart(ours(here(), clipped, rows=3), ours(two(), clipped, rows=3))
    return results | {"refused": refused()}


def mirrored_further() -> dict:
    divide_processor()
    return {scenario.__name__: scenario() for scenario in (float16, dropped, classifiers, resumed)}


def divide_processor() -> None:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def float16() -> dict:
    """Two replicas with scaled losses: a whole step, then one with an infinite weight."""
    import keras

    from tfllm.training import choose_strategy

    keras.config.set_dtype_policy("mixed_float16")
    found = {}
    try:
        for name, strategy in (("one", contextlib.nullcontext()), ("two", choose_strategy("mirrored"))):
            with strategy:
                model = masked_lm()
                weights, _ = fitted(model, our_adamw(), masked_rows(), steps=2)
                scale = float(model.optimizer.dynamic_scale.numpy())
                inputs, mask_ids, mask_weights = masked_rows()
                mask_weights[-1, 0] = np.inf  # a row of the second replica
                after, _ = fitted_again(model, (inputs, mask_ids, mask_weights))
                found[name] = {
                    "weights": weights,
                    "moved": distance(weights, after),
                    "scale": float(model.optimizer.dynamic_scale.numpy()) / scale,
                }
    finally:
        keras.config.set_dtype_policy("float32")
    apart = distance(found["one"].pop("weights"), found["two"].pop("weights"))
    return {**found, "weights": apart}


def fitted_again(model, batch: tuple) -> tuple[list[np.ndarray], dict]:
    import tensorflow as tf

    history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0, shuffle=False).history
    return model.get_weights(), history


def same(strategy, model, inputs) -> bool:
    """Whether two replicas with the same rows have the same outputs in training."""
    import tensorflow as tf

    @tf.function
    def outputs():
        return strategy.run(lambda: model(inputs, training=True))

    first, second = strategy.experimental_local_results(outputs())
    return bool((first.numpy() == second.numpy()).all())


def dropped() -> dict:
    """Whether two replicas with the same rows drop the same activations: in the encoder, in the head."""
    import tensorflow as tf

    from tfllm import add_classifier_head, build_encoder
    from tfllm.training import choose_strategy

    inputs = {name: value for name, value in masked_rows()[0].items() if name != "mask_positions"}
    found = {}
    with choose_strategy("mirrored"):
        strategy = tf.distribute.get_strategy()
        for name, in_encoder, in_head in (("encoder", 0.3, 0.0), ("head", 0.0, 0.5), ("nowhere", 0.0, 0.0)):
            encoder = build_encoder(VOCABULARY, **SIZE, dropout=in_encoder)
            found[name] = same(strategy, add_classifier_head(encoder, ["a", "b"], dropout=in_head), inputs)
    return found


def classifiers() -> dict:
    """The history of a fine-tuning whose last batches are smaller, on one and on two replicas."""
    import keras
    import tensorflow as tf

    from tfllm import add_classifier_head, build_encoder
    from tfllm.training import choose_strategy, train_classifier

    inputs, mask_ids, _ = masked_rows(9)
    inputs.pop("mask_positions")
    data = tf.data.Dataset.from_tensor_slices((inputs, mask_ids[:, 0] % 2)).batch(4)
    found = {}
    for name, strategy in (("one", contextlib.nullcontext()), ("two", choose_strategy("mirrored"))):
        with strategy:
            keras.utils.set_random_seed(1)
            model = add_classifier_head(build_encoder(VOCABULARY, **SIZE, dropout=0.0), ["a", "b"], dropout=0.0)
            weighted = data.map(lambda inputs, label_ids: (inputs, label_ids, tf.gather([0.5, 2.0], label_ids)))
            found[name] = train_classifier(model, weighted, data, epochs=2)
    return found


def resumed() -> dict:
    """Two replicas killed after two of four batches, against two that were not; with dropout."""
    import keras
    import tensorflow as tf

    from tfllm.training import Run, choose_strategy, train_masked_lm

    def batches(start: int = 0):
        whole = tf.data.Dataset.from_tensors(masked_rows(seed=0)).concatenate(
            tf.data.Dataset.from_tensors(masked_rows(seed=1))
        )
        return whole.repeat().skip(start)

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    def train(directory, callbacks=()):
        with choose_strategy("mirrored"):
            model = masked_lm(dropout=0.2)
            train_masked_lm(
                model,
                batches,
                our_adamw(),
                steps=4,
                run=directory and Run(directory, save_seconds=0),
                callbacks=callbacks,
            )
            return model.get_weights()

    with tempfile.TemporaryDirectory() as directory:
        whole = train(None)
        with contextlib.suppress(KeyboardInterrupt):
            train(directory, [Kill()])
        return {"weights": distance(whole, train(directory)), "moved": distance(whole, masked_lm().get_weights())}


def refused() -> dict:
    """What two replicas answer to options that cannot work."""
    import tensorflow as tf

    from tfllm.checks import InputError
    from tfllm.cli.tasks.embedding import EmbeddingTask
    from tfllm.losses import masked_lm_loss
    from tfllm.training import choose_strategy

    said = {}
    options = {
        "steps_per_execution": {"steps_per_execution": 2},
        "jit_compile": {"jit_compile": True},
        "gradient_accumulation_steps": {
            "optimizer": {"class_name": "SGD", "config": {"gradient_accumulation_steps": 2}}
        },
        "optimizer_from_outside": {"optimizer": our_adamw()},
    }
    for name, option in options.items():
        with choose_strategy("mirrored"):
            model = masked_lm()
            model.compile(**{"optimizer": "sgd", **option}, loss=masked_lm_loss())
            try:
                model.fit(tf.data.Dataset.from_tensors(masked_rows()), verbose=0, shuffle=False)
            except InputError as error:
                said[name] = str(error)
    with choose_strategy("mirrored"):
        try:
            EmbeddingTask().batches(None, {}, None, {"micro_batches": 1}, packs=False, seed=0)
        except InputError as error:
            said["one_text_a_row"] = str(error)
    return said


def jax() -> dict:
    """On JAX: how far four devices end from one, by rows and by rows and weights; a run that was killed; a model."""
    import keras

    from tfllm import InputError
    from tfllm.training import choose_strategy

    def trained(strategy):
        with strategy:
            model = masked_lm()
            return model, *fitted(model, our_adamw(), masked_rows())

    one = trained(contextlib.nullcontext())
    results = {"data": apart(one, trained(choose_strategy("auto")))}
    results["model"] = apart(one, trained(split_by_model(keras.distribution).scope()))
    results["resumed"] = resumed()
    results["refused"] = {}
    for name in ("tpu", "multiworker"):
        try:
            choose_strategy(name)
        except InputError as error:
            results["refused"][name] = str(error)
    results["weights"] = [weight.tolist() for weight in one[1]]
    results["logits"] = classified(*sys.argv[2:])
    return results


def classified(tokenizer_directory: str, model_directory: str) -> list:
    """The logits of two texts by a classifier that is fine-tuned and saved."""
    import keras

    from tfllm import (
        add_classifier_head,
        build_encoder,
        classification_dataset,
        load_tokenizer,
        save_model,
        text_dataset,
    )
    from tfllm.training import train_classifier

    keras.utils.set_random_seed(5)
    tokenizer, texts = load_tokenizer(tokenizer_directory), ["a good warm cup", "a bad cold plate"]
    model = add_classifier_head(build_encoder(tokenizer.vocabulary_size, **SIZE), ["good", "bad"])
    data = classification_dataset(
        texts * 4, ["good", "bad"] * 4, tokenizer, label_names=["good", "bad"], sequence_length=TOKENS, batch_size=8
    )
    train_classifier(model, data, data, epochs=2, learning_rate=1e-2)
    save_model(model, model_directory, tokenizer)
    return model.predict(text_dataset(texts, tokenizer, sequence_length=TOKENS), verbose=0).tolist()


def split_by_model(distribution):
    """Four devices: rows over two, the wide weights of each layer over two."""
    mesh = distribution.DeviceMesh((2, 2), ["batch", "model"], distribution.list_devices()[:4])
    layout = distribution.LayoutMap(mesh)
    layout[".*feedforward_intermediate_dense/kernel"] = (None, "model")
    layout[".*feedforward_output_dense/kernel"] = ("model", None)
    return distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def jax_worker() -> dict:
    """On JAX, in one of two processes: the weights after a training on all of them."""
    import keras

    keras.distribution.initialize()
    from tfllm.training import choose_strategy

    with choose_strategy("auto"):
        model = masked_lm()
        weights, reported = fitted(model, our_adamw(), masked_rows())
    return {"weights": [weight.tolist() for weight in weights], **reported}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
