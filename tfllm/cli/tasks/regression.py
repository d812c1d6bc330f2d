"""A score for a text, or for a pair of texts."""

from tfllm.checks import InputError
from tfllm.cli.tasks.tables import TableTask


class RegressionTask(TableTask):
    """A number: how good, how similar, how urgent."""

    monitors = {  # noqa: RUF012
        "pearson": "max",
        "spearman": "max",
        "mean_squared_error": "min",
        "mean_absolute_error": "min",
    }
    stratified = False

    def read(self, files, run, head=None):
        from tfllm.data import read_scored_table

        return self.read_columns(files, run, read_scored_table, score_range=parse_range(run.get("score_range")))

    def head(self, rows, run):
        import numpy as np

        score_range = parse_range(run["score_range"])
        if score_range is None and np.ptp(rows.labels) == 0:
            raise InputError(f"All scores of the data are {rows.labels[0]:g}: there is nothing to learn.")
        unit = {"mean": float(np.mean(rows.labels)), "deviation": float(np.std(rows.labels))}
        return {
            **({"output_range": list(score_range)} if score_range else unit),
            "pairs": rows.pairs is not None,
            "pooling": self.pooling(rows, run),
            "dropout": run["dropout"],
        }

    def build(self, encoder, head):
        from tfllm.models import add_regression_head

        return add_regression_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data import regression_batches

        return regression_batches(
            rows.texts,
            rows.labels,
            tokenizer,
            pairs=rows.pairs,
            packed=packs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
            seed=seed,
        )

    def loss(self, head, run):
        from tfllm.losses import RegressionLoss

        low, high = head.get("output_range") or (0, head["deviation"])
        return RegressionLoss(high - low, reduction="mean_with_sample_weight")

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_regression

        return evaluate_regression(
            model,
            tokenizer,
            rows.texts,
            rows.labels,
            pairs=rows.pairs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
        )

    def describe(self, head):
        if head.get("output_range"):
            return "scores from {:g} to {:g}".format(*head["output_range"])
        return f"scores of mean {head['mean']:.4g} and deviation {head['deviation']:.4g}"


def parse_range(text: str | None) -> tuple[float, float] | None:
    """The two numbers of `--score-range LOW,HIGH`; None if it is not given."""
    if not text:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = float("nan")
    if not (low < high and high - low < float("inf")):
        raise InputError(f"`score_range` must be two numbers, the lower one first: 0,5. Received: {text!r}.")
    return low, high
