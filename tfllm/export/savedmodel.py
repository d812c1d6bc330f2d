"""`export_savedmodel`: a trained model and its tokenizer become one SavedModel that TF Serving serves.

In: a Keras model of a tfllm builder, and its tokenizer. Out: `NAME/VERSION/`, complete and checked:
saved_model.pb and variables/, assets.extra/ with tf_serving_warmup_requests, tfllm.json and proofs.json, manifest.json.
"""

import contextlib
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError, check_one_of
from tfllm.export.check import (
    FACTS_FILE,
    KIND,
    PROOFS_FILE,
    check_contents,
    check_successor,
    prove,
    read_signatures,
)
from tfllm.export.columns import checked_columns
from tfllm.export.lean import lean
from tfllm.export.merge import merge_equal_nodes
from tfllm.export.ops import check_ops, servers_for
from tfllm.export.quantize import quantized
from tfllm.export.replay import TOLERANCES
from tfllm.export.requests import Request, make_request, write_warm_up
from tfllm.export.versions import next_version
from tfllm.inference.signatures import Signature, build_signatures, choose_length
from tfllm.inference.tasks import task_of
from tfllm.models import load_model, read_encoder, read_recipe, save_model
from tfllm.tokenizers import Tokenizer

WEIGHTS = ("float32", "bfloat16", "int8")
# What every export must answer like the Python model, whatever it was trained on.
_HOSTILE_TEXTS = (
    b"Hello, world!",
    "你好，世界。".encode(),
    b"",
    b" \t\n",
    b"\x00 after NUL",
    b"\xff\xfe not \xc3( UTF-8 \xed\xa0\x80",
    "👩‍👩‍👧‍👦 e\u0301 \u202eright to left שלום".encode(),
    b"[CLS] [SEP] [PAD] [MASK] [UNK]",
    b"x" * 5000,
)

_LONG = 1_000  # bytes of a text
# Tokens of a model that its tokenizer may not have: sentinels of denoising, and what makes their number a round one.
_MOST_UNUSED, _SHARE_UNUSED = 100, 0.1
log = logging.getLogger(__name__)


def export_savedmodel(
    model: keras.Model,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    sequence_length: int | None = None,
    sample_texts: Sequence[str] = (),
    weights: str = "float32",
    columns: Mapping[str, str] | None = None,
) -> Path:
    """Write the next version of a SavedModel, whole and checked, or nothing.

    The weights are stored once, whatever policy the model was trained with. A process that has neither Keras
    nor tfllm then answers `sample_texts`, hostile texts, no text and one longer than the model, through
    `tf.saved_model.load` and in a Session: its answers must be those of the Python model. The directory gets its
    number as the last step, so that a TF Serving that watches `directory` never sees half a version.

    Args:
        model: what a tfllm builder returned. A classifier answers with the label names of its recipe; other models
            offer `embed` and `tokenize`. `tfllm.inference` has the signatures of every task.
        tokenizer: the one the model was trained with.
        directory: `savedmodels/NAME`; the versions stand in it.
        sequence_length: where texts are cut, in tokens, [CLS] and [SEP] included; the length the model was trained
            at. None takes 128, the default of the data sets; all positions of a model that writes.
        sample_texts: texts of your own for the check; the first of them is also in the warm-up file.
        weights: "float32"; "bfloat16", in which an encoder's layers multiply: faster where the server's processor
            multiplies it (AMX, avx512_bf16), slower elsewhere, and scores are rounded to about two digits; "int8",
            which takes a quarter of the room, answers nearly the same, and is not faster.
        columns: those of the training data, by option: {"text": "review"}; `tfllm predict --file` reads them.

    Returns:
        The version's directory.

    Raises:
        InputError: for a model no tfllm builder made, a tokenizer that has ids the model has not, a `sequence_length`
            the model has no positions for, another option in `columns`, a model with ops TF Serving does not have, or
            one that does not answer what the version before it answers.
        RuntimeError: when the SavedModel does not answer like the Python model; that is a defect.
    """
    check_one_of("weights", weights, WEIGHTS)
    columns = checked_columns(columns)
    version = next_version(directory)
    sequence_length = choose_length(model, sequence_length)
    _check_tokenizer(model, tokenizer)
    model = _in_float32(model, tokenizer)
    served = _prepare(model, tokenizer, sequence_length, weights)
    samples = [text.encode("utf-8", "replace") for text in sample_texts] + list(_HOSTILE_TEXTS)
    longest = samples[0] + b" a" * sequence_length
    arguments = {"model": read_recipe(model), "sequence_length": sequence_length, "weights": weights}
    with _nothing_left_behind(version.parent), manifest.write_directory(version, KIND, arguments) as beside:
        _save(served.variables, tokenizer, served.signatures, beside)
        check_successor(version, beside)
        # One text a request: a server whose batches are smaller must be able to replay the warm-up file.
        warm_up = [request for text in (samples[0], longest) for request in _requests(served.expected, [text])]
        write_warm_up(beside, version.parent.name, warm_up)
        facts = _facts(served, sequence_length, weights, beside)
        manifest.write_json(beside / FACTS_FILE, {**facts, "columns": columns})
        proofs = check_contents(beside)
        batches = _batches([*samples, longest], writes="score" in served.expected)
        requests = [request for texts in batches for request in _requests(served.expected, texts)]
        proofs += prove(beside, [*warm_up, *requests], TOLERANCES[weights])
        failed = next((proof for proof in proofs if not proof.passed), None)
        if failed:
            raise RuntimeError(f"The SavedModel does not answer like the Python model: {failed.detail}")
        manifest.write_json(beside / PROOFS_FILE, {"format": 1, "proofs": [proof._asdict() for proof in proofs]})
    return version


