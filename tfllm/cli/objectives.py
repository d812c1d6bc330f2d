"""What `tfllm pretrain` needs to know of each objective: its batches, its model, its training, its held-out scores."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING

from tfllm import checks
from tfllm.checks import InputError
from tfllm.cli import running

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfllm.tokenizers import Tokenizer

_PSEUDO_PERPLEXITY_TEXTS = 32


class Objective(abc.ABC):
    """One objective, for the data and the arguments of a run.

    Args:
        data: as `read_texts` takes it, or one records directory.
        run: the command's arguments by name, `sequence_length` and `held_out` resolved.
        reading: how text is read, see `read_texts`.
        is_text: False for records, which keep no text.
    """

    def __init__(self, data: list[str], run: dict, reading: dict, *, is_text: bool):
        self._data, self._run, self._reading, self._is_text = data, run, reading, is_text
        self._batching = {name: run[name] for name in ("batch_size", "sequence_length", "held_out", "seed")} | reading

    @abc.abstractmethod
    def batches(self, tokenizer: "Tokenizer", part: str, **options) -> "tf.data.Dataset":
        """Batches of a part of the data; options as `repeat` and `start_batch` of the data sets."""

    @abc.abstractmethod
    def build(self, tokenizer: "Tokenizer") -> "keras.Model":
        """The model, with its head."""

    @property
    @abc.abstractmethod
    def train(self) -> Callable[..., dict]:
        """A function as `train_masked_lm`."""

    @abc.abstractmethod
    def held_out_scores(self, model: "keras.Model", tokenizer: "Tokenizer") -> dict:
        """What the model is worth on text it has not seen."""

    def _held_out_texts(self):
        from tfllm.data import read_held_out

        return read_held_out(self._data, self._run["held_out"], **self._reading)


class MaskedLm(Objective):
    """`mlm`, and `mlm-nsp` with next-sentence prediction."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import masked_lm_dataset

        masking = {name: self._run[name] for name in ("mask_rate", "whole_word")}
        masking["next_sentence"] = self._run["objective"] == "mlm-nsp"
        return masked_lm_dataset(self._data, tokenizer, part=part, **self._batching, **masking, **options)

    def build(self, tokenizer):
        from tfllm.models import add_masked_lm_head, add_pretraining_heads

        encoder = running.make_encoder(self._run, tokenizer.vocabulary_size)
        return add_masked_lm_head(encoder) if self._run["objective"] == "mlm" else add_pretraining_heads(encoder)

    @property
    def train(self):
        from tfllm.training import train_masked_lm

        return train_masked_lm

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import masked_lm_scores, pseudo_perplexity

        scores = masked_lm_scores(model, self.batches(tokenizer, "held-out", repeat=False))
        if self._is_text:
            length = self._run["sequence_length"]
            options = {"sequence_length": length, "max_texts": _PSEUDO_PERPLEXITY_TEXTS}
            scores |= pseudo_perplexity(model, tokenizer, self._held_out_texts(), **options)
        return scores


class CausalLm(Objective):
    """`causal`."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import causal_lm_dataset

        share = self._run["fill_in_middle"] if part == "train" else 0.0
        return causal_lm_dataset(self._data, tokenizer, part=part, middle_share=share, **self._batching, **options)

    def build(self, tokenizer):
        from tfllm.models import add_causal_lm_head

        decoder = running.make_decoder(self._run, tokenizer.vocabulary_size)
        return add_causal_lm_head(decoder, fills=self._run["fill_in_middle"] > 0)

    @property
    def train(self):
        from tfllm.training import train_causal_lm

        return train_causal_lm

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import causal_lm_scores, evaluate_causal_lm

        if not self._is_text:
            return causal_lm_scores(model, self.batches(tokenizer, "held-out", repeat=False))
        options = {"sequence_length": self._run["sequence_length"], "batch_size": self._run["batch_size"]}
        return evaluate_causal_lm(model, tokenizer, self._held_out_texts(), **options)


class PrefixLm(CausalLm):
    """`prefix`: as `causal`, but the beginning of each text is seen in both directions and not predicted."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import prefix_lm_dataset

        return prefix_lm_dataset(self._data, tokenizer, part=part, **self._batching, **options)

    def build(self, tokenizer):
        from tfllm.models import add_causal_lm_head

        return add_causal_lm_head(running.make_decoder(self._run, tokenizer.vocabulary_size, prefix=True))

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import causal_lm_scores

        return causal_lm_scores(model, self.batches(tokenizer, "held-out", repeat=False))


class Denoising(Objective):
    """`denoise`: spans behind sentinels, as T5; `infill`: whole texts from such with gaps, as BART."""

    def batches(self, tokenizer, part, **options):
        from tfllm.data import Noise, denoising_dataset

        kind = "infill" if self._run["objective"] == "infill" else "spans"
        noise = Noise(kind, self._run["mask_rate"], self._run["span_length"])
        start = running.start_of(self._run["init"])
        return denoising_dataset(
            self._data, tokenizer, noise=noise, start=start, part=part, **self._batching, **options
        )

    def build(self, tokenizer):
        from tfllm.data import sentinel_ids
        from tfllm.models import add_seq2seq_head

        size = tokenizer.vocabulary_size
        if self._run["objective"] == "denoise":
            size = max(size, int(sentinel_ids(tokenizer).max()) + 1)
        model = running.make_encoder_decoder(self._run, size)
        rows = model.get_layer("token_embedding").input_dim
        if rows < size:  # one to go on from
            raise InputError(
                f"{self._run['init']} has no embeddings for the sentinels of --objective denoise: use --objective "
                "infill if its tokenizer has a mask token, or go on from a T5. Received: a model of "
                f"{rows:,} embeddings; {size:,} are needed."
            )
        return add_seq2seq_head(model, start=running.start_of(self._run["init"]))

    @property
    def train(self):
        from tfllm.training import train_causal_lm

        return train_causal_lm

    def held_out_scores(self, model, tokenizer):
        from tfllm.evaluation import seq2seq_loss

        return seq2seq_loss(model, self.batches(tokenizer, "held-out", repeat=False))


OBJECTIVES = {
    "mlm": MaskedLm,
    "mlm-nsp": MaskedLm,
    "causal": CausalLm,
    "prefix": PrefixLm,
    "denoise": Denoising,
    "infill": Denoising,
}
_READ_BY = {  # an option that not every objective reads -> the value that asks for nothing, and those that read it
    "whole_word": (False, ("mlm", "mlm-nsp")),
    "pre_norm": (False, ("mlm", "mlm-nsp")),
    "bigram_buckets": (0, ("mlm", "mlm-nsp")),
    "mask_rate": (0.15, ("mlm", "mlm-nsp", "denoise", "infill")),
    "span_length": (3.0, ("denoise", "infill")),
    "fill_in_middle": (0.0, ("causal",)),
}


def check_objective(run: dict) -> None:
    """Raise InputError for an unknown objective, or options that say nothing to it."""
    checks.check_one_of("objective", run["objective"], OBJECTIVES)
    for name, (nothing, objectives) in _READ_BY.items():
        if run.get(name, nothing) != nothing and run["objective"] not in objectives:
            raise InputError(
                f"--{name.replace('_', '-')} is for --objective {', '.join(objectives)}: leave it out. "
                f"Received: --objective {run['objective']}."
            )
