"""Multiple choice: which of several choices answers a question."""

from tfllm.checks import InputError
from tfllm.cli.tasks.base import Task, split_names


class MultipleChoiceTask(Task):
    """The right choice. `--text` names the question's column, `--choices` those of the choices."""

    columns = ("text", "label")
    monitors = {"accuracy": "max", "loss": "min"}  # noqa: RUF012
    harm_of_changes = "then another choice may be the right one"

    def read(self, files, run, head=None):
        from tfllm.data.multiple_choice import read_choices

        return read_choices(
            files,
            question=run.get("text"),
            choices=split_names(run.get("choices")),
            answer=run.get("label"),
            encoding=run["encoding"],
            on_bad_rows=run["on_bad_rows"],
        )

    def split(self, rows, share, seed):
        from tfllm.data import split_table

        return split_table(rows, share, seed, stratify=False)

    def folds(self, rows, folds, seed):
        from tfllm.data import fold_tables

        return fold_tables(rows, folds, seed, stratify=False)

    def head(self, rows, run):
        return {"dropout": run["dropout"], "pooling": run["pooling"] or "mean"}

    def build(self, encoder, head):
        from tfllm.models import add_choice_head

        return add_choice_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data.multiple_choice import multiple_choice_batches

        if not packs:
            raise InputError(
                "Multiple choice packs the choices of a question into a row, and this encoder would let them see each "
                "other. Import the checkpoint with tfllm import, which makes an encoder that does not."
            )
        return multiple_choice_batches(
            rows, tokenizer, sequence_length=run["sequence_length"], batch_size=run["batch_size"], seed=seed
        )

    def loss(self, head, run):
        from tfllm.losses import ChoiceLoss

        return ChoiceLoss(run["label_smoothing"], reduction="mean_with_sample_weight")

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_multiple_choice

        return evaluate_multiple_choice(
            model, tokenizer, rows, sequence_length=run["sequence_length"], batch_size=run["batch_size"]
        )

    def check_parts(self, train, kept):
        from tfllm.data import overlap_warning

        overlap_warning(train, kept)

    def show(self, results, console):
        from rich.text import Text

        for result in results:
            console.print(Text(result["question"], "bold"))
            for number, (choice, score) in enumerate(zip(result["choices"], result["scores"], strict=True)):
                chosen = number == result["index"]
                console.print(Text(f"{'>' if chosen else ' '} {score:.3f} {choice}", "green" if chosen else ""))
