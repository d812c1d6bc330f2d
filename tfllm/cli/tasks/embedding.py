"""A vector for a text, learnt from pairs of texts."""

from tfllm.checks import InputError, check_one_of
from tfllm.cli.tasks.base import AUGMENTATIONS
from tfllm.cli.tasks.regression import parse_range
from tfllm.cli.tasks.tables import TableTask

_SIMILARITY_LOSSES = ("cosine", "rank")
_TEMPERATURE = 0.05  # of --temperature, if it is not given
_MOST_COMPARED = 10  # texts whose cosines `predict` shows


class EmbeddingTask(TableTask):
    """Vectors from pairs that belong together: a question and its answer, a sentence and its translation."""

    monitors = {"mean_reciprocal_rank": "max", "recall_at_1": "max", "recall_at_10": "max"}  # noqa: RUF012
    stratified = False
    averages = False  # models of other seeds give vectors in other directions

    def read(self, files, run, head=None):
        from tfllm.data import read_pair_table

        if not run.get("text_pair"):
            raise InputError(
                "Vectors are learnt and scored on pairs. Name the second text's column: --text-pair COLUMN."
            )
        return read_pair_table(
            files,
            text=run.get("text"),
            text_pair=run["text_pair"],
            score=run.get("label"),
            score_range=parse_range(run.get("score_range")),
            encoding=run["encoding"],
            on_bad_rows=run["on_bad_rows"],
        )

    def head(self, rows, run):
        if rows.labels is not None:
            raise InputError(
                "--task embed takes all pairs for such that belong together. With scores: --task similarity."
            )
        return {"pooling": run["pooling"] or "mean"}

    def build(self, encoder, head):
        from tfllm.models import add_embedding_head

        return add_embedding_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        import tensorflow as tf

        from tfllm.data import EmbeddingBatches

        if not packs and max(run["micro_batches"], tf.distribute.get_strategy().num_replicas_in_sync) > 1:
            raise InputError(
                "--micro-batches and several replicas could part the two texts of a pair here: this encoder takes a "
                "text a row. Use --micro-batches 1 and --strategy cpu or gpu."
            )
        return EmbeddingBatches(
            rows.texts,
            rows.pairs,
            tokenizer,
            cosines=self._cosines(rows, run),
            packed=packs,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
            seed=seed,
        )

    def augmented(self, rows, run, seed):
        if any(run[name] for name in AUGMENTATIONS):
            raise InputError("--augment-... would take two versions of a text for different ones here. Leave it out.")
        return rows, 1

    def loss(self, head, run):
        from tfllm.losses import InBatchNegativesLoss

        return InBatchNegativesLoss(run["temperature"], reduction="mean_with_sample_weight")

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_embedding

        return evaluate_embedding(
            model,
            tokenizer,
            rows.texts,
            rows.pairs,
            rows.labels,
            sequence_length=run["sequence_length"],
            batch_size=run["batch_size"],
        )

    def describe(self, head):
        return f"{head['pooling']} pooling"

    def show(self, results, console):
        from rich.table import Table
        from rich.text import Text

        table = Table("text", "dimensions", "embedding")
        for result in results:
            begin = ", ".join(f"{number:.3f}" for number in result["embedding"][:5])
            table.add_row(Text(result["text"]), str(len(result["embedding"])), f"{begin}, …")
        console.print(table)
        if 1 < len(results) <= _MOST_COMPARED:
            console.print(_cosines_of(results))

    def _cosines(self, rows, run):
        return None


class SimilarityTask(EmbeddingTask):
    """Vectors from pairs with a score of how near they are."""

    monitors = {"spearman": "max", "pearson": "max"}  # noqa: RUF012

    def read(self, files, run, head=None):
        if not run.get("label"):
            raise InputError("--task similarity needs the column of the scores: --label COLUMN.")
        return super().read(files, run, head)

    def head(self, rows, run):
        check_one_of("similarity_loss", run["similarity_loss"], _SIMILARITY_LOSSES)
        if run["similarity_loss"] == "cosine" and run["temperature"] != _TEMPERATURE:
            raise InputError("--temperature is for --similarity-loss rank; cosine does not read it. Leave it out.")
        return {"pooling": run["pooling"] or "mean"}

    def augmented(self, rows, run, seed):
        return TableTask.augmented(self, rows, run, seed)

    def loss(self, head, run):
        from tfllm.losses import CosineLoss, CosineRankLoss

        if run["similarity_loss"] == "rank":
            return CosineRankLoss(run["temperature"], reduction="mean_with_sample_weight")
        return CosineLoss(reduction="mean_with_sample_weight")

    def _cosines(self, rows, run):
        from tfllm.data.embedding import scores_to_cosines

        return scores_to_cosines(rows.labels, parse_range(run["score_range"]))


def _cosines_of(results):
    """How near the texts are to each other, as a table."""
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    vectors = np.array([result["embedding"] for result in results])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    table = Table("cosine", *(str(number) for number in range(1, len(results) + 1)))
    for number, (result, row) in enumerate(zip(results, vectors @ vectors.T, strict=True), start=1):
        table.add_row(Text(f"{number} {result['text']}", overflow="ellipsis"), *(f"{cosine:.2f}" for cosine in row))
    return table
