"""Extractive question answering: the part of a context that answers a question."""

from tfllm.cli.startup import log
from tfllm.cli.tasks.base import Task

_SURROUNDINGS = 120  # characters of the context shown before and after the answer


class QuestionAnsweringTask(Task):
    """The answer to a question, in a context. `--text` names the question's column, `--text-pair` the context's."""

    monitors = {"f1": "max", "exact_match": "max"}  # noqa: RUF012

    def read(self, files, run, head=None):
        from tfllm.data.question_answering import read_questions

        found = read_questions(
            files,
            question=run.get("text"),
            context=run.get("text_pair"),
            answer=run.get("label"),
            encoding=run["encoding"],
            on_bad_rows=run["on_bad_rows"],
        )
        if found.repairs and run["on_bad_rows"] == "collect":  # of which the reader says nothing then
            places = "%d answers have no place in their context, a wrong one or several; the first: %s"
            log.warning(places, len(found.repairs), found.repairs[0])
        return found

    def split(self, rows, share, seed):
        from tfllm.data.question_answering import split_questions

        return split_questions(rows, share, seed)

    def folds(self, rows, folds, seed):
        from tfllm.data.question_answering import fold_questions

        return fold_questions(rows, folds, seed)

    def head(self, rows, run):
        return {
            "dropout": run["dropout"],
            "max_answer_tokens": run["max_answer_tokens"],
            "stride": run["stride"],
            "null_threshold": None if all(rows.answers) else 0.0,
        }

    def build(self, encoder, head):
        from tfllm.models import add_span_head

        return add_span_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data.question_answering import question_batches

        return question_batches(
            rows,
            tokenizer,
            sequence_length=run["sequence_length"],
            stride=head["stride"],
            batch_size=run["batch_size"],
            seed=seed,
        )

    def loss(self, head, run):
        from tfllm.losses import SpanLoss

        return SpanLoss(run["label_smoothing"], reduction="mean_with_sample_weight")

    def validator(self, model, tokenizer, rows, head, run):
        def validate():
            scores = _evaluate(model, tokenizer, rows, run, tune=True)
            return {name: scores[name] for name in self.monitors}

        return validate

    def finish(self, model, tokenizer, rows, head, run):
        from tfllm.models import set_null_threshold

        if head["null_threshold"] is not None:
            set_null_threshold(model, _evaluate(model, tokenizer, rows, run, tune=True)["null_threshold"])

    def scores(self, model, tokenizer, rows, head, run):
        return _evaluate(model, tokenizer, rows, run, tune=False)

    def check_parts(self, train, kept):
        from tfllm.data.question_answering import warn_of_shared_contexts

        warn_of_shared_contexts(train, kept)

    def describe(self, head):
        return "every question has an answer" if head["null_threshold"] is None else "some questions have no answer"

    def show(self, results, console):
        from rich.text import Text

        for result in results:
            console.print(Text(result["question"], "bold"))
            if result["answer"]:
                console.print(_marked(result["context"], result["start"], result["end"]), f"({result['score']:.3f})")
            else:
                console.print(Text("no answer", "dim"), f"({result['score']:.3f})")


def _evaluate(model, tokenizer, rows, run, *, tune):
    from tfllm.evaluation import evaluate_question_answering

    return evaluate_question_answering(
        model, tokenizer, rows, sequence_length=run["sequence_length"], batch_size=run["batch_size"], tune=tune
    )


def _marked(context, start, end):
    """The answer, marked, with what stands around it on one line."""
    from rich.text import Text

    before, after = max(0, start - _SURROUNDINGS), end + _SURROUNDINGS
    return Text.assemble(
        "… " if before else "",
        _one_line(context[before:start]),
        (_one_line(context[start:end]), "black on yellow"),
        _one_line(context[end:after]),
        " …" if after < len(context) else "",
    )


def _one_line(text):
    return "".join(" " if character.isspace() else character for character in text)
