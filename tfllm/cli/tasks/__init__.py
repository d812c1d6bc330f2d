"""What the commands need to know of each task; one file a task, named as in the other rooms.

Each file has a class derived from `base.Task`; the table here names it.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfllm import checks
from tfllm.cli.tasks.base import Task, show_table

if TYPE_CHECKING:
    from rich.console import Console

# --task -> the file here, and the class in it.
TASKS = {
    "classify": ("classification", "ClassificationTask"),
    "pairs": ("classification", "PairClassificationTask"),
    "multilabel": ("multilabel", "MultilabelTask"),
    "regress": ("regression", "RegressionTask"),
    "embed": ("embedding", "EmbeddingTask"),
    "similarity": ("embedding", "SimilarityTask"),
    "tag": ("tagging", "TaggingTask"),
    "qa": ("question_answering", "QuestionAnsweringTask"),
    "choice": ("multiple_choice", "MultipleChoiceTask"),
    "seq2seq": ("seq2seq", "Seq2SeqTask"),
    "chat": ("chat", "ChatTask"),
}


def find_task(name: str) -> Task:
    """The task that `--task` names."""
    checks.check_one_of("task", name, TASKS)
    module, kind = TASKS[name]
    return getattr(importlib.import_module(f"tfllm.cli.tasks.{module}"), kind)()


def find_task_of_model(recipe: dict, run: dict) -> Task | None:
    """The task a saved model was trained for: what its run says, or else what its head is for; None without a head."""
    from tfllm.inference import task_of

    return find_task(run["task"]) if run.get("task") in TASKS else find_task_of_kind(task_of(recipe["builder"]))


def find_task_of_kind(kind: str) -> Task | None:
    """The first task of a file of this package; None if there is no such file."""
    return next((find_task(name) for name, (module, _) in TASKS.items() if module == kind), None)


def find_show(kind: str) -> Callable[[list[dict], "Console"], None]:
    """What prints the answers of a model of this kind, a file of `tfllm.inference`."""
    if kind == "fill_mask":
        return importlib.import_module("tfllm.cli.tasks.fill_mask").show
    task = find_task_of_kind(kind)
    return task.show if task else show_table
