"""What the tasks share whose rows are a `Table`: a text, perhaps a second one, and a label."""

from tfllm.checks import InputError
from tfllm.cli.tasks.base import Task


class TableTask(Task):
    """A task whose rows come from `read_table`. Set `stratified` to False where labels are not names."""

    stratified = True

    def read_columns(self, files, run, *, labels=None):
        """A `Table` with labels; `labels` are those allowed, None = any."""
        from tfllm.data import read_table

        columns = {name: run.get(name) for name in ("text", "text_pair", "label")}
        reading = {"encoding": run["encoding"], "on_bad_rows": run["on_bad_rows"]}
        table = read_table(files, labels=labels, **columns, **reading)
        if table.labels is None:  # none was named, and none is called `label`: the error lists the columns there are
            read_table(files, **{**columns, "label": "label"}, **reading)
            raise InputError("The data has no label column. Name it with --label.")
        return table

    def split(self, rows, share, seed):
        from tfllm.data import split_table

        return split_table(rows, share, seed, stratify=self.stratified)

    def folds(self, rows, folds, seed):
        from tfllm.data import fold_tables

        return fold_tables(rows, folds, seed, stratify=self.stratified)

    def check_parts(self, train, kept):
        from tfllm.data import overlap_warning

        overlap_warning(train, kept)
