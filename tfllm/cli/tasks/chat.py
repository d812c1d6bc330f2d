"""Conversations: a model that answers, as the assistant does."""

from tfllm.checks import InputError
from tfllm.cli.tasks.base import Task

_IGNORED = ("text", "text_pair", "label", "pre_norm", "bigram_buckets")


class ChatTask(Task):
    """Answers to messages; --text, --label and their like have nothing to name."""

    columns = ()
    monitors = {"loss": "min", "perplexity": "min"}  # noqa: RUF012

    def read(self, files, run, head=None):
        from tfllm.data.conversations import read_conversations

        return read_conversations(files, encoding=run["encoding"], on_bad_rows=run["on_bad_rows"])

    def split(self, rows, share, seed):
        from tfllm.data import split_table

        return split_table(rows, share, seed, stratify=False)

    def folds(self, rows, folds, seed):
        from tfllm.data import fold_tables

        return fold_tables(rows, folds, seed, stratify=False)

    def base(self, run, vocabulary_size):
        from tfllm.cli.running import make_decoder

        return make_decoder(run, vocabulary_size)

    def head(self, rows, run):
        for name in _IGNORED:
            if run.get(name):
                raise InputError(f"--{name.replace('_', '-')} says nothing to --task chat: leave it out.")
        return {"generation": {}}

    def build(self, encoder, head):
        from tfllm.models import add_causal_lm_head

        return add_causal_lm_head(encoder, **head)

    def batches(self, rows, head, tokenizer, run, *, packs, seed):
        from tfllm.data.chat import ChatBatches

        lengths = {name: run[name] for name in ("sequence_length", "batch_size")}
        return ChatBatches(rows.messages, _templated(tokenizer), **lengths, seed=seed)

    def packed(self, model, batches):
        return None  # conversations of a row do not see each other in any decoder

    def loss(self, head, run):
        from tfllm.losses import causal_lm_loss

        return causal_lm_loss(run["label_smoothing"])

    def validator(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation.causal_lm import mean_loss

        dataset = self.batches(rows, head, tokenizer, run, packs=True, seed=0).once().cache()
        loss_of = mean_loss(model)

        def validate():
            scores = loss_of(dataset)
            return {name: scores[name] for name in self.monitors}

        return validate

    def scores(self, model, tokenizer, rows, head, run):
        from tfllm.evaluation.chat import evaluate_chat

        lengths = {name: run[name] for name in ("sequence_length", "batch_size")}
        return evaluate_chat(model, _templated(tokenizer), rows.messages, **lengths)

    def check_parts(self, train, kept):
        from tfllm.data import Table, overlap_warning

        def table(part):
            return Table(["\n".join(one["content"] for one in messages) for messages in part.messages], None, None, [])

        overlap_warning(table(train), table(kept))

    def describe(self, head):
        return "the assistant's answers are learnt"


def _templated(tokenizer):
    """The tokenizer, with the default chat template if it has none; it is saved with the model."""
    from tfllm.tokenizers.chat import default_template

    if tokenizer.chat_template is None:
        tokenizer.chat_template = default_template(tokenizer.special_tokens)
    return tokenizer
