"""Several labels for a text, or none."""

import itertools
from collections import Counter

from tfllm.cli.startup import log
from tfllm.cli.tasks.base import split_names
from tfllm.cli.tasks.classification import warn_of_typos
from tfllm.cli.tasks.tables import TableTask


class MultilabelTask(TableTask):
    """Any number of labels for a text, or a pair of texts: each is decided by itself."""

    # Whatever the thresholds: in the first epochs often no label reaches one, and F1 is 0.
    monitors = {"average_precision": "max", "macro_f1": "max", "micro_f1": "max", "loss": "min"}  # noqa: RUF012
    stratified = False

    def read(self, files, run, head=None):
        from tfllm.data import read_multilabel_table

        labels = head["labels"] if head else split_names(run.get("labels"))
        separator = run.get("label_separator") or "|"
        return self.read_columns(files, run, read_multilabel_table, labels=labels, separator=separator)

    def head(self, rows, run):
        from tfllm.data.multilabel import label_names

        names = label_names(rows.labels)
        warn_of_typos(Counter(itertools.chain.from_iterable(rows.labels)))
        return {
            "labels": names,
            "pairs": rows.pairs is not None,
            "pooling": self.pooling(rows, run),
            "dropout": run["dropout"],
        }

    def build(self, encoder, head):
        from tfllm.models import add_multilabel_head

        return add_multilabel_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data import multilabel_batches

        return multilabel_batches(
            rows.texts,
            rows.labels,
            tokenizer,
            label_names=head["labels"],
            pairs=rows.pairs,
            packed=packs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
            seed=seed,
        )

    def loss(self, head, run):
        from tfllm.losses import MultilabelLoss

        return MultilabelLoss(run["label_smoothing"], reduction="mean_with_sample_weight")

    def scores(self, model, tokenizer, rows, head, run):
        return _evaluate(model, tokenizer, rows, run, tune=False)

    def finish(self, model, tokenizer, rows, head, run):
        from tfllm.models import set_thresholds

        found = _evaluate(model, tokenizer, rows, run, tune=True)
        thresholds = {name: row["threshold"] for name, row in found["per_class"].items()}
        set_thresholds(model, list(thresholds.values()))
        if any(threshold != 0.5 for threshold in thresholds.values()):
            shown = ", ".join(f"{name} {threshold:.2f}" for name, threshold in thresholds.items())
            log.info("thresholds chosen on the validation rows, macro F1 %.4f: %s", found["macro_f1"], shown)

    def show(self, results, console):
        from rich.markup import escape
        from rich.table import Table

        texts = [name for name in ("text", "text_pair") if results and name in results[0]]
        table = Table("labels", *texts)
        for result in results:
            found = [f"[bold]{escape(name)}[/] {result['scores'][name]:.3f}" for name in result["chosen"]]
            table.add_row("\n".join(found) or "[dim]none[/]", *(escape(result[name]) for name in texts))
        console.print(table)


def _evaluate(model, tokenizer, rows, run, *, tune):
    from tfllm.evaluation import evaluate_multilabel

    return evaluate_multilabel(
        model,
        tokenizer,
        rows.texts,
        rows.labels,
        pairs=rows.pairs,
        sequence_length=run["sequence_length"],
        batch_size=run["batch_size"],
        tune=tune,
    )
