"""`Task`: what `finetune`, `evaluate` and `predict` ask of a task. Imports nothing heavy.

`run` is the dict of a command's arguments, by the names of the flags. `head` holds the arguments of the task's head,
JSON values. `rows` is what the task's `read` returns: it has a length, `select(indices)`, `places` and `bad_rows`.
"""

import abc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tfllm.checks import InputError

if TYPE_CHECKING:
    import keras
    from rich.console import Console

    from tfllm.tokenizers import Tokenizer

AUGMENTATIONS = ("augment_case", "augment_typos", "augment_word_dropout")


class Task(abc.ABC):
    """One task.

    Attributes:
        columns: which of --text, --text-pair and --label the task's files have.
        monitors: name of a score of `validator` -> "max" or "min", which is better; the first one is the default.
        averages: whether the mean of several models' outputs is an answer, as `--ensemble` takes it to be.
        harm_of_changes: why texts must not be changed at random.
    """

    columns = ("text", "text_pair", "label")
    monitors: dict[str, str]
    averages = True
    harm_of_changes = "this task learns of places in them"

    @abc.abstractmethod
    def read(self, files: list[str], run: dict, head: dict | None = None) -> Any:
        """The rows of files. With a `head`, only what such a model can answer is a good row: its labels, say."""

    @abc.abstractmethod
    def split(self, rows: Any, share: float, seed: int) -> tuple[Any, Any]:
        """Training and validation rows."""

    @abc.abstractmethod
    def folds(self, rows: Any, folds: int, seed: int) -> Iterator[tuple[Any, Any]]:
        """Training and validation rows of each fold."""

    @abc.abstractmethod
    def head(self, rows: Any, run: dict) -> dict:
        """The head's arguments: what the rows tell, labels say, and what `run` says."""

    def base(self, run: dict, vocabulary_size: int) -> "keras.Model":
        """What the head is put on: an encoder, unless the task says otherwise."""
        from tfllm.cli.running import make_encoder

        return make_encoder(run, vocabulary_size)

    def fitted(self, head: dict, tokenizer: "Tokenizer") -> dict:
        """The head's arguments, with what only the tokenizer tells."""
        return head

    @abc.abstractmethod
    def build(self, encoder: "keras.Model", head: dict) -> "keras.Model":
        """The encoder with the head."""

    @abc.abstractmethod
    def batches(self, rows: Any, head: dict, tokenizer: "Tokenizer", run: dict, *, packs: bool, seed: int) -> Any:
        """Training batches (see `tfllm.data.batches`); packed only if the encoder `packs`: keeps packed texts apart."""

    def augmented(self, rows: Any, run: dict, seed: int) -> tuple[Any, int]:
        """The training rows as `--augment-...` change them, anew for every epoch; and for how many epochs they are."""
        asked = [name for name in AUGMENTATIONS if run[name]]
        if asked:
            raise InputError(
                f"--{asked[0].replace('_', '-')} changes texts at random, and {self.harm_of_changes}. Leave it out."
            )
        return rows, 1

    @abc.abstractmethod
    def loss(self, head: dict, run: dict) -> "keras.losses.Loss":
        """The loss, a mean by weights."""

    @abc.abstractmethod
    def scores(self, model: "keras.Model", tokenizer: "Tokenizer", rows: Any, head: dict, run: dict) -> dict:
        """Every score, as JSON values; lists of predictions under `predictions`."""

    def validator(
        self, model: "keras.Model", tokenizer: "Tokenizer", rows: Any, head: dict, run: dict
    ) -> Callable[[], dict[str, float]]:
        """A function that scores the model as it is now, by the names of `monitors`."""

        def validate() -> dict[str, float]:
            scores = self.scores(model, tokenizer, rows, head, run)
            return {name: scores[name] for name in self.monitors}

        return validate

    def finish(  # noqa: B027
        self, model: "keras.Model", tokenizer: "Tokenizer", rows: Any, head: dict, run: dict
    ) -> None:
        """Choose on the validation rows what training does not learn, a threshold say, for the weights kept."""

    def packed(self, model: "keras.Model", batches: Any) -> "keras.Model | None":
        """The model as it trains on packed rows; None where it takes them, or rows of one text, as it is."""
        from tfllm.models import packed_classifier

        return packed_classifier(model, batches.texts_per_row) if batches.texts_per_row else None

    @abc.abstractmethod
    def check_parts(self, train: Any, kept: Any) -> None:
        """Warn when the same text stands in both parts."""

    def describe(self, head: dict) -> str:
        """What the log says of the head, "labels: good, bad" say."""
        return f"labels: {', '.join(head['labels'])}" if "labels" in head else ""

    def show(self, results: list[dict], console: "Console") -> None:
        """Print what `tfllm predict` answers, for a person."""
        show_table(results, console)


def split_names(text: str | None) -> list[str] | None:
    """The names of `--labels good,bad`, without blanks around them; None if the option is not given."""
    return [name.strip() for name in text.split(",")] if text else None


def show_table(results: list[dict], console: "Console") -> None:
    """A row for each result, without what is a list or a dict."""
    from rich.markup import escape
    from rich.table import Table

    names = [name for name, value in results[0].items() if not isinstance(value, dict | list)] if results else []
    table = Table(*reversed(names))  # the answer before the texts
    for result in results:
        cells = (result[name] for name in reversed(names))
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else escape(str(cell)) for cell in cells))
    console.print(table)