def _check_tokenizer(model: keras.Model, tokenizer: Tokenizer) -> None:
    """Raise InputError for one with more tokens than the model; warn of one that leaves many of the model's unused."""
    known = read_encoder(model).get_layer("token_embedding").input_dim
    if tokenizer.vocabulary_size > known:
        raise InputError(
            f"The tokenizer has {tokenizer.vocabulary_size:,} tokens and the model {known:,}: give the tokenizer that "
            "the model was trained with."
        )
    if known - tokenizer.vocabulary_size > max(_MOST_UNUSED, _SHARE_UNUSED * known):
        log.warning(
            "The tokenizer has %s tokens and the model %s: is it the one that the model was trained with?",
            f"{tokenizer.vocabulary_size:,}",
            f"{known:,}",
        )


class Served(NamedTuple):
    """What is saved.

    Attributes:
        model: whose weights it has.
        signatures: what is saved.
        expected: what must give the same answers in Python: the model as it was trained, where its weights are kept.
        variables: all that the signatures read.
        parameters: how many numbers the model has.
        scales: how many more int8 weights need.
    """

    model: keras.Model
    signatures: dict[str, Signature]
    expected: dict[str, Signature]
    variables: list[tf.Variable]
    parameters: int
    scales: int = 0


def _prepare(model: keras.Model, tokenizer: Tokenizer, sequence_length: int, weights: str) -> Served:
    signatures, parameters = build_signatures(model, tokenizer, sequence_length), model.count_params()
    if weights == "int8":
        rounded, variables = quantized(model, signatures)
        scales = sum(one.shape.num_elements() for one in variables) - parameters
        return Served(model, rounded, _traced(rounded), variables, parameters, scales)
    small = lean(model, weights)
    if small is model:
        if weights == "bfloat16":
            raise InputError(
                "Only encoders of `build_encoder`, alone or with a head for labels, scores or vectors, can have "
                "bfloat16 weights."
            )
        return Served(model, signatures, signatures, [one.value for one in model.weights], parameters)
    saved = build_signatures(small, tokenizer, sequence_length)
    expected = signatures
    if weights == "bfloat16":  # traced: operations that run one by one round more often than those that are fused
        expected = _traced(saved)
    return Served(small, saved, expected, [one.value for one in small.weights], parameters)


def _traced(signatures: dict[str, Signature]) -> dict[str, Signature]:
    return {name: one._replace(function=tf.function(one.function, autograph=False)) for name, one in signatures.items()}


def _save(
    variables: list[tf.Variable], tokenizer: Tokenizer, signatures: dict[str, Signature], directory: Path
) -> None:
    # Only tf.Variables and the tokenizer are tracked. A Keras model as an attribute would be saved with its own
    # functions and every weight a second time.
    root = tf.Module()
    root.tokenizer = tokenizer
    root.weights = variables
    functions = {
        name: tf.function(signature.function, autograph=False).get_concrete_function(**signature.inputs)
        for name, signature in signatures.items()
    }
    options = tf.saved_model.SaveOptions(save_debug_info=False, experimental_custom_gradients=False)
    tf.saved_model.save(root, str(directory), signatures=functions, options=options)
    merge_equal_nodes(directory)


