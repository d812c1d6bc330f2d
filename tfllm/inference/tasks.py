"""Which task a model was built for, and the file of this room that answers it."""

import importlib
from types import ModuleType

import numpy as np

# The builder that put the head on -> the task, which is the name of a file here.
TASKS = {
    "add_causal_lm_head": "generation",
    "add_seq2seq_head": "seq2seq",
    "add_classifier_head": "classification",
    "add_span_head": "question_answering",
    "add_choice_head": "multiple_choice",
    "add_tagger_head": "tagging",
    "add_multilabel_head": "multilabel",
    "add_regression_head": "regression",
    "add_embedding_head": "embedding",
    "add_masked_lm_head": "fill_mask",
    "add_pretraining_heads": "fill_mask",
    "add_next_sentence_head": "next_sentence",
}
NO_HEAD = "embedding"


def task_of(builder: str) -> str:
    """The task of a model, by the builder in its recipe; one without a head of ours gives vectors."""
    return TASKS.get(builder, NO_HEAD)


def module_of(task: str) -> ModuleType:
    """The file of this room for a task."""
    return importlib.import_module(f"tfllm.inference.{task}")


def to_rows(task: str, inputs: dict[str, list[str]], outputs: dict[str, np.ndarray]) -> list[dict]:
    """The outputs of `serving_default` as one dict a row, with the inputs: Python strings, numbers and lists."""
    return module_of(task).to_rows(inputs, outputs)
