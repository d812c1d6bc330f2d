"""What the tasks share whose rows are a `Table`: a text, perhaps a second one, and a label."""

from tfllm.cli.tasks.base import AUGMENTATIONS, Task


class TableTask(Task):
    """A task whose rows come from `read_table`. Set `stratified` to False where labels are not names."""

    stratified = True

    def read_columns(self, files, run, read=None, **reading):
        """A `Table` with labels by `read`, `read_table` if none is named; `reading` are arguments of its own."""
        from tfllm.data import read_table

        read, columns = read or read_table, {name: run.get(name) for name in ("text", "text_pair", "label")}
        reading |= {"encoding": run["encoding"], "on_bad_rows": run["on_bad_rows"]}
        return read(files, label_needed=True, **columns, **reading)

    def augmented(self, rows, run, seed):
        from tfllm.data import Table, augment_texts

        shares = {name.removeprefix("augment_"): run[name] for name in AUGMENTATIONS if run[name]}
        if not shares:
            return rows, 1
        copies = run["epochs"]
        texts, pairs = (
            None
            if column is None
            else [text for epoch in range(copies) for text in augment_texts(column, seed, 2 * epoch + number, **shares)]
            for number, column in enumerate((rows.texts, rows.pairs))
        )
        return Table(texts, pairs, rows.labels * copies, rows.places * copies), copies

    def pooling(self, rows, run):
        """What stands for a text; for two of them, how they differ."""
        return run["pooling"] or ("mean" if rows.pairs is None else "compare")

    def fitted(self, head, tokenizer):
        """Where both texts of a pair are in one segment, the separators tell them apart."""
        apart = head.get("pooling") == "compare" and tokenizer.pair_separators == 2
        return {**head, "separator_id": tokenizer.sep_id} if apart else head

    def split(self, rows, share, seed):
        from tfllm.data import split_table

        return split_table(rows, share, seed, stratify=self.stratified)

    def folds(self, rows, folds, seed):
        from tfllm.data import fold_tables

        return fold_tables(rows, folds, seed, stratify=self.stratified)

    def check_parts(self, train, kept):
        from tfllm.data import overlap_warning

        overlap_warning(train, kept)