def _batches(texts: list[bytes], *, writes: bool) -> list[list[bytes]]:
    """Texts that are asked together, and none at all.

    A model that writes is asked long ones alone: its memory grows with rows times tokens, and it is often large.
    """
    alone = [text for text in texts if writes and len(text) > _LONG]
    return [[text for text in texts if text not in alone], *([text] for text in alone), []]


def _requests(signatures: dict[str, Signature], texts: list[bytes]) -> list[Request]:
    """One request to each signature, with the answer the Python model gives, op by op."""
    with tf.device("CPU"):
        ids = signatures["tokenize"].function(text=tf.constant(texts, tf.string, [len(texts)]))
        requests = []
        for name, signature in signatures.items():
            inputs = {
                argument: tf.repeat(tf.constant([value], signature.inputs[argument].dtype), len(texts), axis=0)
                for argument, value in signature.examples.items()
            }
            others = enumerate((name, spec) for name, spec in signature.inputs.items() if name not in inputs)
            inputs |= {argument: _argument(place, argument, spec, texts, ids) for place, (argument, spec) in others}
            requests.append(make_request(name, inputs, signature.function(**inputs)))
        return requests


def _argument(number: int, name: str, spec: tf.TensorSpec, texts: list[bytes], ids: dict[str, tf.Tensor]) -> tf.Tensor:
    """Something to ask with: the texts, which begin elsewhere for every further argument; or their tokens."""
    if spec.dtype == tf.int32:
        real = tf.sequence_mask(ids["num_tokens"], tf.shape(ids["token_ids"])[1], tf.int32)
        return {"token_ids": ids["token_ids"], "segment_ids": tf.zeros_like(real), "padding_mask": real}[name]
    turned = [_turned(texts, number + place) for place in range(spec.shape[1] or 3 if spec.shape.rank == 2 else 1)]
    if name == "inputs":
        turned = [[_example(*pair) for pair in zip(texts, _turned(texts, 1), strict=True)]]
    columns = [tf.constant(column, tf.string, [len(texts)]) for column in turned]
    return tf.stack(columns, axis=1) if spec.shape.rank == 2 else columns[0]


def _turned(texts: list[bytes], by: int) -> list[bytes]:
    return texts[by % max(len(texts), 1) :] + texts[: by % max(len(texts), 1)]


def _example(text: bytes, text_pair: bytes) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in (("text", text), ("text_pair", text_pair))
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _facts(served: Served, sequence_length: int, weights: str, savedmodel: Path) -> dict:
    """What a person or a program that has only the SavedModel wants to know of it."""
    recipe, ops = read_recipe(served.model), check_ops(savedmodel)
    return {
        "format": 1,
        "task": task_of(recipe["builder"]),
        "inputs": list(served.signatures["serving_default"].inputs),  # in their order, which the graph does not keep
        "labels": recipe["arguments"].get("labels"),
        "sequence_length": sequence_length,
        "parameters": served.parameters,
        "scales": served.scales,
        "weights": weights,
        "signatures": read_signatures(savedmodel),
        "ops": ops,
        "servers": servers_for(ops),  # versions of TF Serving that have all of them; later ones have them, too
        "versions": manifest.versions(),
    }


def _in_float32(model: keras.Model, tokenizer: Tokenizer) -> keras.Model:
    """The model, rebuilt if it was trained under a mixed policy: a score must not depend on the training machine."""
    if _computes_in_float32(model):
        return model
    policy = keras.config.dtype_policy()
    with tempfile.TemporaryDirectory() as scratch:
        save_model(model, Path(scratch, "model"), tokenizer)
        keras.config.set_dtype_policy("float32")
        try:
            model = load_model(Path(scratch, "model"))
        finally:
            keras.config.set_dtype_policy(policy)
    if not _computes_in_float32(model):
        raise InputError("The KerasHub backbone has its own dtype policy; load it with dtype='float32' to export it.")
    return model


def _computes_in_float32(model: keras.Model) -> bool:
    return all(layer.compute_dtype == "float32" for layer in model.layers)


@contextlib.contextmanager
def _nothing_left_behind(directory: Path):
    """Remove `directory` if it did not exist before and the block raises."""
    existed = directory.exists()
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                directory.rmdir()
        raise
