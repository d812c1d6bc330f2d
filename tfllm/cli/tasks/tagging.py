"""Tagging: the entities of a text, or its words with their tags."""

from tfllm.checks import InputError
from tfllm.cli.startup import log
from tfllm.cli.tasks.base import Task

_COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")


class TaggingTask(Task):
    """Tags in CoNLL columns, CoNLL-U or JSON lines of spans."""

    columns = ("text", "label")
    monitors = {"f1": "max", "accuracy": "max"}  # noqa: RUF012

    def read(self, files, run, head=None):
        from tfllm.data import read_tagged_texts

        names = ("text", "label", "encoding", "on_bad_rows")
        rows = read_tagged_texts(files, **{name: run[name] for name in names if run.get(name) is not None})
        if head and rows.kind != head["kind"]:
            raise InputError(f"The model is for {head['kind']}, and {rows.places[0]} holds {rows.kind}.")
        unknown = sorted(set(rows.labels) - set(head["labels"])) if head else []
        if unknown:
            log.warning("labels the model does not know, and so cannot find: %s", ", ".join(unknown))
        return rows

    def split(self, rows, share, seed):
        from tfllm.data import split_table

        return split_table(rows, share, seed, stratify=False)

    def folds(self, rows, folds, seed):
        from tfllm.data import fold_tables

        return fold_tables(rows, folds, seed, stratify=False)

    def head(self, rows, run):
        from tfllm.data.tagging import has_whole_words

        whole_words = has_whole_words(rows)
        return {"labels": rows.labels, "kind": rows.kind, "dropout": run["dropout"], "whole_words": whole_words}

    def build(self, encoder, head):
        from tfllm.models import add_tagger_head

        return add_tagger_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data import tagging_batches

        return tagging_batches(
            rows,
            tokenizer,
            labels=head["labels"],
            whole_words=head["whole_words"],
            packed=packs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
            seed=seed,
        )

    def loss(self, head, run):
        from tfllm.losses import TaggingLoss

        return TaggingLoss(run["label_smoothing"], reduction="mean_with_sample_weight")

    def validator(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation.tagging import span_finder, tagging_scores

        find = span_finder(model, tokenizer, sequence_length=run["sequence_length"], batch_size=run["batch_size"])

        def validate():
            scores = tagging_scores(model, rows, find(rows.texts))
            return {name: scores[name] for name in self.monitors}

        return validate

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_tagger

        return evaluate_tagger(
            model, tokenizer, rows, sequence_length=run["sequence_length"], batch_size=run["batch_size"]
        )

    def packed(self, model, batches):
        return None  # a tag for every token: rows of several texts are nothing special

    def check_parts(self, train, kept):
        from tfllm.data import Table, overlap_warning

        overlap_warning(*(Table(rows.texts, None, None, rows.places) for rows in (train, kept)))

    def describe(self, head):
        return f"{head['kind']} of the labels {', '.join(head['labels'])}"

    def show(self, results, console):
        """Each text with its entities in colour, and their labels behind them."""
        from rich.text import Text

        colors = {}
        for result in results:
            line, position = Text(), 0
            for found in result.get("entities", result.get("words")):
                label = found.get("entity", found.get("tag"))
                color = colors.setdefault(label, _COLORS[len(colors) % len(_COLORS)])
                line.append(result["text"][position : found["start"]])
                line.append(result["text"][found["start"] : found["end"]], f"bold {color}")
                line.append(f"[{label}]", f"dim {color}")
                position = found["end"]
            line.append(result["text"][position:])
            if result.get("entities") == []:
                line.append(" (no entities)", "dim")
            console.print(line, soft_wrap=True)
