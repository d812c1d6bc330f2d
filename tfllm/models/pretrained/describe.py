"""A model of ours as a checkpoint: `config.json` and tensors that `transformers` loads with the same numbers.

In: a model of a tfllm builder. Out: values and tensors; or an InputError that says why no class of transformers can
compute what the model does.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from tfllm.checks import InputError
from tfllm.models.decoder import build_decoder
from tfllm.models.encoder import build_encoder
from tfllm.models.encoder_decoder import build_encoder_decoder
from tfllm.models.pretrained.architecture import Architecture
from tfllm.models.pretrained.decoders import EMBEDDING, HEAD, sources
from tfllm.models.pretrained.decoders import to_checkpoint as to_tensors
from tfllm.models.pretrained.encoder_decoders import sources as sources_of_pairs
from tfllm.models.pretrained.encoder_decoders import to_checkpoint as to_tensors_of_pairs
from tfllm.models.pretrained.load import ARCHITECTURES, DECODERS, ENCODER_DECODERS, POSITIONS
from tfllm.models.pretrained.weights import tensor_names, to_checkpoint
from tfllm.models.recipe import read_recipe
from tfllm.tags import make_tags

_TEXT_HEADS = {  # builder -> `problem_type`
    "add_classifier_head": "single_label_classification",
    "add_multilabel_head": "multi_label_classification",
    "add_regression_head": "regression",
}
_KINDS = {  # builder -> how the name of the class ends
    "build_encoder": "Model",
    "add_embedding_head": "Model",
    "add_masked_lm_head": "ForMaskedLM",
    "add_pretraining_heads": "ForMaskedLM",
    **dict.fromkeys(_TEXT_HEADS, "ForSequenceClassification"),
    "add_tagger_head": "ForTokenClassification",
    "add_span_head": "ForQuestionAnswering",
}
_LEFT_OUT = {
    "pooled_dense": "the pooler, which the class does not read",
    "next_sentence_logits": "the head of next-sentence prediction",
}

_TOKENIZED = {"roberta": False, "xlm-roberta": True}  # by SentencePiece; otherwise the two are one
_TELLING = (
    *("num_segments", "activation", "layer_norm_epsilon", "embedding_dim", "share_layers"),
    *("pooler_activation", "relative_buckets"),
)

_TELLING_OF_PAIRS = (
    *("positions", "norm", "activation", "biases", "normalize_first", "tie_embeddings", "scale_embeddings"),
    *("normalize_embeddings", "logits_bias"),
)
_TELLING_OF_DECODERS = (
    *("positions", "norm", "activation", "biases", "normalize_first", "tie_embeddings"),
    *("norm_queries_and_keys", "rotary_scaling"),
)


class Description(NamedTuple):
    """A checkpoint that is not written yet."""

    class_name: str  # "BertForMaskedLM"
    config: dict  # what config.json holds
    tensors: dict[str, np.ndarray]
    left_out: dict[str, str]  # layers of ours that the class has no place for -> what they are


def describe(model: keras.Model, pad_id: int, *, sentencepiece: bool = False) -> Description:
    """The checkpoint of a model.

    Args:
        model: what a tfllm builder returned.
        pad_id: the tokenizer's.
        sentencepiece: the tokenizer is a SentencePiece one, by which XLM-R is told from RoBERTa.

    Raises:
        InputError: if transformers has no class that computes the same.
    """
    recipe = read_recipe(model)
    if any(layer.name == "tag_chain" for layer in model.layers):
        raise InputError(
            "transformers tags every token by itself, and this head has learned which tag follows which: build it with "
            "`add_tagger_head(..., chain=False)`. As a SavedModel it can be exported as it is."
        )
    if recipe["builder"] == "add_causal_lm_head":
        return _describe_decoder(model, recipe, pad_id)
    if recipe["builder"] == "add_seq2seq_head":
        return _describe_encoder_decoder(model, recipe, pad_id)
    kind, arguments = _kind(recipe), _encoder_arguments(recipe)
    architecture = _choose(arguments, kind, sentencepiece)
    first_position = architecture.first_position(pad_id)
    tensors, left_out = _tensors(model, recipe, architecture, kind, first_position)
    arguments["max_sequence_length"] += first_position
    config = {
        "architectures": [architecture.classes + kind],
        "model_type": architecture.model_type,
        **architecture.write(arguments),
        **_head_config(recipe),
        "pad_token_id": pad_id,
        "dtype": "float32",
    }
    return Description(architecture.classes + kind, config, tensors, left_out)


def _describe_decoder(model: keras.Model, recipe: dict, pad_id: int) -> Description:
    arguments = _with_defaults(build_decoder, recipe["encoder"]["arguments"])
    family = next((family for family in DECODERS.values() if family.is_made_by(arguments)), None)
    if family is None:
        telling = {name: arguments[name] for name in _TELLING_OF_DECODERS}
        raise InputError(f"transformers has no decoder with this combination: {telling}.")
    tensors, wanted = {}, sources(family, arguments, family.prefix)
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight.value).astype(np.float32)
        tensors |= to_tensors(family, weight.path, value, wanted[weight.path])
    config = {
        "architectures": [family.classes[0]],
        "model_type": family.model_type,
        **family.write(arguments),
        "pad_token_id": pad_id,
        "dtype": "float32",
    }
    return Description(family.classes[0], config, tensors, {})


def _describe_encoder_decoder(model: keras.Model, recipe: dict, pad_id: int) -> Description:
    arguments = _with_defaults(build_encoder_decoder, recipe["encoder"]["arguments"])
    arguments["num_decoder_layers"] = arguments["num_decoder_layers"] or arguments["num_layers"]
    family = next((family for family in ENCODER_DECODERS.values() if family.is_made_by(arguments)), None)
    if family is None:
        telling = {name: arguments[name] for name in _TELLING_OF_PAIRS}
        raise InputError(f"transformers has no encoder-decoder with this combination: {telling}.")
    config = {
        "architectures": [family.classes[0]],
        "model_type": family.model_type,
        "is_encoder_decoder": True,
        **family.write(arguments),
        "pad_token_id": pad_id,
        "dtype": "float32",
    }
    tensors, wanted = {}, sources_of_pairs(family, arguments, family.prefix)
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight.value).astype(np.float32)
        tensors |= to_tensors_of_pairs(family, arguments, weight.path, value, wanted[weight.path])
    if not config["tie_word_embeddings"]:
        tensors.setdefault(HEAD, tensors[wanted[EMBEDDING].names[0]].copy())
    return Description(family.classes[0], config, tensors, {})


def _kind(recipe: dict) -> str:
    builder, arguments = recipe["builder"], recipe["arguments"]
    if builder not in _KINDS:
        raise InputError(f"transformers has no head like that of `{builder}`: export an encoder, or another head.")
    if builder in _TEXT_HEADS and arguments["pooling"] != "cls":
        raise InputError(
            "transformers classifies by the first token, and this head by the mean of all tokens: train it with "
            "`pooling='cls'` (--pooling cls). As a SavedModel it can be exported as it is."
        )
    if arguments.get("output_range"):
        raise InputError(
            "transformers has no regression between two bounds: train the head without an `output_range`. "
            f"Received: {arguments['output_range']}."
        )
    return _KINDS[builder]


def _encoder_arguments(recipe: dict) -> dict:
    """All arguments the encoder was built with, those with default values included."""
    encoder = recipe["encoder"] or recipe
    if encoder["builder"] != "build_encoder":
        raise InputError("Only encoders of tfllm are exported to Hugging Face, not KerasHub's: import it first.")
    arguments = _with_defaults(build_encoder, encoder["arguments"])
    if arguments["bigram_buckets"]:
        raise InputError(
            "transformers has no class with embeddings of bigrams (--bigram-buckets). As a SavedModel this encoder "
            "can be exported as it is."
        )
    if arguments["normalize_first"]:
        raise InputError(
            "BERT and its kin normalise after each part of a layer; this encoder normalises before (pre-norm), which "
            "transformers has no class for. As a SavedModel it can be exported as it is."
        )
    return arguments


def _with_defaults(builder: Callable, arguments: dict) -> dict:
    """All arguments of a builder, those that were not given included."""
    parameters = inspect.signature(builder).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not one.empty}
    return {**defaults, **arguments}


def _choose(arguments: dict, kind: str, sentencepiece: bool) -> Architecture:
    """The first architecture that computes the same."""
    for architecture in ARCHITECTURES.values():
        theirs, ours = _pooler(architecture, kind), arguments["pooler_activation"]
        if (
            architecture.is_made_by(arguments)
            and (kind != "ForMaskedLM" or architecture.head_activation in (None, arguments["activation"]))
            and (theirs in (None, ours) or (kind == "Model" and ours is None))
            and (architecture.model_type not in _TOKENIZED or _TOKENIZED[architecture.model_type] == sentencepiece)
        ):
            return architecture
    telling = {name: arguments[name] for name in _TELLING}
    raise InputError(f"transformers has no encoder with this combination and a head like this one ({kind}): {telling}.")


def _pooler(architecture: Architecture, kind: str) -> str | None:
    """The activation of the pooler that a class has."""
    own = "pooled_dense" in architecture.heads[kind]
    encoders = "pooled_dense" in architecture.names and kind in ("Model", "ForSequenceClassification")
    return architecture.pooler if own or encoders else None


def _tensors(
    model: keras.Model, recipe: dict, architecture: Architecture, kind: str, first_position: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    prefix = "" if kind == "Model" else architecture.prefix
    head = architecture.heads[kind]
    names = {our: prefix + their for our, their in architecture.names.items() if our not in head} | head
    if _pooler(architecture, kind) is None:
        names.pop("pooled_dense", None)
    tensors, left_out = {}, {}
    for weight in model.weights:
        layer = weight.path.partition("/")[0]
        found = tensor_names(weight.path, names)
        if not found:
            left_out[layer] = _LEFT_OUT[layer]
            continue
        value = keras.ops.convert_to_numpy(weight.value).astype(np.float32)
        if weight.path == POSITIONS:
            value = np.concatenate([np.zeros((first_position, value.shape[1]), np.float32), value])
        if layer == "logits":
            value = _in_unit(weight.path, value, recipe)
        tensors[found[0]] = to_checkpoint(weight.path, value)
    return tensors, left_out


def _in_unit(path: str, value: np.ndarray, recipe: dict) -> np.ndarray:
    """Weights of a regression's last layer that give scores in the unit of the data, as ours does afterwards."""
    if recipe["builder"] != "add_regression_head":
        return value
    mean, deviation = recipe["arguments"]["mean"], recipe["arguments"]["deviation"]
    return value * deviation + (mean if path.endswith("/bias") else 0)


def _head_config(recipe: dict) -> dict:
    builder, arguments = recipe["builder"], recipe["arguments"]
    if _KINDS[builder] in ("Model", "ForMaskedLM"):
        return {}
    dropout = dict.fromkeys(
        ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout"), arguments["dropout"]
    )
    labels = arguments.get("labels", ["LABEL_0", "LABEL_1"] if builder == "add_span_head" else ["LABEL_0"])
    if builder == "add_tagger_head":
        labels = make_tags(labels, arguments["kind"]).names
    problem = {"problem_type": _TEXT_HEADS[builder]} if builder in _TEXT_HEADS else {}
    return {
        **dropout,
        **problem,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
