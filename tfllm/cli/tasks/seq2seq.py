"""A text that belongs to another: a translation, a summary, an answer."""

from tfllm.checks import InputError
from tfllm.cli.startup import log
from tfllm.cli.tasks.base import Task
from tfllm.cli.tasks.tables import TableTask

_IGNORED = ("text", "text_pair", "label", "pre_norm", "bigram_buckets", "frozen_layers", "unfreeze_gradually")


class Seq2SeqTask(TableTask):
    """Targets written after sources are read."""

    columns = ()
    monitors = {"loss": "min", "bleu": "max", "chrf": "max", "rouge1": "max"}  # noqa: RUF012
    stratified = False
    averages = False  # texts have no mean
    harm_of_changes = "a target would no longer be that of its source"

    def read(self, files, run, head=None):
        from tfllm.data import read_seq2seq_table

        return read_seq2seq_table(
            files,
            source=run.get("source") or "source",
            target=run.get("target") or "target",
            encoding=run["encoding"],
            on_bad_rows=run["on_bad_rows"],
        )

    def base(self, run, vocabulary_size):
        from tfllm.cli.running import make_encoder_decoder

        return make_encoder_decoder(run, vocabulary_size)

    def head(self, rows, run):
        for name in _IGNORED:
            if run.get(name):
                raise InputError(f"--{name.replace('_', '-')} says nothing to --task seq2seq: leave it out.")
        if run["layer_decay"] != 1:
            raise InputError("--layer-decay says nothing to --task seq2seq: leave it out.")
        from tfllm.cli.running import start_of

        return {"generation": {"max_new_tokens": _target_length(run) - 1}, "start": start_of(run["init"])}

    def build(self, encoder, head):
        from tfllm.models import add_seq2seq_head

        return add_seq2seq_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data import Seq2SeqBatches

        return Seq2SeqBatches(
            rows.texts,
            rows.pairs,
            tokenizer,
            sequence_length=run["sequence_length"],
            target_length=_target_length(run),
            batch_size=run["batch_size"],
            start=head.get("start", "cls"),
            seed=seed,
        )

    def augmented(self, rows, run, seed):
        return Task.augmented(self, rows, run, seed)

    def packed(self, model, batches):
        return None

    def loss(self, head, run):
        from tfllm.losses import causal_lm_loss

        return causal_lm_loss(run["label_smoothing"])

    def validator(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation.causal_lm import mean_loss
        from tfllm.evaluation.seq2seq import written_scores
        from tfllm.generation import TextGenerator

        dataset = self.batches(rows, head, tokenizer, run, packs=True, seed=0).once().cache()
        monitor, loss_of = run["monitor"], mean_loss(model)
        generator = TextGenerator(model, tokenizer, run["sequence_length"])

        def validate():
            scores = {"loss": loss_of(dataset)["loss"]}
            if monitor != "loss":
                scores[monitor] = written_scores(generator, rows.texts, rows.pairs)[monitor]
            return scores

        return validate

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation import evaluate_seq2seq, seq2seq_loss

        dataset = self.batches(rows, head, tokenizer, run, packs=True, seed=0).once()
        length = run["sequence_length"]
        scores = evaluate_seq2seq(model, tokenizer, rows.texts, rows.pairs, sequence_length=length)
        for name, signature in scores["signatures"].items():
            log.info("%s: %s", name, signature)
        return {**seq2seq_loss(model, dataset), **scores}

    def describe(self, head):
        return f"at most {head['generation']['max_new_tokens']} tokens are written"

    def show(self, results, console):
        from rich.text import Text

        for number, result in enumerate(results):
            console.print(*([""] if number else []), Text(result["prompt"], "dim"), Text(result["text"]), sep="\n")


def _target_length(run: dict) -> int:
    return run.get("target_length") or run["sequence_length"]
