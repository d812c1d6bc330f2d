"""The head that a checkpoint's `config.json` describes, as a recipe of ours."""

from typing import NamedTuple

from tfllm.checks import InputError
from tfllm.models.pretrained.config import Config
from tfllm.models.pretrained.weights import logits_shapes, masked_lm_shapes
from tfllm.tags import make_tags

_DROPOUTS = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout")
_PROBLEMS = (None, "single_label_classification", "multi_label_classification", "regression")


class Head(NamedTuple):
    """A head to be built on an encoder."""

    builder: str  # a function of `tfllm.models`
    arguments: dict  # its arguments besides the encoder
    shapes: dict[str, tuple[int, ...]]  # its weights, as `encoder_shapes` gives those of the encoder
    order: list[int] | None = None  # for each of our logits, the number of theirs; None: the same


def read_head(config: Config, kind: str, encoder: dict) -> Head:
    """The head of a class, or InputError if the file describes one that cannot be.

    Args:
        config: the file.
        kind: how the name of the class ends, "ForMaskedLM".
        encoder: the arguments of `build_encoder`.
    """
    if kind == "ForMaskedLM":
        return Head("add_masked_lm_head", {}, masked_lm_shapes(encoder))
    labels = _labels(config)
    shapes = logits_shapes(encoder, len(labels))
    arguments = {"dropout": config.number(*_DROPOUTS, default=encoder["dropout"])}
    if kind == "ForTokenClassification":
        types, kind, order = _tags(config, labels)
        return Head("add_tagger_head", {"labels": types, "kind": kind, "chain": False, **arguments}, shapes, order)
    if kind == "ForQuestionAnswering":
        if len(labels) != 2:
            raise InputError(f"{config.file}: question answering has 2 logits, for begin and end, not {len(labels)}.")
        return Head("add_span_head", arguments, shapes)
    return Head(*_text_head(config, labels, {**arguments, "pooling": "cls"}), shapes)


def _text_head(config: Config, labels: list[str], arguments: dict) -> tuple[str, dict]:
    problem = config.values.get("problem_type")
    if problem not in _PROBLEMS:
        raise InputError(f"{config.file}: `problem_type` must be one of {_PROBLEMS[1:]}. Received: {problem!r:.100}.")
    if problem == "multi_label_classification":
        return "add_multilabel_head", {"labels": labels, **arguments}
    if problem == "regression" or (problem is None and len(labels) == 1):
        if len(labels) > 1:
            raise InputError(f"{config.file}: a regression has one number, not {len(labels)}.")
        return "add_regression_head", arguments
    return "add_classifier_head", {"labels": labels, **arguments}


def _tags(config: Config, names: list[str]) -> tuple[list[str], str, list[int]]:
    """The labels and the kind of a tagger that has tags of these names, and where each of its tags stands in them."""
    kind = "words" if "+" in names else "entities"
    labels = [name for name in names if name != "+"]
    if kind == "entities":
        labels = list(dict.fromkeys(name[2:] for name in names if name[:2] in ("B-", "I-") and len(name) > 2))
    ours = make_tags(labels, kind).names if labels else []
    if sorted(ours) != sorted(names):
        raise InputError(
            f"{config.file}: `id2label` must name O and, for each type of entity, B-type and I-type (IOB2). "
            f"Received: {', '.join(names)[:300]}."
        )
    return labels, kind, [names.index(name) for name in ours]


def _labels(config: Config) -> list[str]:
    labels = config.labels()
    if labels is None:
        labels = [f"LABEL_{number}" for number in range(config.integer("num_labels", "labels", 2))]
    if len(set(labels)) < len(labels) or not all(labels):
        raise InputError(f"{config.file}: the names in `id2label` must be distinct and not empty.")
    return labels
