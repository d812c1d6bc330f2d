"""Classification of texts, and of pairs of texts."""

from collections import Counter

from tfllm.checks import InputError, check_labels
from tfllm.cli.startup import log
from tfllm.cli.tasks.base import split_names
from tfllm.cli.tasks.tables import TableTask


class ClassificationTask(TableTask):
    """One label for a text."""

    monitors = {"macro_f1": "max", "accuracy": "max", "matthews": "max", "loss": "min"}  # noqa: RUF012

    def read(self, files, run, head=None):
        labels = head["labels"] if head else split_names(run.get("labels"))
        if labels:
            check_labels(labels)
        return self.read_columns(files, run, labels=labels)

    def head(self, rows, run):
        head = {"pooling": self.pooling(rows, run), "dropout": run["dropout"]}
        return {"labels": _label_names(rows.labels), "pairs": rows.pairs is not None, **head}

    def build(self, encoder, head):
        from tfllm.models import add_classifier_head

        return add_classifier_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data import classification_batches

        return classification_batches(
            rows.texts,
            rows.labels,
            tokenizer,
            label_names=head["labels"],
            pairs=rows.pairs,
            packed=packs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
            class_weights=_class_weights(rows.labels, head["labels"], run["class_weights"]),
            seed=seed,
        )

    def loss(self, head, run):
        from tfllm.losses import ClassificationLoss

        return ClassificationLoss(run["label_smoothing"], reduction="mean_with_sample_weight")

    def validator(self, model, tokenizer, rows, head, run):
        from tfllm.data import text_dataset
        from tfllm.training import classification_monitors

        number = {name: position for position, name in enumerate(head["labels"])}
        label_ids = [number[label] for label in rows.labels]
        dataset = text_dataset(
            rows.texts,
            tokenizer,
            pairs=rows.pairs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
        )
        return lambda: classification_monitors(label_ids, model.predict(dataset, verbose=0))

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_classifier

        return evaluate_classifier(
            model,
            tokenizer,
            rows.texts,
            rows.labels,
            head["labels"],
            pairs=rows.pairs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
        )


class PairClassificationTask(ClassificationTask):
    """One label for two texts: does the one follow from the other, do they mean the same?"""

    def read(self, files, run, head=None):
        if not run.get("text_pair"):
            raise InputError("--task pairs needs the column of the second text: --text-pair COLUMN.")
        return super().read(files, run, head)


def _label_names(labels: list[str]) -> list[str]:
    """The labels of the training data, sorted: by number if all are numbers, else by name."""
    names = set(labels)
    if len(names) < 2:
        raise InputError(f"The data has one label only, {names.pop()!r}: there is nothing to learn.")
    warn_of_typos(Counter(labels))
    return sorted(sorted(names), key=int) if all(name.isdecimal() for name in names) else sorted(names)


def warn_of_typos(counts: Counter) -> None:
    """Point out labels that are rare and look like a common one."""
    from tfllm.data.inspect import find_rare_labels

    for one in find_rare_labels(counts):
        if one["near"]:
            log.warning(
                "label %r stands in %d of %d rows only%s", one["label"], one["count"], counts.total(), one["near"]
            )


def _class_weights(labels: list[str], names: list[str], kind: str) -> list[float] | None:
    from tfllm.training import balanced_class_weights

    if kind == "none":
        return None
    number = {name: position for position, name in enumerate(names)}
    return balanced_class_weights([number[label] for label in labels], len(names))
